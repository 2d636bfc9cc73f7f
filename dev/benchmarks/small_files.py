"""What a reduction waits for where features are in many small files: python -m benchmarks.small_files [FILES [ROWS OF EACH]]

Every request takes 40 ms more.

One process does what the driver and one task do, one after the other; prints seconds, processor seconds and requests.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bucket import BUCKET, REGION
from spark_jobs import uris
from spark_jobs.datasets import check_dataset, feature_files
from spark_jobs.extraction.feature_file import encode
from spark_jobs.reduction.distributed import Scan, vectors
from spark_jobs.reduction.feature_rows import Features, read
from spark_jobs.reduction.keys import Keys, sources
from spark_jobs.reduction.pca import fit
from spark_jobs.schemas import FEATURE_COUNT, FEATURES, INVENTORY

T = TypeVar("T")
NETWORK = "mobilenetv2-bench"


def write(folder: Path, files: int, rows: int) -> None:
    """Write what so many runs of so many images each have left."""
    generator = np.random.default_rng(0)
    offsets = np.arange(0, (rows + 1) * FEATURE_COUNT, FEATURE_COUNT, dtype=np.int32)
    for number in range(files):
        values = generator.gamma(0.5, size=rows * FEATURE_COUNT).astype(np.float32)
        images = pa.table(
            {
                "path": [f"s3://{BUCKET}/images/Apple Pink Lady/{number}_{row}_100.jpg" for row in range(rows)],
                "label": ["Apple Pink Lady"] * rows,
                "etag": [f"{number:016x}{row:016x}" for row in range(rows)],
                "size": [5000] * rows,
                "model_id": [NETWORK] * rows,
                "width": pa.array([100] * rows, pa.int32()),
                "height": pa.array([100] * rows, pa.int32()),
                "features": pa.ListArray.from_arrays(offsets, values, type=FEATURES.field("features").type),
            },
            FEATURES,
        )
        file = folder / f"features/run={number:05}/part-00000.parquet"
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(images, [], NETWORK))
    found = pq.read_table(folder / "features", columns=["path", "label", "etag", "size"], partitioning=None)
    (folder / "inventory").mkdir()
    listed = found.append_column("last_modified", pa.nulls(len(found), INVENTORY.field("last_modified").type))
    pq.write_table(listed.cast(INVENTORY), folder / "inventory/part-0.parquet")


class Timed:
    """Seconds, processor seconds and requests of each part."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        """Do some work."""
        before, wall, processor = requests(), time.monotonic(), time.process_time()
        done = work()
        self.found[name] = {
            "seconds": round(time.monotonic() - wall, 2),
            "processor_seconds": round(time.process_time() - processor, 2),
            "requests": requests() - before,
        }
        return done


def requests() -> int:
    """Return how many requests the bucket has answered."""
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/_requests") as answer:
        return int(answer.read())


def reduce(uri: str) -> dict[str, dict[str, float]]:
    """Read the features as `reduce_dimensions` does, in one task."""
    timed = Timed()
    timed("listing", lambda: uris.list_files(f"{uri}/features"))
    files = timed("listing and footers", lambda: feature_files(f"{uri}/features"))
    listed = check_dataset(f"{uri}/inventory", INVENTORY, "inventory")
    keys = timed("keys", lambda: Keys.read(sources(listed, files, [])))
    features = Features(files)
    assert len(keys.features) == features.rows
    [task] = features.tasks(1, 1, features.rows)
    moments = timed("first pass", lambda: Scan.of(read(task), FEATURE_COUNT, 0.1)).moments
    pca = fit(moments, 0.8).pca
    timed("second pass", lambda: vectors(read(task), pca))
    timed.found["process"] = {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    return timed.found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=int, nargs="?", default=1000)
    parser.add_argument("rows", type=int, nargs="?", default=20)
    parser.add_argument("--latency", type=int, default=40, metavar="MS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.files, arguments.rows)
        command = [sys.executable, "-m", "benchmarks.bucket", folder, "0", str(arguments.latency)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            os.environ |= {
                "AWS_ENDPOINT_URL": process.stdout.readline().strip(),
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "AWS_DEFAULT_REGION": REGION,
            }
            try:
                print(json.dumps(reduce(f"s3://{BUCKET}"), indent=1))
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
