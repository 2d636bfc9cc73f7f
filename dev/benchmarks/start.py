"""How soon a Python worker works."""

import statistics
import subprocess
import sys
import time

from benchmarks import jobs
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, indication
from benchmarks.measuring import Figures

BOUNDS: Bounds = {
    "worker_start_s": indication("≤", 1.0, "from the worker's start to its first image's features"),
}

FIRST_IMAGE = """
import sys, pyspark.worker
from pathlib import Path
from spark_jobs.extraction import images, worker
from spark_jobs.models import read_artifact
network = worker.worker_interpreter(read_artifact(sys.argv[1]))
network.features(images.decode(Path(sys.argv[2]).read_bytes(), 224).pixels)
"""


def worker_start(bench: Bench) -> Figures:
    """Import what a worker imports from where it does: the ZIP that a step is submitted with, which has nothing compiled."""
    command = [sys.executable, "-c", FIRST_IMAGE, str(bench.model), str(bench.images[0])]
    environment = jobs.step_environment() | {"PYTHONPATH": jobs.py_files()}
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        # Not in the project's folder, which would come first.
        subprocess.run(command, cwd=bench.folder, env=environment, check=True, capture_output=True)
        seconds.append(time.monotonic() - started)
    return {"worker_start_s": statistics.median(seconds)}
