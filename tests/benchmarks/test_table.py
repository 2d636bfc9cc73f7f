"""Who is held responsible for a figure that misses its bound."""

import pytest

from benchmarks.bounds import Bound, at_least, at_most, indication, shown
from benchmarks.table import Measured, Table, insert

QUIET = Measured(others=(0.02, 0.1))
BUSY = Measured(others=(0.02, 0.6))
STOLEN = Measured(others=(0.02, 0.1), stolen=0.3)
MEANWHILE = Measured(others=(0.02, 0.1), between=0.2)


@pytest.mark.parametrize(
    ("value", "bound", "row", "verdict"),
    [
        (0.96, at_least(0.95, ""), QUIET, ""),
        (0.94, at_least(0.95, ""), QUIET, "MISSED"),
        (257, at_most(256, ""), QUIET, "MISSED"),
        (0.94, at_least(0.95, ""), BUSY, "(not met; other processes used 60% of the CPU)"),
        (0.94, at_least(0.95, ""), STOLEN, "(not met; other processes used 30% of the CPU)"),
        (0.94, at_least(0.95, ""), MEANWHILE, "(not met; other processes used 20% of the CPU)"),
        (0.96, at_least(0.95, ""), BUSY, ""),
        (2.1, indication("≤", 2, ""), QUIET, "(not met)"),
        (9, shown(""), QUIET, ""),
    ],
)
def test_only_what_is_ours_alone_is_missed(value: float, bound: Bound, row: Measured, verdict: str) -> None:
    assert Table("full", "a machine", {}).verdict(value, bound, row) == verdict


def test_the_table_says_how_long_each_row_took() -> None:
    table = Table("full", "a machine", {"cores": Measured(seconds=140.2), "peer": Measured(seconds=80)})

    assert list(table.lines({}))[-1] == "220 s in all: cores 140, peer 80"


def test_an_indication_that_is_not_met_is_said_to_be_both() -> None:
    table = Table("full", "a machine", {"fixed": Measured({"fixed_reduce_s": 3.53})})

    assert list(table.markdown({"fixed_reduce_s": indication("≤", 3, "rows")}))[-1] == (
        "| `fixed_reduce_s` | 3.53 | ≤ 3, indication, not met | rows |"
    )


def test_a_page_may_show_some_of_the_figures() -> None:
    table = Table("full", "a machine", {"cores": Measured({"core_ratio": 0.98, "rate": 430.2})})
    bounds = {"rate": shown("images/s"), "core_ratio": at_least(0.97, "2 and 1")}
    page = "<!-- figures of make bench: rate -->\n<!-- end of the figures -->\n"

    found = insert(page, table, bounds)

    assert "| `rate` | 430 |" in found
    assert "core_ratio" not in found


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("# Performance\n", "no line <!-- figures of make bench -->"),
        ("<!-- figures of make bench: rates -->\n<!-- end of the figures -->\n", "no figure rates; there are rate"),
    ],
)
def test_a_page_without_its_marks_is_refused(page: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        insert(page, Table("full", "a machine", {}), {"rate": shown("images/s")})
