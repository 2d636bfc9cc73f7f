"""What runs below a supervisor ends with it: in sessions of its own, orphaned, or being started."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from emr_client import wait_for
from program import still_there

from local_emr.emr.yarn import supervisor

# Orphans in sessions of their own, as containers are once their NodeManager is dead; then what the daemon does.
ORPHANS = "(setsid sleep 1000 & setsid sleep 1000 &); "
WAIT = "read -t 1000 < <(sleep 1000)"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives orphans to another than its first process"
)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.communicate()


def supervise(started: list[subprocess.Popen[bytes]], script: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", str(Path(supervisor.__file__)), "bash", "-c", ORPHANS + script]
    started.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
    return started[-1]


def orphans(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    def found() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children()
        return [child for child in children if child.name() == "sleep"]

    return wait_for(lambda: len(found()) == 2 and found())


def test_the_end_of_the_pipe_ends_everything(started: list[subprocess.Popen[bytes]]) -> None:
    process = supervise(started, "while :; do setsid sleep 1000 & sleep 0.01; done")
    orphans(process)
    below = psutil.Process(process.pid).children(recursive=True)
    assert process.stdin
    process.stdin.close()
    process.wait(20)
    assert not any(map(still_there, below))


def test_the_end_of_the_daemon_ends_everything(started: list[subprocess.Popen[bytes]]) -> None:
    process = supervise(started, WAIT)
    left = orphans(process)
    (daemon,) = [child for child in psutil.Process(process.pid).children() if child.name() == "bash"]
    daemon.kill()
    assert process.wait(20) == 128 + 9
    assert not any(map(still_there, left))


def test_a_signal_alone_ends_nothing(started: list[subprocess.Popen[bytes]]) -> None:
    process = supervise(started, WAIT)
    left = orphans(process)
    process.terminate()
    process.send_signal(1)
    assert all(map(still_there, left))
    assert process.stdin
    process.stdin.close()
    assert process.wait(20) == 128 + 9
    assert not any(map(still_there, left))
