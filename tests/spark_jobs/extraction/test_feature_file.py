"""The file that commits a chunk: both outcomes in it, the same bytes whoever writes it, and no other file taken for one."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs import schemas
from spark_jobs.checksums import Checksums, images_checksum
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.extraction.feature_file import Committed, Reject, encode, read_committed
from spark_jobs.stored import Stored

VALUES = np.random.default_rng(0).random((100, schemas.FEATURE_COUNT), np.float32)


def features(number: int) -> pa.Table:
    rows = [
        {"path": f"s3://b/{index}", "label": "Kiwi", "etag": "e", "size": 1, "model_id": "m", "width": 6, "height": 4}
        | {"features": VALUES[index]}
        for index in range(number)
    ]
    return pa.Table.from_pylist(rows, schemas.FEATURES)


def reject(number: int) -> Reject:
    image = {"path": f"s3://b/é{number}", "label": None, "etag": "e", "size": 0}
    return image | {"reason": "empty", "detail": "0 bytes"}


@pytest.mark.parametrize("rejects", [0, 3, 2_000])  # 2,000 are more than is read at first
def test_rows_and_rejects_come_back(tmp_path: Path, rejects: int) -> None:
    file = tmp_path / "part.parquet"
    file.write_bytes(encode(features(100), [reject(number) for number in range(rejects)], "m"))

    said = read_committed(f"file://{file}")
    stored = Stored(file.stat().st_size, "")
    assert said == Committed(
        "m", 100, [reject(number) for number in range(rejects)], stored, Checksums.of(features(100))
    )
    table = pq.read_table(file)
    assert table.schema.remove_metadata() == schemas.FEATURES
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), VALUES)


def test_a_file_of_an_earlier_version_has_no_checksums(tmp_path: Path) -> None:
    earlier = {"fruits.model_id": "m", "fruits.rejects": json.dumps([reject(1)])}
    pq.write_table(features(9).replace_schema_metadata(earlier), tmp_path / "part")

    said = read_committed(f"file://{tmp_path}/part")
    assert (said.model_id, said.features, said.rejects, said.checksums) == ("m", 9, [reject(1)], None)


def test_checksums_know_images_in_any_order_and_numbers_in_theirs() -> None:
    rows = features(3)
    same, turned = Checksums.of(pa.concat_tables([rows[:1], rows[1:]])), Checksums.of(rows.take([2, 1, 0]))
    exchanged = Checksums.of(rows.set_column(7, "features", rows["features"].take([2, 1, 0])))

    assert same == Checksums.of(rows)
    assert {turned.images, exchanged.images, Checksums.of(rows[:2]).images} == {
        same.images,
        Checksums.of(rows[:2]).images,
    }
    assert len({same.content, turned.content, exchanged.content, Checksums.of(rows[:2]).content}) == 4
    assert images_checksum([]) == "0" * 16


def test_two_attempts_write_the_same_bytes() -> None:
    assert len({encode(features(100), [reject(1)], "m") for _ in range(3)}) == 1


def test_readers_can_skip_a_file_by_its_network() -> None:
    columns = pq.read_metadata(pa.BufferReader(encode(features(100), [], "m"))).row_group(0)
    statistics = {columns.column(number).path_in_schema: columns.column(number) for number in range(8)}

    assert (statistics["model_id"].statistics.min, statistics["model_id"].statistics.max) == ("m", "m")
    assert not statistics["features.list.element"].is_stats_set
    assert statistics["features.list.element"].compression == "ZSTD"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet at all", encode(features(9), [], "m")[:-100]])
def test_what_is_no_whole_file_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "part").write_bytes(content)

    with pytest.raises(DamagedFileError, match=r"^file://.*/part: not a whole Parquet file"):
        read_committed(f"file://{tmp_path}/part")


def test_parquet_of_others_is_not_taken_for_a_chunk(tmp_path: Path) -> None:
    pq.write_table(features(3), tmp_path / "part")

    with pytest.raises(DamagedFileError, match=r"^file://.*/part: not written by extract_features"):
        read_committed(f"file://{tmp_path}/part")


def test_what_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nothing: not found") as error:
        read_committed(f"file://{tmp_path}/nothing")
    assert not isinstance(error.value, DamagedFileError)
