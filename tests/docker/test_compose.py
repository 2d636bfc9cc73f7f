"""docker-compose.yaml, built and run as one would deploy it: make test-compose. Skipped where there is no Docker engine."""

import json
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.docker.compose import COMPOSE, PORTS, make_settings, shell, works

pytestmark = pytest.mark.timeout(3000)

KILL_SCHEDULER = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == 1:
        os.kill(int(process.name), signal.SIGKILL)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := holds():
                return found
        except (OSError, ValueError, KeyError):  # not served yet
            pass
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(2)


@dataclass
class Stack:
    """A project of docker compose on ports of its own."""

    command: list[str]
    settings: Path
    ports: Mapping[str, int]
    name: str = field(default_factory=lambda: f"fruits-test-{secrets.token_hex(4)}")

    def run(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.command, "--project-name", self.name, "--env-file", str(self.settings), *arguments],
            cwd=PROJECT,
            env=shell(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def call(self, port: str, path: str, body: bytes | dict | None = None, token: str = "") -> Any:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", content, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def airflow(self, path: str, body: dict | None = None) -> Any:
        token = self.call("PORT", "/auth/token")["access_token"]
        return self.call("PORT", f"/api/v2/dags/fruit_features{path}", body, token)

    def trigger(self, **conf: Any) -> str:
        return self.airflow("/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]

    def state(self, run: str) -> str:
        return self.airflow(f"/dagRuns/{run}")["state"]

    def tasks(self, run: str) -> dict[str, str]:
        found = self.airflow(f"/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def wait_for_success(self, run: str) -> None:
        until(lambda: self.state(run) in ("success", "failed"), 900, f"the end of {run}")
        assert self.state(run) == "success", self.tasks(run)

    def wait_until_up(self) -> None:
        until(lambda: not self.airflow("")["is_paused"], 300, "the DAG")
        health = until(lambda: self.call("PORT", "/api/v2/monitor/health"), 60, "the health of Airflow")
        assert set(health) >= {"scheduler", "triggerer", "dag_processor"}

    def container(self, service: str) -> str:
        return self.run("ps", "-q", service).split()[-1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine answers: install one, and let this user reach it (docker info)")
    command = next((command for command in COMPOSE if works(command)), None)
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    ports = {name: free_port() for name in PORTS}
    made = Stack(command, make_settings(tmp_path_factory.mktemp("compose") / "env", **ports), ports)
    try:
        made.run("up", "--detach", "--build")
        made.wait_until_up()
        yield made
    finally:
        made.run("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)


@pytest.fixture(scope="module")
def first_run(stack: Stack) -> str:
    """A run with the defaults, triggered over REST once the bucket is filled."""
    until(lambda: "Exit 0" in (text := stack.run("ps", "--all", "bucket")) or "Exited (0)" in text, 300, "the bucket")
    run = stack.trigger()
    stack.wait_for_success(run)
    return run


def test_a_run_succeeds_and_the_application_serves_it(stack: Stack, first_run: str) -> None:
    served = until(lambda: stack.call("APP_PORT", "/health"), 120, "the application's results")
    assert served["images"] == 350

    image = next((PROJECT / "docs").glob("app.png")).read_bytes()
    answer = stack.call("APP_PORT", "/lookup", image)
    assert len(answer["candidates"]) == 3


def test_the_results_page_shows_the_run_and_its_report(stack: Stack, first_run: str) -> None:
    url = f"http://127.0.0.1:{stack.ports['PORT']}/fruits/"
    token = stack.call("PORT", "/auth/token")["access_token"]
    for path, text in (("", b"80."), (f"runs/{urllib.parse.quote(first_run)}/report", b"<img")):
        request = urllib.request.Request(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert text in answer.read()


def test_every_service_is_healthy_and_none_is_root(stack: Stack, first_run: str) -> None:
    for service in ("postgres", "api-server", "scheduler", "dag-processor", "triggerer", "app", "local-emr"):
        container = stack.container(service)
        form = "{{.State.Health.Status}} {{.Config.User}}"
        inspect = ["docker", "inspect", "--format", form, container]
        until(
            lambda inspect=inspect: subprocess.check_output(inspect, text=True).startswith("healthy"),
            180,
            f"{service} to be healthy",
        )
        if service != "postgres":  # its image begins as root and drops to its own user
            assert subprocess.check_output(inspect, text=True).split()[1:] not in ([], ["root"], ["0"])


def test_a_scheduler_that_dies_in_a_run_comes_back_and_the_run_succeeds(stack: Stack, first_run: str) -> None:
    run = stack.trigger(variance=0.7)
    until(lambda: stack.tasks(run).get("reduce_dimensions") == "deferred", 600, "the last step to run")
    scheduler = stack.container("scheduler")
    stack.run("exec", "-T", "scheduler", "python", "-c", KILL_SCHEDULER, check=False)

    restarts = ["docker", "inspect", "--format", "{{.RestartCount}}", scheduler]
    until(lambda: int(subprocess.check_output(restarts)) >= 1, 120, "the scheduler's restart")
    stack.wait_for_success(run)


def test_down_and_up_keeps_runs_bucket_and_results(stack: Stack, first_run: str) -> None:
    until(lambda: stack.call("APP_PORT", "/health"), 120, "the application's results")
    before = [run["dag_run_id"] for run in stack.airflow("/dagRuns")["dag_runs"]]
    stack.run("down", "--timeout", "20")
    with pytest.raises(urllib.error.URLError):
        stack.call("APP_PORT", "/health")
    stack.run("up", "--detach")
    stack.wait_until_up()

    assert [run["dag_run_id"] for run in stack.airflow("/dagRuns")["dag_runs"]] == before
    assert stack.state(first_run) == "success"
    served = until(lambda: stack.call("APP_PORT", "/health"), 120, "the application's results")
    assert served["images"] == 350
    stack.wait_for_success(stack.trigger(variance=0.7))
