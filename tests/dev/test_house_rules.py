"""Each house rule is checked, and what breaks it is named with its line."""

from pathlib import Path

import pytest

from house_rules import FILE_LINES, FUNCTION_LINES, PICTURE_BYTES, main, violations

LONG_FUNCTION = "def work():\n" + "    pass\n" * FUNCTION_LINES


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pass\n" * (FILE_LINES + 1), "a.py:1: 251 lines, more than 250: split the file"),
        (LONG_FUNCTION, "a.py:1: work() has 51 lines, more than 50: split it"),
        ("class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    ").rstrip() + "\n", "a.py:2: work() has 51 lines"),
        ('"""Read ``x``."""\n', "a.py:1: double backticks in a docstring: use single ones"),
        ('class A:\n    """Keeps ``x``."""\n', "a.py:2: double backticks in a docstring"),
        ('def read():\n    """Read ``x``."""\n', "a.py:2: double backticks in a docstring"),
    ],
    ids=["file", "function", "method", "module docstring", "class docstring", "function docstring"],
)
def test_a_broken_rule_is_named(source: str, expected: str) -> None:
    (line,) = violations("a.py", source)

    assert line.startswith(expected)


@pytest.mark.parametrize(
    "source",
    ["pass\n" * FILE_LINES, LONG_FUNCTION.removesuffix("    pass\n"), 'TEXT = "``x``"\n', '"""Read `x`."""\n'],
    ids=["file", "function", "string", "docstring"],
)
def test_code_within_the_limits_passes(source: str) -> None:
    assert list(violations("a.py", source)) == []


def test_a_picture_that_is_too_large_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x" * PICTURE_BYTES)
    assert main([str(picture)]) == 0

    picture.write_bytes(b"x" * (PICTURE_BYTES + 1))
    assert main([str(picture)]) == 1
    assert "a.png: 200,001 bytes, more than 200,000" in capsys.readouterr().out
