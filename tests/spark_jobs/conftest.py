"""One Spark session for every test of the jobs, and the real data where the environment names it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession

from spark_jobs import schemas
from spark_jobs.reading import Source, file_etag
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
    subprocess.run([sys.executable, *command, "--pointer", str(pointer)], cwd=REPOSITORY, check=True)
    return pointer


def random_weights(folder: Path) -> Path:
    """Save seeded random weights in a process of their own: TensorFlow stays out of the tests' one."""
    file = folder / "random.weights.h5"
    code = (
        "import sys, keras; keras.utils.set_random_seed(0);"
        "keras.applications.MobileNetV2(weights=None, include_top=False, pooling='avg').save_weights(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    return file


class Manifests(Protocol):
    """Writes a manifest as the DAG does: a folder with one Parquet file."""

    def __call__(self, folder: Path, sources: Iterable[Source]) -> str:
        """Return the manifest's URI."""


@pytest.fixture(scope="session")
def write_manifest() -> Manifests:
    def write(folder: Path, sources: Iterable[Source]) -> str:
        listed = datetime(2026, 1, 1, tzinfo=UTC)
        rows = [{**asdict(source), "last_modified": listed} for source in sources]
        folder.mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(rows, schemas.MANIFEST), folder / "part-0.parquet")
        return f"file://{folder}"

    return write


@pytest.fixture(scope="session")
def list_file() -> Callable[[Path], Source]:
    """Lists a file as a manifest row."""

    def listed(path: Path) -> Source:
        status = path.stat()
        etag = file_etag(status.st_mtime_ns, status.st_size)
        return Source(f"file://{path}", path.parent.name, etag, status.st_size)

    return listed
