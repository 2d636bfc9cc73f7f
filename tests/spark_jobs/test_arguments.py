"""What the command lines accept."""

import argparse
from collections.abc import Callable

import pytest

from spark_jobs.arguments import positive, share, share_or_zero


def test_shares_and_numbers_within_their_bounds() -> None:
    assert (share("1"), share_or_zero("0"), share_or_zero("0.05"), positive("1")) == (1.0, 0.0, 0.05, 1)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (share, "0", r"0 is not in \(0, 1\]"),
        (share_or_zero, "-0.1", r"-0\.1 is not in \[0, 1\]"),
        (share_or_zero, "nan", r"nan is not in \[0, 1\]"),
        (positive, "0", "0 is less than 1"),
    ],
)
def test_values_out_of_bounds_are_named(parse: Callable[[str], float], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)
