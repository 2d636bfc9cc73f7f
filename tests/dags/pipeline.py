"""The whole DAG on the local AWS endpoint, as a person uses it: a bucket, Airflow, and what comes out."""

import copy
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import boto3
import pyarrow.parquet as pq

from demo.local_airflow import LocalAirflow
from local_emr import LocalEmr
from tests.infra.stack import Stack, deploy

BUCKET = "orchard"
# As long as AWS's own, and found nowhere else: of Airflow, its session, and the nodes.
SECRETS = {who: f"{who}0Secret/" * 3 + "+x" for who in ("airflow", "session", "node")}


@dataclass
class Run:
    """What one ``airflow dags test`` did."""

    exit_code: int
    log: list[str]
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        marker = "[DAG TEST] starting task_id="
        self.started = [line.split(marker)[1].split(" ")[0] for line in self.log if marker in line]

    @property
    def tries(self) -> list[str]:
        """What was started, without `wait_for_cluster`, which starts anew for each look."""
        return [task_id for task_id in self.started if task_id != "wait_for_cluster"]

    def errors(self) -> list[str]:
        """The message of every exception that ended a task."""
        return [match[1] for line in self.log if (match := re.match(r"[\w.]+(?:Error|Exception): (.*)", line))]


class Pipeline:
    """The bucket, the endpoint and Airflow, and what a person does with them.

    Args:
        aws: the endpoint.
        calls: its access log.
        home: of Airflow.
        photographs: a folder of images, one folder per variety, to upload.
        weights: of the network, to upload.
        real: whether the images and the weights are real ones.
        models: a folder of exported networks to upload; None: a run exports its own.
    """

    def __init__(
        self,
        aws: LocalEmr,
        calls: Path,
        home: Path,
        photographs: Path,
        weights: Path,
        *,
        real: bool,
        models: Path | None = None,
    ) -> None:
        self.aws = aws
        aws.reset()  # a test that was broken off may have left its bucket, which is the process's
        self.calls = calls
        session = boto3.Session(aws_access_key_id="person", aws_secret_access_key="-", region_name="eu-west-3")
        cloudformation, iam, self.s3, self.emr = (
            session.client(service, endpoint_url=aws.endpoint_url) for service in ("cloudformation", "iam", "s3", "emr")
        )
        self.stack: Stack = deploy(cloudformation, iam, BucketName=BUCKET)
        # A key of its own tells Airflow's calls from those of the nodes, which sign as "local".
        keys = {
            "AWS_ACCESS_KEY_ID": "airflow",
            "AWS_SECRET_ACCESS_KEY": SECRETS["airflow"],
            "AWS_SESSION_TOKEN": SECRETS["session"],
        }
        self._variables = {**aws.environment(), **self.stack.dot_env, **keys}
        self.airflow = LocalAirflow(home, self._variables)
        self.logs: list[str] = []
        self.real = real
        self.s3.upload_file(str(weights), BUCKET, f"weights/{weights.name}")
        self.weights = f"s3://{BUCKET}/weights/{weights.name}"
        for file in models.rglob("*.tflite") if models else ():
            self.s3.upload_file(str(file), BUCKET, f"models/{file.parent.name}/{file.name}")
        self.photographs = sorted(photographs.glob("*/*"))
        for file in self.photographs:
            self.upload(file, f"{file.parent.name}/{file.name}")

    def beside(self, home: Path) -> Self:
        """Return the same pipeline with another Airflow, so that both can run at once."""
        other = copy.copy(self)
        other.airflow, other.logs = LocalAirflow(home, self._variables), []
        return other

    def upload(self, file: Path, name: str) -> None:
        self.s3.upload_file(str(file), BUCKET, f"images/{name}")

    def run(self, watch: Callable[[str], object] = bool, **params: Any) -> Run:
        """Run the DAG with these params; `watch` gets each line of its log at once."""
        log = []
        with self.airflow.test_dag("fruit_features", {"weights": self.weights, **params}) as test:
            for line in test:
                log.append(line)
                watch(line)
        self.logs += log
        return Run(test.exit_code, log)

    def clusters(self) -> list[str]:
        """The state of each cluster ever created."""
        return [cluster["Status"]["State"] for cluster in self.emr.list_clusters()["Clusters"]]

    def latest(self, prefix: str = "") -> dict[str, Any]:
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key=f"{prefix}results/latest.json")["Body"].read())

    def log(self, cluster_id: str, step_id: str) -> str:
        """What a step has written."""
        keys = [key for key in self.keys("") if f"logs/{cluster_id}/steps/{step_id}/std" in key]
        contents = [self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
        return "".join(gzip.decompress(content).decode() for content in contents)

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def rows(self, prefix: str, folder: Path) -> list[dict[str, Any]]:
        """The rows of a Parquet dataset in the bucket."""
        rows = []
        for key in self.keys(prefix):
            if key.endswith(".parquet"):
                target = folder / key.rsplit("/", 1)[-1]
                self.s3.download_file(BUCKET, key, str(target))
                rows += pq.ParquetFile(target).read().to_pylist()
        return rows
