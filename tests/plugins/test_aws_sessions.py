"""What hooks share: descriptions of AWS, and nothing that a connection decides."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from emr_hook import IdempotentEmrHook
from emr_triggers import PatientEmrHook
from fruit_features.preflight import ServiceHook
from patient_s3 import PatientS3Hook


def test_a_description_is_read_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load_file = JSONFileLoader.load_file
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda self, path: (read.append(path), load_file(self, path))[1])
    PatientS3Hook(aws_conn_id=None, region_name="eu-west-3").get_conn()
    IdempotentEmrHook(aws_conn_id=None, region_name="eu-west-3").get_conn()
    read.clear()

    for hook in (PatientS3Hook, IdempotentEmrHook):
        hook(aws_conn_id=None, region_name="eu-west-1").get_conn()

    assert read == []


def test_credentials_and_regions_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(key: str, region: str) -> Any:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "-")
        return PatientS3Hook(aws_conn_id=None, region_name=region).get_conn()

    first, second = client("first", "eu-west-3"), client("second", "us-east-1")

    assert [it._request_signer._credentials.access_key for it in (first, second)] == ["first", "second"]
    assert [it.meta.region_name for it in (first, second)] == ["eu-west-3", "us-east-1"]


CLIENTS: dict[str, Callable[[], Any]] = {
    "S3": lambda: PatientS3Hook(region_name="eu-west-3").conn,
    "EMR": lambda: IdempotentEmrHook(region_name="eu-west-3").conn,
    "what is sent once": lambda: IdempotentEmrHook(region_name="eu-west-3")._sending_once,
    "of a killed task": lambda: IdempotentEmrHook(region_name="eu-west-3").hurried.conn,
    "cancelling": lambda: PatientEmrHook(region_name="eu-west-3").conn,
    "preflight": lambda: ServiceHook(client_type="iam", region_name="eu-west-3").conn,
}


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_what_the_connection_says_of_the_network_holds_for_every_client(
    monkeypatch: pytest.MonkeyPatch, client: Callable[[], Any]
) -> None:
    extra = {"config_kwargs": {"proxies": {"https": "http://proxy:3128"}, "use_fips_endpoint": True}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    config = client().meta.config

    assert config.proxies == {"https": "http://proxy:3128"}
    assert config.use_fips_endpoint


def test_what_is_sent_once_is_sent_once_whatever_the_connection_says(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 7}}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    emr = IdempotentEmrHook(region_name="eu-west-3")

    assert emr.conn.meta.config.retries["total_max_attempts"] == 7
    assert emr._sending_once.meta.config.retries["total_max_attempts"] == 1
