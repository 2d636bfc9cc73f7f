"""What `dev/check` looks at."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT


@pytest.mark.skipif(not shutil.which("git"), reason="no git on this machine")
def test_every_bash_script_is_checked_whatever_its_name(tmp_path: Path) -> None:
    files = {
        "dev/check": (PROJECT / "dev/check").read_text(encoding="utf-8"),
        "docker/settings": "#!/usr/bin/env bash\n",
        "shims/a b": "#!/bin/bash\n",
        "a.yaml": "",
        "a.svg": "",
        "module.py": '"""Writes a script:\n#!/bin/bash\n"""\n',
    }
    for name in ("ruff", "shellcheck", "yamllint", "python"):
        files[f".venv/lint/bin/{name}"] = f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/{name}.seen\n'
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".gitignore").write_text(".venv/\n")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)

    subprocess.run(["bash", "dev/check", "lint"], cwd=tmp_path, check=True, capture_output=True)

    assert (tmp_path / "shellcheck.seen").read_text().splitlines() == ["dev/check", "docker/settings", "shims/a b"]


def test_every_program_has_its_types_checked() -> None:
    """mypy is given what is in no folder that it is given as a whole."""
    check = (PROJECT / "dev/check").read_text(encoding="utf-8")
    programs = [file.relative_to(PROJECT) for folder in ("dev", "docker") for file in (PROJECT / folder).glob("*.py")]

    assert programs
    assert [str(program) for program in programs if str(program) not in check] == []
