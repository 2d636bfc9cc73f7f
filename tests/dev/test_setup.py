"""A set-up step that fails ends with one line that says what to do."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the set-up reads, and a folder of commands that is its whole PATH."""
    for folder in ("dev", "requirements"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "mkdir", "df", "awk", "tail", "grep", "touch", "rm"):
        (tools / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name} on this machine"))
    return tmp_path


def set_up(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "dev/setup", *arguments],
        cwd=checkout,
        env={"PATH": str(checkout / "tools"), "HOME": str(checkout), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def shim(checkout: Path, name: str, body: str) -> None:
    file = checkout / "tools" / name
    file.unlink(missing_ok=True)
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)


def test_missing_python_311(checkout: Path) -> None:
    shim(checkout, "python3", "echo 3.12")
    done = set_up(checkout, "uv")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("set-up failed: no Python 3.11 on the PATH")


@pytest.mark.parametrize(
    ("step", "free", "needed"),
    [(("uv",), 200, 300), (("environment", "lint"), 200, 300), (("environment", "airflow"), 1000, 4000)],
)
def test_full_disk(checkout: Path, step: tuple[str, ...], free: int, needed: int) -> None:
    shim(checkout, "python3.11", f'exec {sys.executable} "$@"')
    shim(checkout, "df", f'printf "Filesystem 1024-blocks Used Available\\n/dev/sda 9 9 {free * 1024} 9%% /\\n"')
    done = set_up(checkout, *step)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"set-up failed: {free} MB free on this disk, {needed} needed: free some and try again"
    )


@pytest.mark.parametrize(
    ("there", "name", "needed"),
    [
        ("airflow", "spark", 2500),
        ("airflow", "airflow", 500),
        ("airflow spark", "spark", 500),
        ("spark", "spark4", 2500),
    ],
)
def test_less_disk_is_asked_for_where_some_is_there_already(checkout: Path, there: str, name: str, needed: int) -> None:
    for environment in there.split():
        python = checkout / ".venv" / environment / "bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
    shim(checkout, "df", 'printf "Filesystem 1024-blocks Used Available\\n/dev/sda 9 9 1024 9%% /\\n"')
    done = set_up(checkout, "environment", name)

    assert done.stderr == f"set-up failed: 1 MB free on this disk, {needed} needed: free some and try again\n"


def test_unreachable_index(checkout: Path) -> None:
    shim(checkout, "python3.11", f'exec {sys.executable} "$@"')
    nowhere = "http://127.0.0.1:9/simple"  # the discard port: refused at once
    done = set_up(
        checkout, "uv", PIP_INDEX_URL=nowhere, PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1"
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "set-up failed: uv could not be installed from PyPI: check the network"
    )


def test_jars_that_are_altered_unexpected_or_missing(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"content")
    (tmp_path / "b.jar").write_bytes(b"other content")
    digest = hashlib.sha256(b"content").hexdigest()
    (tmp_path / "list").write_text(f"{digest}  a.jar\n{digest}  b.jar\n{digest}  c.jar\n")
    done = subprocess.run(
        [sys.executable, PROJECT / "dev/verify_jars.py", tmp_path / "list", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == "missing, unexpected or altered: b.jar, c.jar\n"
