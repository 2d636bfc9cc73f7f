"""Many images on two YARN nodes: does the rate hold, and what does each step cost? python -m benchmarks.scale [--images 200000]

In the Airflow environment: it does what the DAG does, with the DAG's own requests, on the YARN of local_emr.
"""

import argparse
import http.client
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from benchmarks.bounds import Bounds, at_least, at_most, indication, shown
from benchmarks.machine import Conditions, load, this_machine
from benchmarks.samples import PROJECT, originals
from benchmarks.table import Measured, Table
from benchmarks.watch import Watch
from benchmarks.windows import FEWEST
from fruit_features import artifacts, inventory, steps
from fruit_features.cluster import job_flow_request
from fruit_features.outputs import check_outputs
from fruit_features.run import Run
from local_emr import LocalEmr, Spark, Timing  # type: ignore[attr-defined]  # the Spark environment, which mypy looks in, has it not

OUTPUT = PROJECT / "bench-output/scale.json"
BUCKET = "scale"
BOUNDS: Bounds = {
    "rate_drift": at_least(
        -0.05,
        "what a line through the rate of extract_features gains from the second minute to the end, as a share of it",
    ),
    "driver_growth": at_most(1.1, "its driver's memory at the end / in the second minute: 200,000 images take it 1.05"),
    "worker_peak_mb": at_most(256, "largest resident size of a Python worker"),
    "rates_spread": indication("≤", 0.05, "how far a window's rate is from the median: neighbors count"),
    "rates_granularity": shown("what of that is only the moment of looking: a task's images are counted all at once"),
}
PARAMS = {"bucket": BUCKET, "weights": f"s3://{BUCKET}/weights.h5", "core_instance_count": 2}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=200_000, help="copies of the samples (default: %(default)s)")
    parser.add_argument(
        "--window", type=float, default=180, metavar="SECONDS", help="of the rates (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file of all figures (default: %(default)s)")
    return parser.parse_args(argv)


def weights(folder: Path) -> Path:
    """Return ImageNet weights where FRUITS_TEST_WEIGHTS names them, random ones that the Spark environment makes otherwise."""
    if real := os.environ.get("FRUITS_TEST_WEIGHTS"):
        return Path(real)
    make = "import sys, pathlib, sample_data; sample_data.random_weights(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": f"{PROJECT / 'dev'}:{PROJECT}"}
    subprocess.run([PROJECT / ".venv/spark/bin/python", "-c", make, folder], env=environment, check=True)
    return folder / "random.weights.h5"


def upload(endpoint: str, images: Sequence[Path], number: int) -> None:
    """Put copies of the images into the bucket, in folders of 1,000."""
    contents = [(image.parent.name, image.name, image.read_bytes()) for image in images]
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc)
    for index, (label, name, content) in enumerate(islice(cycle(contents), number)):
        key = urllib.parse.quote(f"images/{label} {index // 1000}/{index}_{name}")
        connection.request("PUT", f"/{BUCKET}/{key}", content)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"PUT {key}: {response.status} {answer.decode(errors='replace')}")
    connection.close()


class Scale:
    """A run of the pipeline whose steps are timed."""

    def __init__(self, aws: LocalEmr, images: int, window: float) -> None:
        self.seconds: dict[str, float] = {}
        self._images, self._window = images, window
        self._s3, self._emr = boto3.client("s3"), boto3.client("emr")
        self._hook = S3Hook(region_name=aws.region)
        self._aws = aws

    def run(self, folder: Path) -> dict[str, Any]:
        """Do what the DAG does; return the figures."""
        self._s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": self._aws.region})
        self._s3.upload_file(str(weights(folder)), BUCKET, "weights.h5")
        self._timed("upload", upload, self._aws.endpoint_url, originals(folder / "images"), self._images)
        run = Run.from_params(PARAMS, "scale")
        plan = self._timed("inventory", inventory.find_new, self._hook, run)
        deployed = artifacts.deploy(self._hook, run, PROJECT)
        request = job_flow_request(run, deployed)
        del request["BootstrapActions"]  # the environment of this machine's nodes is there
        cluster = self._emr.run_job_flow(**request)["JobFlowId"]
        self._timed("export", self._step, cluster, steps.export_model_step(run, deployed, plan))
        with Watch(self._s3, BUCKET, run.layout.progress.key, "extract_features") as watch:
            self._timed("extract", self._step, cluster, steps.extract_features_step(run, deployed, plan))
        self._timed("reduce", self._step, cluster, steps.reduce_dimensions_step(run, deployed, plan))
        checked = self._timed("check", check_outputs, self._hook, run, plan)
        self._emr.terminate_job_flows(JobFlowIds=[cluster])
        return {
            "images": self._images,
            "features": checked["features"],
            "components": checked["components"],
            **watch.figures(self._window),
        }

    def _timed(self, name: str, function: Any, *arguments: Any) -> Any:
        started = time.monotonic()
        result = function(*arguments)
        self.seconds[name] = round(time.monotonic() - started, 1)
        print(
            f"  {name:10} {self.seconds[name]:8.1f} s {1000 * self.seconds[name] / self._images:9.3f} ms an image",
            flush=True,
        )
        return result

    def _step(self, cluster: str, request: Any) -> None:
        (step,) = self._emr.add_job_flow_steps(JobFlowId=cluster, Steps=[request])["StepIds"]
        while True:
            status = self._emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]
            if status["State"] == "COMPLETED":
                return
            if status["State"] not in {"PENDING", "RUNNING"}:
                raise RuntimeError(f"{request['Name']} is {status['State']}: {status.get('FailureDetails')}")
            time.sleep(0.5)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    print(f"{options.images:,} images on two nodes of YARN, on {this_machine()}; load {load():.1f}", flush=True)
    conditions = Conditions()
    timing = Timing(starting=0.3, bootstrapping=0.2, terminating=0.3)
    with (
        tempfile.TemporaryDirectory(prefix="fruits-scale-") as folder,
        LocalEmr(timing=timing, spark=Spark(), yarn=True) as aws,
    ):
        os.environ |= aws.environment()
        scale = Scale(aws, options.images, options.window)
        figures = scale.run(Path(folder))
    each = {step: round(1000 * seconds / options.images, 3) for step, seconds in scale.seconds.items()}
    figures |= {"machine": str(this_machine()), "seconds": scale.seconds, "ms_an_image": each}
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"  images/s by {options.window:.0f} s: {' '.join(map(str, figures['rates']))}")
    print(f"  driver_mb at the end of each, JVM and Python: {' '.join(map(str, figures['driver_mb']))}")
    row = Measured({key: figures[key] for key in BOUNDS if not math.isnan(figures[key])}, **conditions.so_far())
    if "rate_drift" not in row.figures:
        print(f"  too short for a verdict on the rate: {FEWEST} windows of {options.window:.0f} s are needed")
    table = Table("full", str(this_machine()), {"scale": row})
    print(*table.lines(BOUNDS), f"all figures: {options.output}", sep="\n")
    return 1 if table.missed(BOUNDS, ["scale"]) else 0


if __name__ == "__main__":
    sys.exit(main())
