"""Run the DAG end to end on this machine: ``python -m demo [--images DIR] [--weights FILE] [--variance 0.8]``."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from demo.images import write_bad_images, write_images
from demo.local_airflow import PROJECT, LocalAirflow
from local_aws import LocalAws

BUCKET = "fruits"
REGION = "eu-west-3"
PER_VARIETY = 50

STARTING = re.compile(r"\[DAG TEST\] starting task_id=(\w+)")
FINISHED = re.compile(r"\[DAG TEST\] end task task_id=(\w+)")
PROGRESS = re.compile(r"\] (\w+): (.*?)\s+\[\S*emr_step_sensor")
FOUND = re.compile(r"\] (\d+ images under .*? new)\s")
FAILURE = re.compile(r"^[\w.]+(?:Exception|Error): (.+)|^(?:\w+\.)*OutputError: (.+)")


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


class Screen:
    """What a person follows: seconds since the start, and what happens."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line."""
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", flush=True)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start


def image_files(folders: str) -> Iterator[tuple[str, Path]]:
    """Key below ``images/`` and file for each of one's own images.

    ``folders`` is a folder of variety folders, or several folders joined with ``:``, each either of those or a variety's own.
    """
    for name in folders.split(os.pathsep):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise DemoError(f"IMAGES={name}: there is no such folder")
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        if not files:
            raise DemoError(f"IMAGES={name}: the folder is empty")
        varieties = any(file.parent != folder for file in files)
        root = folder if varieties else folder.resolve().parent
        for file in files:
            yield (file if varieties else root / folder.resolve().name / file.name).relative_to(root).as_posix(), file


def demo_weights(screen: Screen) -> Path:
    """ImageNet weights where they can be downloaded, else random ones; made once and kept."""
    folder = PROJECT / ".venv" / "demo-weights"
    for kept in (folder / "imagenet.h5", folder / "random.weights.h5"):
        if kept.exists():
            break
    else:
        screen("no WEIGHTS given: trying to download Keras's ImageNet weights")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as images:
            write_images(Path(images), 10)
            done = subprocess.run(
                [PROJECT / ".venv/spark/bin/python", PROJECT / "demo/weights.py", folder, images],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise DemoError(f"no weights could be made: {done.stderr[-600:]}")
        kept = Path(done.stdout.splitlines()[-1])
    if kept.name.startswith("random"):
        screen("ImageNet weights cannot be downloaded here: using seeded RANDOM weights, calibrated on drawn fruit.")
        screen("The pipeline is the real one, the features mean nothing. For real ones: make demo WEIGHTS=file.h5")
    return kept


def upload(s3: Any, files: list[tuple[str, Path]]) -> None:
    """Put the images into the bucket."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: s3.upload_file(str(item[1]), BUCKET, f"images/{item[0]}"), files))


def follow(lines: Iterator[str], log: Path, screen: Screen) -> list[str]:
    """Show the run's progress, keep its whole log; return the messages of what failed."""
    failures: list[str] = []
    current = None
    with log.open("w") as copy:
        for line in lines:
            copy.write(line + "\n")
            if (match := STARTING.search(line)) and match[1] != current:
                current = match[1]
                screen(current)
            elif match := PROGRESS.search(line):
                screen(f"    {match[2]}")
            elif match := FOUND.search(line):
                screen(f"    {match[1]}")
            elif match := FAILURE.match(line):
                failures.append(match[1] or match[2])
    return failures


def download_results(s3: Any, latest: dict[str, Any], output: Path) -> None:
    """Copy the run's results into the output folder."""
    prefix = f"results/run={latest['run']}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", []):
            target = output / item["Key"].removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, item["Key"], str(target))


def cluster_states(emr: Any) -> list[str]:
    """The state of every cluster there ever was, oldest first."""
    clusters = emr.list_clusters()["Clusters"]
    return [
        cluster["Status"]["State"]
        for cluster in sorted(clusters, key=lambda one: one["Status"]["Timeline"]["CreationDateTime"])
    ]


def run(arguments: argparse.Namespace) -> int:
    """Set the stage, run the DAG, show what came out; return the exit code."""
    screen = Screen()
    output = PROJECT / "demo-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()

    with tempfile.TemporaryDirectory(prefix="fruits-demo-") as scratch:
        if arguments.images:
            files = list(image_files(arguments.images))
        else:
            drawn = Path(scratch) / "images"
            screen("drawing images of 7 varieties, and some bad files among them")
            write_images(drawn, PER_VARIETY)
            write_bad_images(drawn)
            files = list(image_files(str(drawn)))
        if arguments.weights:
            weights = Path(arguments.weights).expanduser()
            if not weights.is_file():
                raise DemoError(f"WEIGHTS={arguments.weights}: there is no such file")
        else:
            weights = demo_weights(screen)

        with LocalAws(port=0) as aws:
            session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)  # noqa: S106
            s3 = session.client("s3", endpoint_url=aws.endpoint_url)
            emr = session.client("emr", endpoint_url=aws.endpoint_url)
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            screen(f"local AWS on {aws.endpoint_url}; uploading {len(files)} files to s3://{BUCKET}/images/")
            upload(s3, files)
            s3.upload_file(str(weights), BUCKET, f"weights/{weights.name}")

            airflow = LocalAirflow(PROJECT / ".airflow", aws.environment())
            params: dict[str, Any] = {
                "bucket": BUCKET,
                "region": REGION,
                "weights": f"s3://{BUCKET}/weights/{weights.name}",
            }
            if arguments.variance is not None:
                params["variance"] = arguments.variance
            params |= json.loads(arguments.params)
            screen("airflow dags test fruit_features")
            test = airflow.test_dag("fruit_features", params)
            try:
                failures = follow(iter(test), output / "airflow.log", screen)
            finally:
                test.stop()
            exit_code = test.exit_code()

            states = cluster_states(emr)
            cluster_state = states[-1] if states else "none created"
            if exit_code:
                print(f"\nThe run FAILED: {failures[-1] if failures else 'see the log'}")
                print(f"cluster          {cluster_state}\nlog              {output / 'airflow.log'}")
                return exit_code

            latest = json.loads(s3.get_object(Bucket=BUCKET, Key="results/latest.json")["Body"].read())
            download_results(s3, latest, output)

    report_file = output / "report.json"
    report = {**json.loads(report_file.read_text()), **latest, "cluster_state": cluster_state}
    report_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print_summary(report, output, screen.seconds)
    return 0


def print_summary(report: dict[str, Any], output: Path, seconds: float) -> None:
    """The counts, k, the cluster's end, and where everything is."""
    print(f"\nimages           {report['images']}")
    print(f"features         {report['features']}")
    print(f"rejects          {report['rejects']}")
    for reason, count in sorted(report["rejects_by_reason"].items()):
        print(f"                 {count} × {reason}")
    print(f"components       {report['components']}, explaining {report['explained_variance']:.2%} of the variance")
    print(f"model            {report['model_id']}")
    print(f"cluster          {report['cluster_state']}")
    for name in ("pca", "report.html", "report.json"):
        print(f"{'see' if name == 'pca' else '':16} {os.path.relpath(output / name)}")
    print(f"\nmake demo took {int(seconds // 60)} min {seconds % 60:02.0f} s")


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--images", help="folder of variety folders, or several joined with ':'")
    parser.add_argument("--weights", help="Keras MobileNetV2 weights without top, HDF5")
    parser.add_argument("--variance", type=float, help="share of the variance to explain, in (0, 1]")
    parser.add_argument("--params", default="{}", help="further params of the DAG, as JSON")
    try:
        return run(parser.parse_args())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
