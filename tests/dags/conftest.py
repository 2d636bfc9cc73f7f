"""A run, and a bucket on the local AWS endpoint."""

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from demo.images import write_images
from fruit_features.run import Run
from local_emr import LocalEmr
from patient_s3 import PatientS3Hook
from tests.dags.pipeline import Pipeline

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


@pytest.fixture(scope="module")
def drawn_pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Pipeline]:
    """The pipeline on drawn images, enough for several chunks, and random weights."""
    photographs = tmp_path_factory.mktemp("photographs")
    write_images(photographs, 30)
    with LocalEmr(port=0) as aws:
        folder = tmp_path_factory.mktemp("airflow")
        yield Pipeline(aws, folder / "calls", folder, photographs, weights, real=False)


@pytest.fixture
def hook(endpoint: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> Iterator[PatientS3Hook]:
    """The DAG's hook, with the bucket ``fruits`` that is empty before and gone after the test."""
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)
    endpoint.reset()  # buckets are shared by all endpoints of a process, and another test may have left its own
    bucket = boto3.resource("s3").Bucket("fruits")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield PatientS3Hook(region_name="eu-west-3")
    bucket.objects.all().delete()
    bucket.delete()
