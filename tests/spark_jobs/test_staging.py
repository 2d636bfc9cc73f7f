"""Merging staged rows: what goes where, bit for bit, in which files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession

from spark_jobs import schemas, staging
from spark_jobs.sessions import JobError
from spark_jobs.staging import OUTCOMES, Merged, merge, write

VALUES = np.random.default_rng(0).random((100, schemas.FEATURE_COUNT), np.float32)


def outcome(number: int, *, rejected: bool = False) -> dict[str, object]:
    image = {"path": f"s3://b/Kiwi/{number}.jpg", "label": "Kiwi", "etag": f"e{number}", "size": number}
    if rejected:
        return {**image, "model_id": "m", "reason": "empty", "detail": "0 bytes"}
    return {**image, "model_id": "m", "width": 6, "height": 4, "features": VALUES[number].astype("<f4").tobytes()}


def stage(folder: Path, *files: Sequence[dict[str, object]]) -> list[str]:
    """Write files as Spark leaves them; return their URIs."""
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").write_text("not Parquet")
    for number, rows in enumerate(files):
        parquet.write_table(pa.Table.from_pylist(list(rows), OUTCOMES), folder / f"part-{number}.parquet")
    return [f"file://{folder}/part-{number}.parquet" for number in range(len(files))]


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[str, str]:
    return f"file://{tmp_path}/features", f"file://{tmp_path}/rejects"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_staged_rows_hold_both_contracts() -> None:
    assert OUTCOMES.names == [*schemas.FEATURES.names, "reason", "detail"]
    assert {*schemas.REJECTS.names} <= {*OUTCOMES.names}


def test_each_row_goes_to_its_output_in_order(tmp_path: Path, outputs: tuple[str, str]) -> None:
    rows = [outcome(number, rejected=number % 3 == 0) for number in range(10)]
    merged = write(0, stage(tmp_path / "staged", rows[:4], [], rows[4:]), *outputs)
    features = parquet.read_table(tmp_path / "features/part-00000.parquet")
    rejects = parquet.read_table(tmp_path / "rejects/part-00000.parquet")

    assert merged == Merged(features=6, rejects=4)
    assert features.schema == schemas.FEATURES
    assert rejects.schema == schemas.REJECTS
    assert features["path"].to_pylist() == [f"s3://b/Kiwi/{number}.jpg" for number in (1, 2, 4, 5, 7, 8)]
    assert np.array_equal(np.array(features["features"].to_pylist(), np.float32), VALUES[[1, 2, 4, 5, 7, 8]])
    assert features.drop_columns(["features"]).to_pylist()[0] == {
        "path": "s3://b/Kiwi/1.jpg",
        "label": "Kiwi",
        "etag": "e1",
        "size": 1,
        "model_id": "m",
        "width": 6,
        "height": 4,
    }
    assert rejects.to_pylist()[1] == {
        "path": "s3://b/Kiwi/3.jpg",
        "label": "Kiwi",
        "etag": "e3",
        "size": 3,
        "reason": "empty",
        "detail": "0 bytes",
    }


def test_a_task_that_runs_again_writes_the_same_file(tmp_path: Path, outputs: tuple[str, str]) -> None:
    files = stage(tmp_path / "staged", [outcome(number) for number in range(5)])
    contents = []
    for _ in range(2):
        write(0, files, *outputs)
        contents.append((tmp_path / "features/part-00000.parquet").read_bytes())

    assert contents[0] == contents[1]


def test_only_the_first_file_of_rejects_may_be_empty(tmp_path: Path, outputs: tuple[str, str]) -> None:
    files = stage(tmp_path / "staged", [outcome(0)], [outcome(1)], [outcome(2, rejected=True)])
    for number, file in enumerate(files):
        write(number, [file], *outputs)

    assert names(tmp_path / "rejects") == ["part-00000.parquet", "part-00002.parquet"]
    assert names(tmp_path / "features") == [f"part-{number:05}.parquet" for number in range(3)]


def test_row_groups_span_staged_files(
    tmp_path: Path, outputs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROWS_PER_GROUP", 4)
    files = stage(tmp_path / "staged", *([outcome(2 * number), outcome(2 * number + 1)] for number in range(5)))
    write(0, files, *outputs)
    content = parquet.ParquetFile(tmp_path / "features/part-00000.parquet")

    assert [content.metadata.row_group(number).num_rows for number in range(content.num_row_groups)] == [4, 4, 2]
    assert content.metadata.row_group(0).column(0).compression == "ZSTD"
    assert np.array_equal(np.array(content.read()["features"].to_pylist(), np.float32), VALUES[:10])


def test_files_are_filled_up_to_their_size(
    spark: SparkSession, tmp_path: Path, outputs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path / "staged", *([outcome(number)] for number in range(5)))
    size = (tmp_path / "staged/part-0.parquet").stat().st_size
    monkeypatch.setattr(staging, "STAGED_BYTES_PER_FILE", 2.5 * size)
    for folder in ("features", "rejects"):  # of an earlier run
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part-00007.parquet").touch()
    merged = merge(spark.sparkContext, f"file://{tmp_path}/staged", *outputs, 5)

    assert merged == Merged(features=5, rejects=0)
    assert names(tmp_path / "features") == ["_SUCCESS", *(f"part-{number:05}.parquet" for number in range(3))]
    rows = [parquet.read_metadata(file).num_rows for file in sorted((tmp_path / "features").glob("*.parquet"))]
    assert rows == [2, 2, 1]
    assert names(tmp_path / "rejects") == ["_SUCCESS", "part-00000.parquet"]


def test_a_lost_row_is_noticed_and_nothing_is_marked(
    spark: SparkSession, tmp_path: Path, outputs: tuple[str, str]
) -> None:
    stage(tmp_path / "staged", [outcome(0)], [outcome(1, rejected=True)])

    with pytest.raises(JobError, match=r"3 images in the manifest, results: Merged\(features=1, rejects=1\)"):
        merge(spark.sparkContext, f"file://{tmp_path}/staged", *outputs, 3)
    assert "_SUCCESS" not in names(tmp_path / "features") + names(tmp_path / "rejects")


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    [file] = stage(tmp_path / "staged", [outcome(0)])
    (tmp_path / "taken").touch()

    with pytest.raises(JobError, match=r"file://.*/taken/features/part-00000.parquet: cannot be written"):
        write(0, [file], f"file://{tmp_path}/taken/features", f"file://{tmp_path}/rejects")
