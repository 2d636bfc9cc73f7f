"""What the keys say of images, without Spark: it hands tasks the same tables in another order than tests see."""

from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from spark_jobs.datasets import DataFile
from spark_jobs.reduction.keys import FEATURE_KEYS, INVENTORY_KEYS, Keys, Source, account, by_file
from spark_jobs.reduction.selection import grouped


def listed(*paths: str) -> pa.Table:
    return pa.table([paths, ["1"] * len(paths), ["Fig"] * len(paths)], schema=INVENTORY_KEYS)


def extracted(number: int, *paths: str) -> pa.Table:
    positions = [number * 2**32 + row for row in range(len(paths))]
    return pa.table([paths, ["1"] * len(paths), ["net"] * len(paths), positions], schema=FEATURE_KEYS)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_rows_that_do_not_count_are_found_in_whatever_order_files_arrive(order: tuple[int, ...]) -> None:
    files = [extracted(0, "a", "b", "gone"), extracted(1, "c"), extracted(2, "also gone", "a")]
    outcome = account(Keys.of([listed("a", "b", "c"), *(files[number] for number in order)]), "net")
    assert {number: rows.tolist() for number, rows in by_file(outcome.unused)} == {0: [0, 2], 2: [0]}
    assert outcome.features == {"Fig": 3}


@pytest.mark.parametrize(
    ("row_groups", "expected"),
    [
        ([[100] * 10], [300, 300, 300, 100]),  # an inventory is one file, however many images it lists
        ([[100], [100], [350], [50, 250]], [200, 350, 300]),  # what is one group of rows is read at once
        ([[0], [], [100]], [100]),
        ([[0]], [0]),
    ],
)
def test_no_task_holds_more_keys_than_it_must(row_groups: list[list[int]], expected: list[int]) -> None:
    files = [Source(DataFile(f"{number}", tuple(lengths)), INVENTORY_KEYS) for number, lengths in enumerate(row_groups)]
    tasks = grouped(files, 300)
    assert [sum(source.rows for source in task) for task in tasks] == expected


def test_parts_of_a_file_have_all_its_keys_where_they_are(tmp_path: Path) -> None:
    rows = extracted(3, *(f"image {row}" for row in range(10)))
    parquet.write_table(rows.drop_columns("at"), tmp_path / "a", row_group_size=3)
    source = Source(DataFile(f"file://{tmp_path}/a", (3, 3, 3, 1)), FEATURE_KEYS, 3)
    parts = list(source.cut(6))
    assert [len(part.read()) for part in parts] == [6, 4]
    assert pa.concat_tables(part.read() for part in parts) == source.read() == rows
