"""What hooks share: descriptions of AWS, and nothing that a connection decides."""

from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from emr_hook import IdempotentEmrHook
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
