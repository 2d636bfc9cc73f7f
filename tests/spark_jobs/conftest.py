"""One Spark session for every test of the jobs, and the real data where the environment names it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sample_data import random_weights
from spark_jobs.session import spark_context
from tests.conftest import PROJECT


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
    folder = tmp_path_factory.mktemp("models")
    weights = os.environ.get("FRUITS_TEST_WEIGHTS") or random_weights(folder)
    pointer = folder / "pointer.json"
    command = ["-m", "spark_jobs.export_model", "--weights", str(weights), "--models", str(folder)]
    subprocess.run([sys.executable, *command, "--pointer", str(pointer)], cwd=PROJECT, check=True)
    return pointer
