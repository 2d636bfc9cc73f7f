"""Ctrl+C stops every process that `make ui` started."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_served(url: str, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "demo.ui ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{url} did not answer within {seconds:.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_airflow_and_the_endpoint(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "images" / "Kiwi").mkdir(parents=True)
    (tmp_path / "images" / "Kiwi" / "1.jpg").write_bytes(b"an image")
    (tmp_path / "w.h5").write_bytes(b"weights")
    port = free_port()
    command = [
        *(sys.executable, "-m", "demo.ui", "--port", str(port), "--endpoint-port", "0"),
        *("--home", tmp_path / "home", "--images", tmp_path / "images", "--weights", tmp_path / "w.h5"),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    try:
        wait_until_served(f"http://127.0.0.1:{port}/api/v2/version", process, 120)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 3
        os.killpg(process.pid, number)  # as a terminal does: the whole foreground group
        process.wait(25)

        _, alive = psutil.wait_procs(started, timeout=5)
        assert alive == []
    finally:
        for left in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            left.kill()
        process.kill()
        process.wait()
