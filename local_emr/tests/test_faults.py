"""Faults on demand, each seen at the API."""

import os
import time
from typing import Any

import psutil
import pytest
import requests
from botocore.exceptions import ClientError, ConnectionClosedError
from emr_client import Emr, client, error, step, wait_for

from local_emr import LocalEmr
from local_emr.emr.step_faults import StepFaults


@pytest.fixture
def cluster(cluster_api: Emr) -> str:
    created = cluster_api.create(Name="victim")
    cluster_api.until(created, "WAITING")
    return created


# ---------------------------------------------------------------------- the admin route


def test_rules_are_made_shown_and_lifted_over_http(local_emr: LocalEmr, s3: Any) -> None:
    route = f"{local_emr.endpoint_url}/_local_emr/faults"
    made = requests.post(route, json={"fault": "s3-error", "status": 503, "key": "a/*", "times": 1}, timeout=5).json()

    assert (made["fault"], made["status"], made["key"], made["times"], made["hits"]) == ("s3-error", 503, "a/*", 1, 0)
    s3.put_object(Bucket="data", Key="b/1", Body=b"")
    with pytest.raises(ClientError):
        s3.put_object(Bucket="data", Key="a/1", Body=b"")
    s3.put_object(Bucket="data", Key="a/1", Body=b"")
    assert requests.get(route, timeout=5).json() == {"faults": [made | {"hits": 1}]}
    assert requests.delete(f"{route}/{made['id']}", timeout=5).status_code == 200
    assert requests.delete(f"{route}/{made['id']}", timeout=5).status_code == 404
    requests.post(route, json={"fault": "no-capacity"}, timeout=5)
    requests.delete(route, timeout=5)
    assert requests.get(route, timeout=5).json() == {"faults": []}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"fault": "meteor"}, "fault must be one of"),
        ({"fault": "s3-error", "share": 2}, "share must be a number, from 0 to 1, not 2"),
        ({"fault": "s3-latency"}, "s3-latency needs milliseconds"),
        ({"fault": "s3-error", "code": "Tired"}, "s3-error needs the status of code 'Tired'"),
        ({"fault": "step-exit", "colour": "red"}, "step-exit has no field colour"),
        ({"fault": "step-exit", "share": 0.5}, "step-exit takes no share"),
        ({"fault": "step-exit", "times": 0}, "times must be a whole number, 1 or more, not 0"),
        ({"fault": "step-exit", "times": "often"}, "times must be a whole number"),
        ({"fault": "step-exit", "after_seconds": "soon"}, "after_seconds must be a number, 0 or more, not 'soon'"),
        ({"fault": "step-exit", "after_seconds": None}, "after_seconds must be a number"),
        ({"fault": "step-exit", "exit_code": 1.5}, "exit_code must be a whole number, from 0 to 255, not 1.5"),
        ({"fault": "step-kill", "signal": "SIGTERM"}, "signal must be a whole number, from 1 to 64, not 'SIGTERM'"),
        ({"fault": "s3-error", "status": "503 Slow Down"}, "status must be a whole number"),
        ({"fault": "s3-error", "code": ["SlowDown"]}, "s3-error needs the status of code ['SlowDown']"),
        ({"fault": "s3-error", "code": 5, "status": 500}, "code must be a text, not 5"),
        ({"fault": "s3-latency", "milliseconds": True}, "milliseconds must be a number"),
        ({"fault": "s3-drop", "after_bytes": -1}, "after_bytes must be a whole number, 0 or more"),
        ([], "a rule is a JSON object"),
    ],
)
def test_rules_that_make_no_sense_are_refused(local_emr: LocalEmr, rule: Any, message: str) -> None:
    answer = requests.post(f"{local_emr.endpoint_url}/_local_emr/faults", json=rule, timeout=5)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert local_emr.faults.list() == []


def test_numbers_may_be_written_as_texts(local_emr: LocalEmr) -> None:
    fields = local_emr.faults.add(fault="step-exit", exit_code="3", after_seconds="2", times="1").description()
    assert (fields["exit_code"], fields["after_seconds"], fields["times"]) == (3, 2.0, 1)


def test_unknown_admin_routes_say_so(local_emr: LocalEmr) -> None:
    for path in ("nonsense", "clusters/j-NONE/bootstrap", "clusters/j-NONE/steps/s-NONE/stderr"):
        assert requests.get(f"{local_emr.endpoint_url}/_local_emr/{path}", timeout=5).status_code == 404


# ---------------------------------------------------------------------- steps


def test_a_step_ends_with_the_exit_code_asked_for(local_emr: LocalEmr, cluster_api: Emr, cluster: str) -> None:
    local_emr.faults.add(fault="step-exit", step="extract*", exit_code=42, after_seconds=0.5, times=1)
    steps = cluster_api.add(
        cluster, step("sleep", "60", name="extract_features"), step("sleep", "1", name="extract_again")
    )
    began = time.monotonic()

    assert cluster_api.ended(cluster, steps) == ["FAILED", "COMPLETED"]
    status = cluster_api.step_status(cluster, steps[0])
    assert status["FailureDetails"]["Message"] == "Command exiting with ret '42'"
    taken = (status["Timeline"]["EndDateTime"] - status["Timeline"]["StartDateTime"]).total_seconds()
    assert 0.5 <= taken < 3
    assert time.monotonic() - began < 10


def test_a_step_is_killed(local_emr: LocalEmr, cluster_api: Emr, cluster: str) -> None:
    (step_id,) = cluster_api.add(cluster, step("sleep", "60"))
    cluster_api.step_until(cluster, step_id, "RUNNING")
    local_emr.faults.add(fault="step-kill", cluster=cluster)  # also while it runs
    status = cluster_api.step_until(cluster, step_id, "FAILED")
    assert status["FailureDetails"]["Message"] == "Command exiting with ret '137'"


def test_a_step_that_can_no_longer_be_watched_ends(
    cluster_api: Emr, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = f"6{os.getpid()}"  # seconds that no other process sleeps for

    def left() -> list[list[str]]:
        found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return [command for command in found if marker in command]

    def fail(_: StepFaults, session: int) -> None:
        wait_for(lambda: len(left()) == 2)
        raise RuntimeError(f"session {session} is lost")

    monkeypatch.setattr(StepFaults, "apply", fail)
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", f"sleep {marker} & sleep {marker}; true"))
    status = cluster_api.step_until(cluster, step_id, "FAILED")
    assert status["FailureDetails"]["Reason"].startswith("local_emr: RuntimeError: session ")
    assert left() == []
    monkeypatch.undo()
    assert cluster_api.ended(cluster, cluster_api.add(cluster, step("true"))) == ["COMPLETED"]


# ---------------------------------------------------------------------- clusters


def test_a_cluster_is_lost_while_a_step_runs(local_emr: LocalEmr, cluster_api: Emr, cluster: str) -> None:
    local_emr.faults.add(fault="cluster-lost", cluster="victim", step="extract", after_seconds=0.5)
    before, lost, after = cluster_api.add(
        cluster, step("true", name="export"), step("sleep", "60", name="extract"), step("true", name="reduce")
    )
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")

    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    assert len(status["ErrorDetails"]) == 1
    assert cluster_api.states(cluster, [before, lost, after]) == ["COMPLETED", "CANCELLED", "CANCELLED"]


def test_a_cluster_is_lost_before_it_is_ready(local_emr: LocalEmr, cluster_api: Emr) -> None:
    local_emr.faults.add(fault="cluster-lost", cluster="spot")
    cluster = cluster_api.create(Name="spot")
    assert cluster_api.until(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    other = cluster_api.create(Name="other")
    cluster_api.until(other, "WAITING")


def test_run_job_flow_is_throttled(local_emr: LocalEmr, cluster_api: Emr) -> None:
    local_emr.faults.add(fault="throttle", operation="RunJobFlow", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as raised:
            cluster_api.create()
        assert error(raised) == ("ThrottlingException", "Rate exceeded")
        assert cluster_api.client.list_clusters()["Clusters"] == []
    cluster_api.create()

    local_emr.faults.add(fault="throttle", operation="RunJobFlow", times=2)
    patient = client(local_emr, "emr", retries={"max_attempts": 4, "mode": "standard"})
    Emr(patient).create()
    assert [rule["hits"] for rule in local_emr.faults.list()] == [2, 2]


def test_any_operation_can_be_throttled(local_emr: LocalEmr, cluster_api: Emr, cluster: str) -> None:
    local_emr.faults.add(fault="throttle", operation="Describe*", times=1)
    with pytest.raises(ClientError) as raised:
        cluster_api.state(cluster)
    assert error(raised)[0] == "ThrottlingException"


def test_an_answer_is_lost_and_the_cluster_is_there(local_emr: LocalEmr, cluster_api: Emr) -> None:
    local_emr.faults.add(fault="lost-answer", operation="RunJobFlow", times=1)
    once = Emr(client(local_emr, "emr", retries={"total_max_attempts": 1}))
    with pytest.raises(ConnectionClosedError):
        once.create(Name="unheard")
    assert [found["Name"] for found in cluster_api.client.list_clusters()["Clusters"]] == ["unheard"]


def test_there_is_no_capacity(local_emr: LocalEmr, cluster_api: Emr) -> None:
    local_emr.faults.add(fault="no-capacity", times=1)
    cluster = cluster_api.create(Steps=[step("true")])
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")

    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"]["Code"] == "INTERNAL_ERROR"
    assert "out of capacity" in status["StateChangeReason"]["Message"]
    (details,) = status["ErrorDetails"]
    assert details["ErrorCode"] == "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ"
    cluster_api.until(cluster_api.create(), "WAITING")
