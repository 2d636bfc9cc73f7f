"""A run's configuration, and a bucket on the local AWS endpoint."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from fruit_features.config import PARAMS, RunConfig

from local_aws import LocalAws

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
RUN = "manual__2026-11-22T10-00-00-00-00"


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    """A run's configuration: the params' defaults, but for those named."""

    def build(**params: Any) -> RunConfig:
        defaults = {name: param.value for name, param in PARAMS.items() if name != "bucket"}
        return RunConfig.from_params({"bucket": "fruits", **defaults, **params}, RUN_ID)

    return build


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalAws]:
    with LocalAws(port=0) as aws:
        yield aws


@pytest.fixture
def hook(endpoint: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Hook]:
    """An S3Hook, with the bucket ``fruits`` that is empty before and gone after the test."""
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket("fruits")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield S3Hook(region_name="eu-west-3")
    bucket.objects.all().delete()
    bucket.delete()
