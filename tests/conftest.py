"""Shared by the tests of both sides: where the real data is, and an Airflow home for the session."""

import atexit
import fcntl
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
OPT_IN = {"faults": "FRUITS_TEST_FAULTS", "live": "FRUITS_TEST_LIVE", "long": "FRUITS_TEST_LONG"}  # by their marker


def _airflow_home() -> str:
    """Make a home for Airflow that is removed when this process ends, not when one ends that it has forked."""
    home, owner = tempfile.mkdtemp(prefix="fruits-airflow-"), os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(home, ignore_errors=True))
    return home


if importlib.util.find_spec(
    "airflow"
):  # Airflow reads these when it is first imported: set them before any test module is
    os.environ |= {
        "AIRFLOW_HOME": _airflow_home(),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        # local_emr runs its Spark steps in the other environment
        "LOCAL_EMR_SPARK_PYTHON": str(PROJECT / ".venv/spark/bin/python"),
        "LOCAL_EMR_JARS": str(PROJECT / ".venv/jars"),
        "LOCAL_EMR_JAVA_HOME": str(PROJECT / ".venv/java"),
        "LOCAL_EMR_YARN_JARS": str(PROJECT / ".venv/yarn-jars"),
        "LOCAL_EMR_CLASS_ARCHIVE": str(PROJECT / ".venv/spark-classes.jsa"),
    }

    pytest_plugins = ["tests.cluster_lives"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with slow tests: with several processes, what starts last decides when all have ended.

    Those that take long run only where a variable asks for them.
    """
    for marker, variable in OPT_IN.items():
        if not os.environ.get(variable):
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    items.sort(key=lambda item: not any(item.get_closest_marker(marker) for marker in ("slow", *OPT_IN)))


@contextmanager
def once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Hold a folder that all processes of this session share, one process at a time: the first one fills it for the others."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / name
    folder.mkdir(exist_ok=True)
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


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
    """Folder of real images, one folder per variety."""
    folder = _from_environment("FRUITS_TEST_IMAGES", "a folder of real images, one folder per variety")
    return folder / "Test" if (folder / "Test").is_dir() else folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """ImageNet weights of Keras MobileNetV2 without top."""
    return _from_environment("FRUITS_TEST_WEIGHTS", "an HDF5 file with ImageNet weights of MobileNetV2 without top")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet weights where the environment names them, else random ones calibrated on drawn fruit."""
    if named := os.environ.get("FRUITS_TEST_WEIGHTS"):
        return Path(named)
    from demo.images import write_images

    folder = tmp_path_factory.mktemp("weights")
    write_images(folder / "images", 12)
    script = PROJECT / "demo" / "weights.py"
    subprocess.run([PROJECT / ".venv/spark/bin/python", script, "--random", folder, folder / "images"], check=True)
    return folder / "random.weights.h5"
