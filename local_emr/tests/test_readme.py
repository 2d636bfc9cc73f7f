"""The README's tables, against the code and the tests they speak of."""

import re
from pathlib import Path

import pytest

from local_emr import LocalEmr
from local_emr.emr.faults import KINDS, SELECTORS

TESTS = Path(__file__).parent
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")


def test_every_row_of_the_conformance_table_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| .+ \| `(test_\w+\.py)::(test_\w+)` \|$", README, re.MULTILINE)
    missing = [
        f"{file}::{test}"
        for file, test in rows
        if not re.search(rf"^def {test}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
    table = README.partition("## Conformance")[2]
    assert len(rows) == table.count("\n| ") - 1 > 80


def test_the_fault_table_is_complete() -> None:
    table = README.partition("## Faults")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*?)\|(.*?)\|.*\|$", table, re.MULTILINE)[1:]
    assert [kind for kind, _, _ in rows if kind not in KINDS] == []
    assert {kind: set(re.findall(r"`(\w+)`", fields)) - {"share", "seed"} for kind, fields, _ in rows} == {
        kind: set(fields) for kind, fields in KINDS.items()
    }
    assert {kind: tuple(re.findall(r"`(\w+)`", selectors)) for kind, _, selectors in rows} == SELECTORS


def test_the_first_example_works(
    local_emr: LocalEmr, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", re.search(r"AWS_DEFAULT_REGION=(\S+)", README)[1])
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    exec(example, {})
    assert capsys.readouterr().out == "hello from EMR\n\n"
