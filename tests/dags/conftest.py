"""A run, and a bucket on the local AWS endpoint."""

from collections.abc import Callable, Iterator

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features.run import Run
from local_emr import LocalEmr

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
RUN = "manual__2026-11-22T10-00-00-00-00"


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Build a run: the params' defaults, but for those named."""
    return lambda **params: Run.from_params({"bucket": "fruits", **params}, RUN_ID)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalEmr]:
    with LocalEmr(port=0) as aws:
        yield aws


@pytest.fixture
def hook(endpoint: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Hook]:
    """An S3Hook, with the bucket ``fruits`` that is empty before and gone after the test."""
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)
    endpoint.reset()  # buckets are shared by all endpoints of a process, and another test may have left its own
    bucket = boto3.resource("s3").Bucket("fruits")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield S3Hook(region_name="eu-west-3")
    bucket.objects.all().delete()
    bucket.delete()
