"""Run the DAG end to end on this machine: `python -m demo [--images DIR] [--weights FILE] [--variance 0.8]`."""

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.bucket import BUCKET, REGION, DemoError, client, fill_bucket
from demo.local_airflow import PROJECT, LocalAirflow
from demo.local_spark import SPARK
from local_emr import LocalEmr

STARTING = re.compile(r"\[DAG TEST\] starting task_id=(\w+)")
PROGRESS = re.compile(r"\] \w+: (.*?)\s+\[emr_triggers\b")
FOUND = re.compile(r"\] (\d+ images under .*? new)\s")
FAILURE = re.compile(r"[\w.]+(?:Exception|Error): (.+)")


class Console:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line."""
        print(f"{self.seconds:6.1f} s  {text}", flush=True)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start


def follow(lines: Iterable[str], log: Path, console: Console) -> list[str]:
    """Print the run's progress and write its whole log to a file; return the messages of the errors."""
    failures: list[str] = []
    current = None
    with log.open("w") as copy:
        for line in lines:
            copy.write(line + "\n")
            if match := STARTING.search(line):
                if match[1] != current:  # a sensor is started again at each poke
                    current = match[1]
                    console(current)
            elif match := PROGRESS.search(line) or FOUND.search(line):
                console(f"    {match[1]}")
            elif match := FAILURE.match(line):
                failures.append(match[1])
    return failures


def download(s3: Any, prefix: str, output: Path) -> None:
    """Copy every object below a prefix into a folder."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", []):
            target = output / item["Key"].removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, item["Key"], str(target))


def copy_bucket(s3: Any, run: str, folder: Path) -> None:
    """Copy what `make app` needs, laid out as in the bucket: images, features, models, the run's inventory, the pointer."""
    for prefix in ("images/", "features/", "models/"):
        download(s3, prefix, folder / prefix)
    (folder / f"results/run={run}").mkdir(parents=True)
    for key in (f"results/run={run}/inventory.parquet", "results/latest.json"):
        s3.download_file(BUCKET, key, str(folder / key))


def cluster_state(endpoint_url: str) -> str:
    """Return the state of the run's cluster."""
    clusters = client("emr", endpoint_url).list_clusters()["Clusters"]
    return clusters[0]["Status"]["State"] if clusters else "none created"


def run(arguments: argparse.Namespace) -> int:
    """Fill a bucket, run the DAG and print its results; return the exit code."""
    console = Console()
    output = PROJECT / "demo-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()

    with LocalEmr(port=0, spark=SPARK, yarn=arguments.yarn) as aws:
        console(f"local AWS on {aws.endpoint_url}")
        weights = fill_bucket(aws.endpoint_url, arguments.images, arguments.weights, console)
        params: dict[str, Any] = {"bucket": BUCKET, "region": REGION, "weights": weights}
        if arguments.variance is not None:
            params["variance"] = arguments.variance
        console("airflow dags test fruit_features")
        airflow = LocalAirflow(PROJECT / ".airflow", aws.environment())
        with airflow.test_dag("fruit_features", params | arguments.params) as test:
            failures = follow(test, output / "airflow.log", console)
        state = cluster_state(aws.endpoint_url)
        if test.exit_code:
            print(f"\nThe run FAILED: {failures[-1] if failures else 'see the log'}")
            print(f"cluster          {state}\nlog              {os.path.relpath(output / 'airflow.log')}")
            return 1

        s3 = client("s3", aws.endpoint_url)
        latest = json.loads(s3.get_object(Bucket=BUCKET, Key="results/latest.json")["Body"].read())
        download(s3, f"results/run={latest['run']}/", output)
        copy_bucket(s3, latest["run"], output / "bucket")

    report_file = output / "report.json"
    report = {**json.loads(report_file.read_text()), **latest, "cluster_state": state}
    report_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print_summary(report, output)
    print("\nWhich fruit is this? make app")
    print(f"make demo took {int(console.seconds // 60)} min {console.seconds % 60:02.0f} s")
    return 0


def print_summary(report: dict[str, Any], output: Path) -> None:
    """Print the counts, the number of components, the cluster's final state and where the results are."""
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


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--images", help="folder of variety folders, or several joined with ':'")
    parser.add_argument("--weights", help="Keras MobileNetV2 weights without top, HDF5")
    parser.add_argument("--variance", type=float, help="share of the variance to explain, in (0, 1]")
    parser.add_argument("--yarn", action="store_true", help="run the steps on a YARN with a node per worker instance")
    parser.add_argument("--params", type=json.loads, default={}, help="further params of the DAG, as a JSON object")
    try:
        return run(parser.parse_args())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
