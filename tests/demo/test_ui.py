"""`make ui`: says what a person needs, keeps its state, and ends as a whole, whatever ends first."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.bucket import BUCKET, DemoError, client, fill_bucket
from demo.ports import only_user_of, require_free
from local_emr import LocalEmr
from tests.conftest import PROJECT

READY = "Ctrl+C        stops all of it"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_of(process: psutil.Process) -> str:
    """Its command line, or nothing once it has ended: Airflow starts many that last a moment, then are zombies for another."""
    with contextlib.suppress(psutil.NoSuchProcess):  # ZombieProcess is one, too
        return " ".join(process.cmdline())
    return ""


class Ui:
    """A running `demo.ui`, and the processes that it has started."""

    def __init__(self, folder: Path) -> None:
        (folder / "images" / "Kiwi").mkdir(parents=True)
        (folder / "images" / "Kiwi" / "1.jpg").write_bytes(b"an image")
        (folder / "w.h5").write_bytes(b"weights")
        self.home, self.output = folder / "home", folder / "output"
        command = [
            *(sys.executable, "-m", "demo.ui", "--port", str(free_port()), "--endpoint-port", "0"),
            *("--home", self.home, "--images", folder / "images", "--weights", folder / "w.h5"),
        ]
        with self.output.open("wb") as output:
            environment = {**os.environ, "HOME": str(folder)}
            self.process = subprocess.Popen(
                command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True, env=environment
            )
        self.started: list[psutil.Process] = []

    def wait_until_ready(self, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while READY not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.5)
        self.started = psutil.Process(self.process.pid).children(recursive=True)

    def has_started(self, name: str) -> bool:
        self.started = psutil.Process(self.process.pid).children(recursive=True)
        return any(name in command_of(process) for process in self.started)

    def component(self, name: str) -> psutil.Process:
        (standalone,) = [process for process in self.started if "standalone" in command_of(process)]
        return next(process for process in standalone.children() if name in command_of(process))

    def leaves_nothing_within(self, seconds: float) -> bool:
        self.process.wait(seconds)
        return psutil.wait_procs(self.started, timeout=seconds)[1] == []


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[Ui]:
    made = Ui(tmp_path)
    try:
        yield made
    finally:
        made.process.kill()  # whatever it has started ends with it
        made.process.wait()
        psutil.wait_procs(made.started, timeout=10)


@pytest.mark.slow
def test_sigterm_while_airflow_starts(ui: Ui) -> None:
    deadline = time.monotonic() + 120
    while not ui.has_started("standalone"):
        assert time.monotonic() < deadline, ui.output.read_text()
        time.sleep(0.1)
    ui.process.terminate()

    assert ui.leaves_nothing_within(25)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_one_signal_stops_airflow_and_the_endpoint(number: signal.Signals, ui: Ui) -> None:
    ui.wait_until_ready()
    assert len(ui.started) > 3
    os.killpg(ui.process.pid, number)  # as a terminal does: the whole foreground group

    assert ui.leaves_nothing_within(25)


@pytest.mark.slow
def test_the_end_of_a_part_ends_all_of_it_and_the_bucket_is_kept(ui: Ui) -> None:
    ui.wait_until_ready()
    lines = ui.output.read_text().splitlines()
    assert len(lines) <= 12, lines  # what a person must read; the rest is in the log
    ui.component("triggerer").kill()

    assert ui.leaves_nothing_within(25)
    assert "the triggerer has ended by itself" in ui.output.read_text()
    with LocalEmr(data_dir=ui.home / "aws") as aws:
        found = client("s3", aws.endpoint_url).list_objects_v2(Bucket=BUCKET)["Contents"]
        assert [item["Key"] for item in found] == ["images/Kiwi/1.jpg", "weights/w.h5"]


def test_a_kept_bucket_gets_only_what_is_named(tmp_path: Path) -> None:
    for name in ("first/Kiwi/1.jpg", "second/Kiwi/2.jpg", "first.h5", "a-later.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with LocalEmr() as aws:
        aws.reset()

        def fill(images: str | None, weights: str | None) -> str:
            folder = images and str(tmp_path / images)
            return fill_bucket(aws.endpoint_url, folder, weights and str(tmp_path / weights), lambda _: None)

        assert fill("first", "first.h5") == f"s3://{BUCKET}/weights/first.h5"
        time.sleep(1)  # S3 tells times in whole seconds
        assert fill("second", None) == f"s3://{BUCKET}/weights/first.h5"
        assert fill(None, "a-later.h5") == f"s3://{BUCKET}/weights/a-later.h5"
        assert fill(None, None) == f"s3://{BUCKET}/weights/a-later.h5"

        found = client("s3", aws.endpoint_url).list_objects_v2(Bucket=BUCKET, Prefix="images/")["Contents"]
        assert [item["Key"] for item in found] == ["images/Kiwi/1.jpg", "images/Kiwi/2.jpg"]


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        wanted = rf"port {port}, for Airflow's UI, is taken by process {os.getpid()} .*: stop that, or make ui PORT="
        with pytest.raises(DemoError, match=re.compile(wanted, re.DOTALL)):
            require_free("127.0.0.1", port, "Airflow's UI", "make ui PORT=<another>")
    require_free("127.0.0.1", port, "Airflow's UI", "make ui PORT=<another>")


def test_a_home_has_one_user(tmp_path: Path) -> None:
    with only_user_of(tmp_path), pytest.raises(DemoError, match="is in use by another make ui"), only_user_of(tmp_path):
        pass
    with only_user_of(tmp_path):
        pass
