"""Programs that end with the tests that use them, even if those are killed."""

import contextlib
import importlib.util
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT

REAPER = PROJECT / "local_emr/src/local_emr/emr/reaper.py"
SECONDS = 120  # that Airflow, the endpoint and Spark may take to stop on a busy machine


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], output: Path, seconds: float = SECONDS
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program in a session of its own; end it with the block, as Ctrl+C does.

    Args:
        command: the program and its arguments.
        output: file that gets all that it writes.
        seconds: that it may take to end; then it is killed.

    Raises:
        subprocess.TimeoutExpired: it had to be killed.
    """
    reaper = _reaper()
    reaper.start()
    try:
        with output.open("wb") as stream:
            process = subprocess.Popen(command, cwd=PROJECT, stdout=stream, stderr=stream, start_new_session=True)
        reaper.watch(process.pid)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(seconds)
    finally:
        reaper.stop()  # kills what is left


def _reaper() -> Any:
    """Return local_emr's reaper, loaded alone: the application's environment has nothing of what its package imports."""
    spec = importlib.util.spec_from_file_location("reaper", REAPER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Reaper()
