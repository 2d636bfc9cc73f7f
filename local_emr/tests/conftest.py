"""Fixtures: the endpoint, and clients of it."""

import atexit
import importlib.util
import os
import shutil
import tempfile
from typing import Any

import pytest
from emr_client import REGION, Emr, client

from local_emr import LocalEmr, Spark
from local_emr.emr.settings import SparkNotFoundError
from local_emr.pytest_plugin import local_emr, local_emr_server

__all__ = ["local_emr", "local_emr_server"]

HAS_AIRFLOW = importlib.util.find_spec("airflow") is not None
collect_ignore = [] if HAS_AIRFLOW else ["test_provider.py"]
if HAS_AIRFLOW:  # read when airflow is first imported, so before any test module is
    airflow_home = tempfile.mkdtemp(prefix="local_emr-airflow-")
    atexit.register(shutil.rmtree, airflow_home, ignore_errors=True)
    os.environ |= {
        "AIRFLOW_HOME": airflow_home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
    }


@pytest.fixture
def emr(local_emr: LocalEmr) -> Any:
    return client(local_emr, "emr")


@pytest.fixture
def s3(local_emr: LocalEmr) -> Any:
    """A client of S3, with the bucket `data`."""
    made = client(local_emr, "s3")
    made.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
    return made


@pytest.fixture
def cluster_api(emr: Any, s3: Any) -> Emr:
    return Emr(emr)


@pytest.fixture
def spark() -> Spark:
    """The Spark that steps run on; skips the test where there is none."""
    found = Spark()
    try:
        assert found.home
    except SparkNotFoundError as error:
        pytest.skip(str(error))
    if found.jars is None:
        pytest.skip("no jars for s3://: name their folder with LOCAL_EMR_JARS")
    return found
