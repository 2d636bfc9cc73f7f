"""What a run of the tests says of itself: what was left out, and how long the suite on YARN took."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import OPT_IN, PROJECT

MARKED = """
import pytest

@pytest.mark.faults
def test_long():
    pass

def test_short():
    pass
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_summary_says_what_was_left_out(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_some.py").write_text(MARKED)
    environment = {name: value for name, value in os.environ.items() if name not in OPT_IN.values()}
    options = ["-c", str(PROJECT / "pyproject.toml"), "-p", "tests.conftest", "-n", processes, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "left out: 1 tests marked faults (FRUITS_TEST_FAULTS=1 runs them)" in done.stdout.splitlines()
    assert "live" not in done.stdout


@pytest.mark.parametrize(
    ("bound", "code", "said"), [(240, 0, ""), (3, 0, ", more than 3 s"), (1, 1, ", more than 1 s")]
)
def test_the_suite_on_yarn_has_its_seconds(tmp_path: Path, bound: int, code: int, said: str) -> None:
    """Here it takes four, of which a bound of three is a busy machine's, and one of less than two is not."""
    script, python = tmp_path / "dev/run_tests", tmp_path / ".venv/airflow/bin/python"
    for file in (script, python):
        file.parent.mkdir(parents=True)
    original = (PROJECT / "dev/run_tests").read_text()
    assert original.count("YARN_SECONDS=240 ") == 1
    script.write_text(original.replace("YARN_SECONDS=240 ", f"YARN_SECONDS={bound} "))
    python.write_text('#!/bin/sh\ncase "$*" in *tests/yarn*) sleep 4 ;; esac\n')
    for file in (script, python):
        file.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in OPT_IN.values()}
    done = subprocess.run(
        [script], env=environment | {"SIDE": "airflow", "YARN": "jobs"}, capture_output=True, text=True, check=False
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert re.search(rf"^tests/yarn took \d s{said}", done.stdout, re.MULTILINE), done.stdout
    assert ("a suite that has grown" in done.stdout) == bool(said)
