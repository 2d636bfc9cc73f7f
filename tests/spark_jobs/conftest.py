"""One Spark session for every test of the jobs, and the real data where the environment names it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.sessions import spark_session

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # workers import spark_jobs from here, whatever their folder is
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
    }
    session = spark_session("tests", settings)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def fruit_images() -> Path:
    """The folder of variety folders with real images."""
    return _from_environment("FRUITS_TEST_IMAGES", "real fruit images")


@pytest.fixture(scope="session")
def weights() -> Path:
    """The ImageNet weights of MobileNetV2, as Keras reads them."""
    return _from_environment("FRUITS_TEST_WEIGHTS", "ImageNet weights")


@pytest.fixture(scope="session")
def reference_features() -> Path:
    """Features of 316 images, computed by Keras."""
    return _from_environment("FRUITS_TEST_REFERENCE", "reference features")


def _from_environment(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: no {what} here")
    return Path(value)
