"""No program outlives the tests that have started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT
from tests.programs import running

# Takes no notice of Ctrl+C, nor of being asked to end.
STUBBORN = """
import os, signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
TESTS = """
import os, signal, sys, time
from pathlib import Path
from tests.programs import running
output = Path(sys.argv[1])
with running([sys.executable, "-c", sys.argv[2]], output):
    while not output.read_text().endswith("\\n"):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_dies_with_tests_that_are_killed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # where it leaves what it cannot remove
    command = [sys.executable, "-c", TESTS, output, STUBBORN]
    killed = subprocess.run(command, cwd=PROJECT, env=environment, timeout=60, check=False)

    assert killed.returncode == -signal.SIGKILL
    until(lambda: not psutil.pid_exists(int(output.read_text())))


def test_a_program_that_does_not_end_in_time_is_killed_and_fails_the_tests(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with (
        pytest.raises(subprocess.TimeoutExpired),
        running([sys.executable, "-c", STUBBORN], output, seconds=0.5) as process,
    ):
        until(lambda: output.read_text().endswith("\n"))

    assert process.wait(30) == -signal.SIGKILL


def test_a_program_that_ends_as_asked_is_not_killed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    # The handler is set, as a shell has its background jobs ignore the signal, and Python leaves it so.
    polite = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); print('ready', flush=True)\n"
        "try: time.sleep(600)\nexcept KeyboardInterrupt: print('bye')"
    )
    with running([sys.executable, "-c", polite], output) as process:
        until(lambda: "ready" in output.read_text())

    assert process.returncode == 0
    assert output.read_text().split() == ["ready", "bye"]
