"""Faults on demand, each seen at the API."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError, HTTPClientError
from emr_client import Emr, client, error, step, wait_for

from local_emr import LocalEmr

# moto checks no signature, but wants to see one before it shows a private object.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-3/s3/aws4_request, Signature=0"}


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
        ({"fault": "s3-error", "share": 2}, "share must be from 0 to 1"),
        ({"fault": "s3-latency"}, "s3-latency needs milliseconds"),
        ({"fault": "step-exit", "colour": "red"}, "step-exit has no field colour"),
        ({"fault": "step-exit", "share": 0.5}, "step-exit takes no share"),
        ({"fault": "step-exit", "times": 0}, "times must be 1 or more"),
        ([], "a rule is a JSON object"),
    ],
)
def test_rules_that_make_no_sense_are_refused(local_emr: LocalEmr, rule: Any, message: str) -> None:
    answer = requests.post(f"{local_emr.endpoint_url}/_local_emr/faults", json=rule, timeout=5)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


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


# ---------------------------------------------------------------------- S3


def test_s3_says_slow_down_to_a_share_of_the_requests(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="k", Body=b"x")
    local_emr.faults.add(fault="s3-error", status=503, method="GET", share=0.3, seed=1)

    def attempt() -> str:
        try:
            s3.get_object(Bucket="data", Key="k")
        except ClientError as failed:
            return f"{failed.response['ResponseMetadata']['HTTPStatusCode']} {failed.response['Error']['Code']}"
        return "ok"

    codes = [attempt() for _ in range(100)]
    assert set(codes) == {"ok", "503 SlowDown"}
    assert 20 <= codes.count("503 SlowDown") <= 40
    s3.put_object(Bucket="data", Key="k", Body=b"y")

    patient = client(local_emr, "s3", retries={"max_attempts": 10, "mode": "standard"})
    assert patient.get_object(Bucket="data", Key="k")["Body"].read() == b"y"


def test_s3_answers_500(local_emr: LocalEmr, s3: Any) -> None:
    local_emr.faults.add(fault="s3-error", status=500, bucket="data", times=1)
    with pytest.raises(ClientError) as raised:
        s3.list_objects_v2(Bucket="data")
    assert error(raised)[0] == "InternalError"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert s3.list_objects_v2(Bucket="data")["KeyCount"] == 0


def test_s3_drops_the_connection(local_emr: LocalEmr, s3: Any) -> None:
    local_emr.faults.add(fault="s3-drop", method="HEAD", times=1)
    with pytest.raises(HTTPClientError):
        s3.head_bucket(Bucket="data")
    s3.head_bucket(Bucket="data")


def test_s3_drops_the_connection_in_the_middle_of_an_object(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="k", Body=b"x" * 100_000)
    local_emr.faults.add(fault="s3-drop", method="GET", after_bytes=50_000, times=1)
    connection = http.client.HTTPConnection("127.0.0.1", local_emr.port)
    connection.request("GET", "/data/k", headers=SIGNED)
    with pytest.raises(http.client.IncompleteRead) as raised:
        connection.getresponse().read()
    assert 49_000 < len(raised.value.partial) < 50_000
    assert len(s3.get_object(Bucket="data", Key="k")["Body"].read()) == 100_000


def test_s3_is_slow(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="k", Body=b"x")
    local_emr.faults.add(fault="s3-latency", milliseconds=200, key="k")
    began = time.monotonic()
    s3.get_object(Bucket="data", Key="k")
    slow = time.monotonic() - began
    began = time.monotonic()
    s3.list_objects_v2(Bucket="data")
    assert slow >= 0.2 > time.monotonic() - began


def test_requests_that_wait_go_on_once_their_rule_is_lifted(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="k", Body=b"x")
    local_emr.faults.add(fault="s3-latency", milliseconds=3_600_000, key="k")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(s3.get_object, Bucket="data", Key="k")
        wait_for(lambda: local_emr.faults.list()[0]["hits"])
        assert not answer.done()
        local_emr.faults.clear()
        assert answer.result(20)["ContentLength"] == 1


def test_latency_of_one_request_does_not_hold_up_the_others(local_emr: LocalEmr, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="k", Body=b"x")
    local_emr.faults.add(fault="s3-latency", milliseconds=300, method="GET")
    connections = [http.client.HTTPConnection("127.0.0.1", local_emr.port) for _ in range(20)]
    began = time.monotonic()
    for connection in connections:
        connection.request("GET", "/data/k", headers=SIGNED)
    assert {connection.getresponse().read() for connection in connections} == {b"x"}
    assert time.monotonic() - began < 1.5


def test_the_logs_of_steps_are_saved_whatever_s3_says(
    local_emr: LocalEmr, cluster_api: Emr, s3: Any, cluster: str
) -> None:
    local_emr.faults.add(fault="s3-error")
    steps = cluster_api.add(cluster, step("true"))
    assert cluster_api.ended(cluster, steps) == ["COMPLETED"]
    local_emr.faults.clear()
    keys = wait_for(lambda: s3.list_objects_v2(Bucket="data", Prefix="logs/").get("Contents"))
    assert len(keys) == 3
