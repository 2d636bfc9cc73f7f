"""What people do in the UI, done over its REST API: a real scheduler, triggerer and API server, and real Spark."""

import contextlib
import json
import re
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

from demo.bucket import BUCKET
from demo.images import write_images
from tests.programs import running

pytestmark = pytest.mark.timeout(900)


class Airflow:
    """A client of the REST API, as the UI is one."""

    def __init__(self, url: str, emr: Any, s3: Any = None) -> None:
        self.url = url
        self.emr = emr
        self.s3 = s3
        self.token = self.request("GET", "/auth/token")["access_token"]

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if hasattr(self, "token"):
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read() or "null")

    def trigger(self, **conf: Any) -> str:
        body = {"logical_date": None, "conf": conf}
        return self.request("POST", "/api/v2/dags/fruit_features/dagRuns", body)["dag_run_id"]

    def clear(self, run_id: str, *task_ids: str, downstream: bool = False) -> None:
        """Clear these tasks, and what is downstream if so asked, as the UI does."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        body["include_downstream"] = downstream
        self.request("POST", "/api/v2/dags/fruit_features/clearTaskInstances", body)

    def mark_failed(self, run_id: str, task_id: str | None = None) -> None:
        """Mark the run, or one task of it, as failed."""
        run = f"/api/v2/dags/fruit_features/dagRuns/{run_id}"
        if task_id:
            self.request("PATCH", f"{run}/taskInstances/{task_id}", {"new_state": "failed"})
        else:
            self.request("PATCH", run, {"state": "failed"})

    def note(self, run_id: str) -> str:
        return self.request("GET", f"/api/v2/dags/fruit_features/dagRuns/{run_id}")["note"]

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.request("GET", f"/api/v2/dags/fruit_features/dagRuns/{run_id}/taskInstances")
        return {task["task_id"]: task for task in found["task_instances"]}

    def wait(self, run_id: str, seconds: float = 600) -> str:
        """Wait until the run has ended; return its state."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.request("GET", f"/api/v2/dags/fruit_features/dagRuns/{run_id}")["state"]
            if state in {"success", "failed"}:
                return state
            time.sleep(1)
        pytest.fail(f"run {run_id} did not end within {seconds:.0f} s: {self.tasks(run_id)}")

    def wait_for_running_step(self, name: str, seconds: float = 400) -> None:
        """Wait until the step runs on the latest cluster, and its task waits for it in the triggerer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for step in self.steps():
                if step["Name"] == name and step["Status"]["State"] == "RUNNING":
                    return
            time.sleep(0.5)
        pytest.fail(f"{name} did not run within {seconds:.0f} s")

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps of the latest cluster, as ListSteps does."""
        clusters = self.emr.list_clusters()["Clusters"]
        return self.emr.list_steps(ClusterId=clusters[0]["Id"])["Steps"] if clusters else []

    @contextlib.contextmanager
    def fault(self, **rule: Any) -> Iterator[None]:
        """Have the endpoint do this meanwhile."""
        faults = f"{self.emr.meta.endpoint_url}/_local_emr/faults"
        with urllib.request.urlopen(urllib.request.Request(faults, json.dumps(rule).encode(), method="POST")):
            pass
        try:
            yield
        finally:
            with urllib.request.urlopen(urllib.request.Request(faults, method="DELETE")):
                pass

    def slow_images(self) -> contextlib.AbstractContextManager[None]:
        """Have the endpoint take a minute for each image, so that extract_features runs until it is stopped."""
        return self.fault(fault="s3-latency", milliseconds=60_000, method="GET", key="images/*")

    def etags(self, prefix: str) -> dict[str, str]:
        """Return the ETag of each object below a prefix of the bucket."""
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        return {item["Key"]: item["ETag"] for item in found}

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
    with running(command, log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for_dag(url, process, 400)
        found = re.search(r"local AWS on (http://\S+);", log.read_text())
        assert found
        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name="eu-west-3")
        yield Airflow(url, *(session.client(service, endpoint_url=found[1]) for service in ("emr", "s3")))


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
    assert states.pop("approve_cost") == "skipped", "nobody needs to be asked"
    assert set(states.values()) == {"success"}
    assert re.match(r"21 new images of 21: 21 features, 0 rejects, \d+ components = 8", airflow.note(run_id))
    assert airflow.clusters() == [("TERMINATED", ["reduce_dimensions", "extract_features", "export_model"])]


def test_a_cleared_step_is_repeated_on_a_cluster_of_its_own(airflow: Airflow, run_id: str) -> None:
    """Of a run that needs no export, as its model is there."""
    before = len(airflow.clusters())
    with airflow.fault(fault="step-exit", step="reduce_dimensions", exit_code=1):
        failed = airflow.trigger(variance=0.6)
        assert airflow.wait(failed) == "failed", airflow.tasks(failed)
    assert airflow.tasks(failed)["export_model"]["state"] == "skipped"
    airflow.clear(failed, "reduce_dimensions", downstream=True)

    assert airflow.wait(failed) == "success", airflow.tasks(failed)
    both, one = airflow.clusters()[before:]
    assert both == ("TERMINATED", ["reduce_dimensions", "extract_features"])
    assert one == ("TERMINATED", ["reduce_dimensions"])


@pytest.mark.parametrize("task_id", ["wait_for_cluster", "create_cluster", "terminate_cluster"])
def test_no_cluster_is_paid_for_without_a_step_to_do(airflow: Airflow, run_id: str, task_id: str) -> None:
    before = airflow.clusters()
    airflow.clear(run_id, task_id)

    assert airflow.wait(run_id) == "success", airflow.tasks(run_id)
    assert airflow.clusters() == before


def test_a_dry_run_says_on_its_page_what_it_was(airflow: Airflow, run_id: str) -> None:
    assert airflow.tasks(run_id)
    again = airflow.trigger(dry_run=True)

    assert airflow.wait(again) == "success", airflow.tasks(again)
    assert airflow.note(again).startswith("dry run: 0 of 21 images are new")


def test_what_is_cleared_of_a_run_without_work_is_skipped_again(airflow: Airflow) -> None:
    """Two of these tasks run below skipped ones, in a run that has work."""
    without_work = airflow.trigger(dry_run=True)
    assert airflow.wait(without_work) == "success", airflow.tasks(without_work)
    airflow.clear(without_work, "deploy_artifacts", downstream=True)

    assert airflow.wait(without_work) == "success", airflow.tasks(without_work)
    states = {task_id: task["state"] for task_id, task in airflow.tasks(without_work).items()}
    assert (states.pop("find_new_images"), states.pop("conclude_run")) == ("success", "success")
    assert set(states.values()) == {"skipped"}


def test_an_unknown_param_costs_nothing(airflow: Airflow) -> None:
    before = airflow.clusters()
    run_id = airflow.trigger(varience=0.7)

    assert airflow.wait(run_id) == "failed"
    assert airflow.tasks(run_id)["find_new_images"]["state"] == "failed"
    assert airflow.tasks(run_id)["find_new_images"]["try_number"] == 1, "trying again could not help"
    assert airflow.note(run_id) == "failed in find_new_images: there is no param 'varience'; did you mean 'variance'?"
    assert airflow.clusters() == before


@pytest.mark.parametrize(
    ("task_id", "downstream"), [("reduce_dimensions", False), ("extract_features", True)], ids=["alone", "downstream"]
)
def test_a_step_of_a_published_run_is_not_repeated(
    airflow: Airflow, run_id: str, task_id: str, *, downstream: bool
) -> None:
    """It would write over what readers may be reading."""
    before = airflow.clusters(), airflow.etags("results/")
    airflow.clear(run_id, task_id, downstream=downstream)

    assert airflow.wait(run_id) == ("failed" if downstream else "success"), "what is published stays so"
    states = {task_id: task["state"] for task_id, task in airflow.tasks(run_id).items()}
    assert (states["create_cluster"], states[task_id]) == ("failed", "upstream_failed")
    if downstream:
        said = r"failed in create_cluster: run \S+ is published: clearing it would overwrite it; trigger a new run"
        assert re.match(said, airflow.note(run_id))
    assert (airflow.clusters(), airflow.etags("results/")) == before


def extract_anew(airflow: Airflow) -> str:
    """Trigger a run that has images to extract whatever ran before; wait until it does so."""
    before = len(airflow.clusters())
    run_id = airflow.trigger(output_prefix=f"stopped-{before}")
    deadline = time.monotonic() + 120
    while len(airflow.clusters()) == before and time.monotonic() < deadline:
        time.sleep(0.5)
    airflow.wait_for_running_step("extract_features")
    while airflow.tasks(run_id)["extract_features"]["state"] != "deferred" and time.monotonic() < deadline:
        time.sleep(0.5)
    return run_id


@pytest.mark.parametrize("task_id", [None, pytest.param("extract_features", marks=pytest.mark.faults)])
def test_what_is_marked_as_failed_is_shown_as_failed_and_stops(airflow: Airflow, task_id: str | None) -> None:
    with airflow.slow_images():
        run_id = extract_anew(airflow)
        airflow.mark_failed(run_id, task_id)

        assert airflow.wait(run_id) == "failed", airflow.tasks(run_id)
    (step,) = [step for step in airflow.steps() if step["Name"] == "extract_features"]
    assert step["Status"]["State"] == "CANCELLED"
    assert airflow.clusters()[-1][0] == "TERMINATED"
    assert airflow.tasks(run_id)["terminate_cluster"]["state"] == "success"
