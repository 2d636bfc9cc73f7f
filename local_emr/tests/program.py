"""`python -m local_emr` as a program of its own, for tests."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import psutil

PROJECT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "local_emr"]


def environment() -> dict[str, str]:
    """With these sources first: the environment may have another checkout's installed."""
    return os.environ | {"PYTHONPATH": str(PROJECT / "src")}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the program says that ends by itself."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)


class Program:
    """A running `python -m local_emr`."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        command = [*COMMAND, "--port", str(port), "--starting-seconds", "0.2", *arguments]
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        try:
            assert self.process.stdout
            line = self.process.stdout.readline()
            found = re.fullmatch(r"local_emr ready on (http://127\.0\.0\.1:(\d+))\n", line)
            assert found, line
        except BaseException:  # nobody else knows it yet
            self.process.kill()
            self.process.wait()
            raise
        self.url, self.port = found[1], int(found[2])

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-west-3",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def still_there(process: psutil.Process) -> bool:
    """A zombie is gone as far as we can tell: its new parent, the system's init, reaps it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
