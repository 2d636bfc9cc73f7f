"""What both sides' tests share: where the real data is, and an Airflow home of their own."""

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("airflow"):  # read when airflow is first imported, so before any test module is
    os.environ |= {
        "AIRFLOW_HOME": tempfile.mkdtemp(prefix="fruits-airflow-"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
    }


def _from_environment(name: str, what: str) -> Path:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: it names {what}")
    path = Path(value)
    if not path.exists():
        pytest.fail(f"{name}={value} does not exist")
    return path


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder of real variety folders."""
    folder = _from_environment("FRUITS_TEST_IMAGES", "a folder of real images, one folder per variety")
    return folder / "Test" if (folder / "Test").is_dir() else folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """ImageNet weights of Keras MobileNetV2 without top."""
    return _from_environment("FRUITS_TEST_WEIGHTS", "an HDF5 file with ImageNet weights of MobileNetV2 without top")
