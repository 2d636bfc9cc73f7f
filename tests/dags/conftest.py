"""A run, and a bucket on the local AWS endpoint."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.dag_processing.dagbag import DagBag

from demo.images import write_images
from demo.local_airflow import LocalAirflow
from fruit_features.run import Run
from local_emr import LocalEmr
from patient_s3 import PatientS3Hook
from tests.conftest import PROJECT, once
from tests.dags.pipeline import Pipeline
from tests.dags.published import published_pipeline, put_new_images

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
RUN = "manual__2026-11-22T10-00-00-00-00"


def task(name: str) -> Any:
    """The function behind a task of the DAG."""
    return DagBag(PROJECT / "dags").dags["fruit_features"].get_task(name).python_callable


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Build a run: the params' defaults, but for those named."""
    return lambda **params: Run.from_params({"bucket": "fruits", **params}, RUN_ID)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalEmr]:
    with LocalEmr(port=0) as aws:
        yield aws


@pytest.fixture(scope="session", autouse=True)
def _database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every home's empty database is a copy of one that Airflow has made: 12 s of processor time each."""
    real = LocalAirflow.migrate

    def migrate(self: LocalAirflow) -> None:
        database = self.home / "airflow.db"
        if not database.exists():
            with once(tmp_path_factory, "airflow-database") as home:
                real(LocalAirflow(home, {}))
            shutil.copytree(home, self.home, ignore=shutil.ignore_patterns("airflow.cfg", "logs"), dirs_exist_ok=True)
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalAirflow, "migrate", migrate)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """The network as a run exports it, for tests of what comes after: exported once for all processes of this session."""
    job = [PROJECT / ".venv/spark/bin/python", "-m", "spark_jobs.export_model", "--weights", weights.as_uri()]
    with once(tmp_path_factory, "models") as folder:
        if not (pointer := folder / "model.json").exists():
            subprocess.run([*job, "--models", folder.as_uri(), "--pointer", pointer.as_uri()], cwd=PROJECT, check=True)
    return folder


@pytest.fixture(scope="module")
def drawn_pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path, models: Path) -> Iterator[Pipeline]:
    """The pipeline on drawn images, enough for several chunks, and random weights."""
    photographs = tmp_path_factory.mktemp("photographs")
    write_images(photographs, 30)
    with LocalEmr(port=0) as aws:
        folder = tmp_path_factory.mktemp("airflow")
        yield Pipeline(aws, folder / "calls", folder, photographs, weights, real=False, models=models)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path, models: Path) -> Iterator[Pipeline]:
    """The pipeline in a bucket that has published results; modules that need another have their own."""
    with published_pipeline(tmp_path_factory, weights, models) as made:
        yield made


@pytest.fixture
def new(pipeline: Pipeline) -> Iterator[list[str]]:
    """New images, by their names below images/; no fault outlives the test."""
    yield put_new_images(pipeline)
    pipeline.aws.faults.clear()


@pytest.fixture
def before(pipeline: Pipeline, new: list[str]) -> dict[str, Any]:
    """What is published before a test, in which there are new images."""
    assert new
    return pipeline.latest()


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
