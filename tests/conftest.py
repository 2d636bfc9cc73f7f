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
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
OPT_IN = {"faults": "FRUITS_TEST_FAULTS", "live": "FRUITS_TEST_LIVE", "long": "FRUITS_TEST_LONG"}  # by their marker
LEFT_OUT = pytest.StashKey[dict[str, int]]()  # how many tests of each marker


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with slow tests: with several processes, what starts last decides when all have ended.

    Those that take long run only where a variable asks for them.
    """
    left_out: dict[str, int] = {}
    for marker, variable in OPT_IN.items():
        if not os.environ.get(variable):
            chosen = [item for item in items if not item.get_closest_marker(marker)]
            left_out[marker] = len(items) - len(chosen)
            items[:] = chosen
    config.stash[LEFT_OUT] = left_out
    if hasattr(config, "workeroutput"):  # one of several processes, whose own summary nobody sees
        config.workeroutput["left_out"] = left_out
    items.sort(key=lambda item: not any(item.get_closest_marker(marker) for marker in ("slow", *OPT_IN)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from one of several processes what it has left out, which is the same in each."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out: without it a suite that has run in part would look whole."""
    for marker, count in config.stash.get(LEFT_OUT, {}).items():
        if count:
            terminalreporter.write_line(f"left out: {count} tests marked {marker} ({OPT_IN[marker]}=1 runs them)")


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
