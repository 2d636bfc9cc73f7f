"""S3's faults on demand, each seen at the API."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
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


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"code": "ExpiredToken"}, 400),
        ({"code": "InvalidAccessKeyId"}, 403),
        ({"code": "AccessDenied"}, 403),
        ({"code": "SlowDown"}, 503),
        ({"code": "Tired", "status": 418}, 418),
    ],
)
def test_s3_answers_with_the_code_asked_for(local_emr: LocalEmr, s3: Any, rule: dict[str, Any], status: int) -> None:
    local_emr.faults.add(fault="s3-error", times=2, **rule)
    with pytest.raises(ClientError) as raised:
        s3.list_objects_v2(Bucket="data")
    assert error(raised)[0] == rule["code"]
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    with pytest.raises(ClientError) as raised:
        s3.head_bucket(Bucket="data")
    assert error(raised)[0] == str(status), "S3's answer to HEAD has no body"


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
    rule = local_emr.faults.add(fault="s3-latency", milliseconds=200, key="k")
    began = time.monotonic()
    s3.get_object(Bucket="data", Key="k")
    assert time.monotonic() - began >= 0.2
    s3.list_objects_v2(Bucket="data")
    assert rule.hits == 1, "nothing but the object waits"


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
