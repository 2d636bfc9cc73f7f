"""One Spark session for every test of the jobs, and the real data where the environment names it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sample_data import random_weights
from spark_jobs import s3_clients
from spark_jobs.session import spark_context
from tests.conftest import PROJECT, once

AIRFLOW_PYTHON = PROJECT / ".venv/airflow/bin/python"


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    os.environ["PYTHONPATH"] = str(PROJECT)  # workers import spark_jobs from here
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.master": "local[2]",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
    }
    spark_context("tests", settings)
    session = SparkSession.builder.getOrCreate()  # for what tests read and compare with
    yield session
    session.stop()


@pytest.fixture(scope="session")
def reference_features() -> Path:
    """Features of 316 images, computed by Keras: `names` and `features` (316, 1280)."""
    beside = Path(os.environ.get("FRUITS_TEST_WEIGHTS", "")).parent.parent / "reference_features.npz"
    file = os.environ.get("FRUITS_TEST_REFERENCE") or (str(beside) if beside.is_file() else None)
    if not file:
        pytest.skip("FRUITS_TEST_REFERENCE is not set, and no reference_features.npz lies above the weights' folder")
    return Path(file)


@pytest.fixture(scope="session")
def model_pointer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pointer of a model exported for this session: of the real weights, or of random ones where there are none."""
    with once(tmp_path_factory, "models") as folder:
        if not (pointer := folder / "pointer.json").exists():
            weights = os.environ.get("FRUITS_TEST_WEIGHTS") or random_weights(folder)
            command = ["-m", "spark_jobs.export_model", "--weights", str(weights), "--models", str(folder)]
            subprocess.run([sys.executable, *command, "--pointer", str(pointer)], cwd=PROJECT, check=True)
    return pointer


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of a local_emr, which runs in its own environment: S3 over its real protocol, which fails on demand."""
    if not AIRFLOW_PYTHON.exists():
        pytest.skip("local_emr runs in the Airflow environment: make setup")
    command = [AIRFLOW_PYTHON, "-m", "local_emr", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """botocore's client, of a bucket `fruits`; it makes two attempts."""
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "eu-west-3"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_clients, "ATTEMPTS", 2)
    monkeypatch.setitem(s3_clients._RETRIES, "max_retries", 1)
    s3_clients.forget()
    client = s3_clients.client()
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield client
    s3_clients.forget()
