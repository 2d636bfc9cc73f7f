"""The configuration reference is what the declarations say."""

from collections import Counter

import pytest

import configuration_page
from configuration_page import PAGE, PROJECT, page
from fruit_features.settings import PARAMS


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make docs, and commit docs/configuration.md"


def test_every_param_and_variable_has_a_row() -> None:
    text = page()

    assert all(f"| `{name}` | " in text for name in PARAMS)
    assert "| `bucket` | Bucket | required | string `^[a-z0-9]" in text
    assert "| `variance` | Variance | `0.8` | number above 0 to 1 | Share of the variance" in text
    assert "| `FRUITS_POLL_SECONDS` | `30` | How often sensors look" in text


def test_each_variable_is_described_by_itself() -> None:
    rows = [row for row in page().splitlines() if row.startswith("| `FRUITS_")]
    described = Counter(row.rsplit("|", 2)[1] for row in rows)

    assert len(rows) == sum(
        line.startswith("FRUITS_") for line in (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    )
    assert [text for text, count in described.items() if count > 1] == []


def test_a_variable_below_the_comment_of_another_is_an_error() -> None:
    with pytest.raises(ValueError, match="FRUITS_B has no comment"):
        list(configuration_page._variables("# What A is.\nFRUITS_A=\nFRUITS_B=1\n"))


def test_patterns_are_no_emphasis() -> None:
    assert r"e.g. Apple\*/\*,Kiwi/\*." in page()
