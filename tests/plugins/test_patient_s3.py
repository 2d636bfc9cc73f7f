"""The DAG's S3 clients against an S3 that fails for a while, over its real protocol."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from fruit_features import datasets
from fruit_features.layout import Location
from local_emr import LocalEmr
from patient_s3 import PatientS3Hook, PatientS3KeySensor

WHERE = Location("orchard", "results/latest.json")
BEYOND_DEFAULTS = 8  # failures in a row; botocore's default is 5 attempts, which Arrow's is not either


@pytest.fixture
def hook(aws: LocalEmr) -> PatientS3Hook:
    assert aws
    hook = PatientS3Hook(region_name="eu-west-3")
    hook.get_conn().put_object(Bucket=WHERE.bucket, Key=WHERE.key, Body=b"{}")
    return hook


REQUESTS: dict[str, Callable[[PatientS3Hook], Any]] = {
    "GET": lambda hook: hook.get_conn().get_object(Bucket=WHERE.bucket, Key=WHERE.key),
    "PUT": lambda hook: hook.get_conn().put_object(Bucket=WHERE.bucket, Key=WHERE.key, Body=b"{}"),
    "HEAD": lambda hook: hook.check_for_key(WHERE.key, WHERE.bucket),
    "LIST": lambda hook: hook.get_conn().list_objects_v2(Bucket=WHERE.bucket),
    "resource": lambda hook: hook.get_key(WHERE.key, WHERE.bucket),
}


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("fault", [{"fault": "s3-error"}, {"fault": "s3-drop"}], ids=["503", "dropped"])
@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
def test_a_request_outlasts_failures(
    aws: LocalEmr, hook: PatientS3Hook, request_of: Callable[[PatientS3Hook], Any], fault: dict[str, Any]
) -> None:
    rule = aws.faults.add(**fault, times=BEYOND_DEFAULTS)

    assert request_of(hook)
    assert rule.hits == BEYOND_DEFAULTS


@pytest.mark.usefixtures("short_pauses")
def test_the_sensor_outlasts_them_too(aws: LocalEmr, hook: PatientS3Hook, context: dict[str, Any]) -> None:
    assert hook
    sensor = PatientS3KeySensor(
        task_id="wait", bucket_key=f"s3://{WHERE.path}", region_name="eu-west-3", deferrable=False
    )
    aws.faults.add(fault="s3-error", times=BEYOND_DEFAULTS)

    assert sensor.poke(context)


def test_arrow_outlasts_failures(aws: LocalEmr, hook: PatientS3Hook) -> None:
    """Three in a row are more than its default allows; it waits a second, two and four at most."""
    files, where = datasets.filesystem(hook), Location("orchard", "runs/1/inventory.parquet")
    table = pa.table({"path": ["a"]})
    for method in ("PUT", "HEAD", "GET"):
        aws.faults.add(fault="s3-error", method=method, key=where.key, times=3)
    datasets.write(files, where, table)

    assert pa.Table.from_batches(datasets.stream(files, where, ["path"])) == table
    assert {rule["hits"] for rule in aws.faults.list()} == {3}


def test_what_the_connection_says_of_retries_wins(aws: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": 7}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    config = PatientS3Hook(region_name="eu-west-3").config

    assert aws
    assert (config.retries, config.read_timeout) == ({"total_max_attempts": 1}, 7)


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "InvalidAccessKeyId"])
def test_a_head_that_is_refused_says_why(aws: LocalEmr, hook: PatientS3Hook, code: str) -> None:
    aws.faults.add(fault="s3-error", code=code)

    with pytest.raises(ClientError, match=rf"\({code}\) when calling the GetObject operation: \w+"):
        hook.check_for_key(WHERE.key, WHERE.bucket)


def test_an_object_that_is_not_there_is_no_error(hook: PatientS3Hook) -> None:
    assert not hook.check_for_key("results/none", WHERE.bucket)
