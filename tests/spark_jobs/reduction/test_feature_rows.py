"""What tasks read, and how the rows are shared out among them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.datasets import DataFile
from spark_jobs.errors import JobError
from spark_jobs.reduction import feature_rows
from spark_jobs.reduction.feature_rows import Features, mask, pack, read
from spark_jobs.schemas import FEATURES


def stored(folder: Path, name: str, rows: int, row_group: int, schema: pa.Schema = FEATURES) -> DataFile:
    table = [{"path": f"{name} {row}", "label": "Fig", "features": [float(row), 0.5]} for row in range(rows)]
    file = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(table, schema), file, row_group_size=row_group)
    footer = pq.read_metadata(file)
    lengths = tuple(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    return DataFile(f"file://{file}", lengths, file.stat().st_size)


def paths(features: Features, *sharing: int) -> list[list[str]]:
    return [[path for batch in read(task) for path in batch["path"].to_pylist()] for task in features.tasks(*sharing)]


@pytest.mark.parametrize("whole", [True, False], ids=["in one request", "row group by row group"])
@pytest.mark.parametrize(("slots", "least", "most"), [(1, 1, 1000), (4, 1, 1000), (2, 50, 1000), (1, 1, 7)])
def test_every_row_that_counts_is_read_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int, least: int, most: int, *, whole: bool
) -> None:
    monkeypatch.setattr(feature_rows, "BATCH_ROWS", 8)
    monkeypatch.setattr(feature_rows, "WHOLE_BYTES", 2**20 if whole else 0)
    files = [stored(tmp_path, "a", 45, 20), stored(tmp_path, "b", 3, 20), stored(tmp_path, "c", 20, 20)]
    unused = {0: [0, 7, 19, 20, 44], 1: [0, 1, 2], 2: [19]}
    features = Features(files, {number: pack(np.array(rows)) for number, rows in unused.items()})

    tasks = paths(features, slots, least, most)
    expected = [f"a {row}" for row in range(45) if row not in unused[0]] + [f"c {row}" for row in range(19)]
    assert [path for task in tasks for path in task] == expected
    assert features.rows == len(expected) == 59
    assert max(len(task) for task in tasks) <= 1.5 * most


@pytest.mark.parametrize(
    ("files", "slots", "least", "most", "expected"),
    [
        ([1000] * 23, 2, 1, 10**6, [11000, 12000]),  # about equal, and no third task for what is left over
        ([1000] * 5, 8, 4096, 10**6, [5000]),  # not worth two
        ([1000] * 8, 8, 4096, 10**6, [8000]),
        ([1000] * 9, 8, 4096, 10**6, [4000, 5000]),
        ([1000] * 10, 1, 4096, 2500, [2000, 3000, 2000, 3000]),
        ([50_000], 2, 1, 10**6, [25_000, 25_000]),  # one row group of a file of another program
        ([], 2, 1, 10, []),
        ([0], 2, 1, 10, []),
    ],
)
def test_tasks_have_about_as_many_rows(
    files: list[int], slots: int, least: int, most: int, expected: list[int]
) -> None:
    features = Features([DataFile(f"s3://b/{number}", (rows,)) for number, rows in enumerate(files)])
    tasks = features.tasks(slots, least, most)
    assert [sum(piece.stop - piece.start for piece in task) for task in tasks] == expected


def test_a_large_group_of_rows_is_cut_where_it_must(tmp_path: Path) -> None:
    features = Features([stored(tmp_path, "a", 60, 60)])
    assert paths(features, 1, 1, 25) == [[f"a {row}" for row in range(start, start + 20)] for start in (0, 20, 40)]


def test_groups_without_rows_are_passed_over(tmp_path: Path) -> None:
    rows = stored(tmp_path, "a", 3, 3)
    table = pq.read_table(rows.uri.removeprefix("file://"))
    file = tmp_path / "b.parquet"
    with pq.ParquetWriter(file, table.schema) as writer:
        for length in (0, 3, 0):
            writer.write_table(table.slice(0, length))
    features = Features([DataFile(f"file://{file}", (0, 3, 0), file.stat().st_size)])
    assert paths(features, 2, 1, 1000) == [["a 0"], ["a 1", "a 2"]]


def test_files_of_other_programs_have_the_same_types(tmp_path: Path) -> None:
    large = [
        pa.field(
            field.name, {"path": pa.large_string(), "features": pa.large_list(pa.float32())}.get(field.name, field.type)
        )
        for field in FEATURES
    ]
    features = Features([stored(tmp_path, "a", 3, 3, pa.schema(large))])
    [batch] = [batch for task in features.tasks(1, 1, 9) for batch in read(task)]
    assert batch.schema == feature_rows.COLUMNS
    assert batch["features"].to_pylist() == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]


@pytest.mark.parametrize("whole", [2**20, 0], ids=["in one request", "row group by row group"])
def test_a_file_that_is_damaged_or_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(feature_rows, "WHOLE_BYTES", whole)
    file = stored(tmp_path, "a", 300, 300)
    local = Path(file.uri.removeprefix("file://"))
    content = local.read_bytes()
    local.write_bytes(content[:4] + b"\xff" * 600 + content[604:])
    features = Features([file])
    with pytest.raises(JobError, match=r"a\.parquet: cannot be read"):
        paths(features, 1, 1, 1000)
    local.unlink()
    with pytest.raises(JobError, match=r"a\.parquet: not found"):
        paths(features, 1, 1, 1000)


@pytest.mark.parametrize("rows", [[], [0], [3, 8], [0, 7, 15]])
def test_bits_come_back_as_they_were(rows: list[int]) -> None:
    assert np.flatnonzero(mask(pack(np.array(rows, np.int64)), 16)).tolist() == rows
    assert len(mask(pack(np.array(rows, np.int64)), 16)) == 16
