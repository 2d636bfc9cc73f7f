"""docs/failures.md claims nothing that no test shows."""

import re

from tests.conftest import PROJECT

PAGE = (PROJECT / "docs/failures.md").read_text()
HEADER = "| failure | injected by | what the user sees | cluster | what a rerun does | test |"
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| failure ")]


def test_every_row_names_a_test_that_exists() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        cell = row.rsplit("|", 2)[1]
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
        assert named, row
        assert ", ".join(f"`{file}::{name}`" for file, name in named) == cell.strip(), row
        for file, name in named:
            assert f"def {name}(" in (PROJECT / file).read_text(), row


def test_every_row_says_how_it_is_injected_what_is_seen_and_what_a_rerun_does() -> None:
    assert {line for line in PAGE.splitlines() if line.startswith("| failure ")} == {HEADER}
    columns = HEADER.count("|") - 1
    for row in ROWS:
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert len(cells) == columns, row
        assert all(cells), f"an empty cell: {row}"
