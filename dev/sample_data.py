"""Manifests and weights made up for tests and benchmarks, in the Spark environment."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs import schemas
from spark_jobs.extraction.reading import ManifestRow, file_etag

_SAVE_RANDOM_WEIGHTS = """
import sys, keras
keras.utils.set_random_seed(0)
keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg").save_weights(sys.argv[1])
"""


def list_file(path: Path) -> ManifestRow:
    """Return the manifest row of a file, as the DAG's inventory has it of an object."""
    status = path.stat()
    etag = file_etag(status.st_mtime_ns, status.st_size)
    return ManifestRow(f"file://{path}", path.parent.name, etag, status.st_size)


def write_manifest(folder: Path, rows: Iterable[ManifestRow]) -> Path:
    """Write a manifest (or inventory) of one Parquet file, and return its folder."""
    listed = datetime(2026, 1, 1, tzinfo=UTC)
    table = pa.Table.from_pylist([{**asdict(row), "last_modified": listed} for row in rows], schemas.MANIFEST)
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part-0.parquet")
    return folder


def random_weights(folder: Path) -> Path:
    """Save seeded random weights of MobileNetV2; in another process, since TensorFlow takes 600 MB and 8 s of this one."""
    file = folder / "random.weights.h5"
    subprocess.run([sys.executable, "-c", _SAVE_RANDOM_WEIGHTS, str(file)], check=True, capture_output=True)
    return file
