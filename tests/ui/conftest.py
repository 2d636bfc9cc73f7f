"""What every test of this folder needs: the browser, and a real Airflow with drawn images, as `make ui` starts it."""

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from demo.images import write_images
from tests.chromium import browser
from tests.conftest import PROJECT
from tests.programs import running

__all__ = ["browser"]


@dataclass(frozen=True)
class LiveUi:
    """A running `make ui`: the URLs of Airflow and of the local endpoint, and the images in its bucket."""

    airflow: str
    endpoint: str
    images: Path

    def ask(self, path: str, **sent: Any) -> Any:
        """Ask Airflow's API about the DAG, or send it a document."""
        with urllib.request.urlopen(f"{self.airflow}/auth/token", timeout=120) as answer:
            token = json.load(answer)["access_token"]
        request = urllib.request.Request(
            f"{self.airflow}/api/v2/dags/fruit_features{path}",
            json.dumps(sent).encode() if sent else None,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def tasks(self, run_id: str) -> dict[str, str]:
        """Return the states of a run's tasks."""
        found = self.ask(f"/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def await_end(self, run_id: str) -> str:
        """Wait until a run is over; return its state."""
        deadline = time.monotonic() + 700
        while (state := self.ask(f"/dagRuns/{quote(run_id)}")["state"]) not in {"success", "failed"}:
            assert time.monotonic() < deadline, f"{state}: {self.tasks(run_id)}"
            time.sleep(1)
        return str(state)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[LiveUi]:
    """A `make ui` with a few images of each variety and one file that is none; one for all tests, as it takes a while."""
    python = PROJECT / ".venv/airflow/bin/python"
    if not python.exists():
        pytest.skip("no Airflow here: make setup")
    folder = tmp_path_factory.mktemp("ui")
    write_images(folder / "images", 6)
    (folder / "images" / "Banana" / "notes.jpg").write_bytes(b"Reminder: photograph the bananas again.\n")
    port = free_port()
    command = [
        *(python, "-m", "demo.ui", "--port", str(port), "--endpoint-port", "0", "--home", folder / "home"),
        *("--images", folder / "images", "--weights", weights),
    ]
    output = folder / "output"
    with running(command, output) as process:
        deadline = time.monotonic() + 300
        while "stops all of it" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.5)
        endpoint = re.search(r"local AWS on (http://\S+);", output.read_text())
        assert endpoint
        yield LiveUi(f"http://localhost:{port}", endpoint[1], folder / "images")
