"""What the keys say of images, without Spark: it hands tasks the same tables in another order than tests see."""

from itertools import permutations

import pyarrow as pa
import pytest

from spark_jobs.reduction.keys import FEATURE_KEYS, INVENTORY_KEYS, Keys, account, by_file


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
