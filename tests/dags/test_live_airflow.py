"""What people do in the UI, done over its REST API: a real scheduler, triggerer and API server, and real Spark."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from demo.images import write_images
from tests.conftest import PROJECT

pytestmark = pytest.mark.timeout(900)


class Airflow:
    """A client of the REST API, as the UI is one."""

    def __init__(self, url: str, emr: Any) -> None:
        self.url = url
        self.emr = emr
        self.token = self.request("GET", "/auth/token")["access_token"]

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if hasattr(self, "token"):
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def trigger(self, **conf: Any) -> str:
        body = {"logical_date": None, "conf": conf}
        return self.request("POST", "/api/v2/dags/fruit_features/dagRuns", body)["dag_run_id"]

    def clear(self, run_id: str, *task_ids: str) -> None:
        """Clear these tasks alone, as the UI does without "downstream"."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        self.request("POST", "/api/v2/dags/fruit_features/clearTaskInstances", body)

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.request("GET", f"/api/v2/dags/fruit_features/dagRuns/{run_id}/taskInstances")
        return {task["task_id"]: task for task in found["task_instances"]}

    def wait(self, run_id: str, seconds: float = 300) -> str:
        """Wait until the run has ended; return its state."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.request("GET", f"/api/v2/dags/fruit_features/dagRuns/{run_id}")["state"]
            if state in {"success", "failed"}:
                return state
            time.sleep(1)
        pytest.fail(f"run {run_id} did not end within {seconds:.0f} s: {self.tasks(run_id)}")

    def clusters(self) -> list[tuple[str, list[str]]]:
        """Return the state of each cluster and the names of its steps, oldest first."""
        clusters = self.emr.list_clusters()["Clusters"]
        return [
            (
                cluster["Status"]["State"],
                [step["Name"] for step in self.emr.list_steps(ClusterId=cluster["Id"])["Steps"]],
            )
            for cluster in reversed(clusters)
        ]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("live")
    write_images(folder / "images", 3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "demo.ui", "--port", str(port), "--endpoint-port", "0"),
        *("--home", folder / "home", "--images", folder / "images", "--weights", weights),
    ]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=stream, stderr=stream, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_dag(url, process, 180)
        found = re.search(r"local AWS on (http://\S+);", log.read_text())
        assert found
        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name="eu-west-3")
        yield Airflow(url, session.client("emr", endpoint_url=found[1]))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def wait_for_dag(url: str, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "demo.ui ended by itself"
        try:
            client = Airflow(url, None)
            client.request("GET", "/api/v2/dags/fruit_features/details")
        except OSError:
            time.sleep(1)
        else:
            return
    pytest.fail(f"the DAG was not served within {seconds:.0f} s")


@pytest.fixture(scope="module")
def run_id(airflow: Airflow) -> str:
    """A run that has succeeded, triggered with the defaults."""
    run_id = airflow.trigger()
    assert airflow.wait(run_id) == "success", airflow.tasks(run_id)
    return run_id


def test_a_run_with_the_defaults_succeeds(airflow: Airflow, run_id: str) -> None:
    states = {task_id: task["state"] for task_id, task in airflow.tasks(run_id).items()}
    assert set(states.values()) == {"success"}
    assert airflow.clusters() == [("TERMINATED", ["reduce_dimensions", "extract_features", "export_model"])]


def test_a_cleared_step_is_repeated_on_a_cluster_of_its_own(airflow: Airflow, run_id: str) -> None:
    before = len(airflow.clusters())
    airflow.clear(run_id, "reduce_dimensions")

    assert airflow.wait(run_id) == "success", airflow.tasks(run_id)
    assert airflow.clusters()[before:] == [("TERMINATED", ["reduce_dimensions"])]


@pytest.mark.parametrize("task_id", ["wait_for_cluster", "create_cluster", "terminate_cluster"])
def test_no_cluster_is_paid_for_without_a_step_to_do(airflow: Airflow, run_id: str, task_id: str) -> None:
    before = airflow.clusters()
    airflow.clear(run_id, task_id)

    assert airflow.wait(run_id) == "success", airflow.tasks(run_id)
    assert airflow.clusters() == before


def test_a_model_that_is_there_is_not_exported_again(airflow: Airflow, run_id: str) -> None:
    before = len(airflow.clusters())
    second = airflow.trigger(variance=0.7)

    assert airflow.wait(second) == "success", airflow.tasks(second)
    assert airflow.tasks(second)["export_model"]["state"] == "skipped"
    assert airflow.clusters()[before:] == [("TERMINATED", ["reduce_dimensions", "extract_features"])]


def test_an_unknown_param_costs_nothing(airflow: Airflow) -> None:
    before = airflow.clusters()
    run_id = airflow.trigger(varience=0.7)

    assert airflow.wait(run_id) == "failed"
    assert airflow.tasks(run_id)["find_new_images"]["state"] == "failed"
    assert airflow.tasks(run_id)["find_new_images"]["try_number"] == 1, "trying again could not help"
    assert airflow.clusters() == before
