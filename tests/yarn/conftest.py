"""The pipeline on a YARN of two nodes: local_emr's, with the DAG's own requests for the cluster and its steps."""

import gzip
import json
import os
import random
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import boto3
import psutil
import pyarrow.parquet as pq
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from PIL import Image

from fruit_features import artifacts, inventory, steps
from fruit_features.cluster import job_flow_request
from fruit_features.layout import Location
from fruit_features.outputs import check_outputs
from fruit_features.run import Plan, Run
from local_emr import LocalEmr, Spark, Timing, gateway
from local_emr.emr.settings import SparkNotFoundError
from local_emr.emr.yarn.capacity import machine_memory
from tests.conftest import PROJECT

BUCKET = "orchard"
# 8 chunks of 50: those of the first variety are committed while the others are held back (see `Yarn.hold`).
QUICK, HELD = "Apple", "Plum"
COUNTS = {QUICK: 100, HELD: 300}
# Unless a module has its own: an executor on each node, of half as many workers as on EMR, which start in half the time. Its
# container has room for one that takes too much, and for those that decode in a child process after that.
EXECUTORS = {"spark.executor.cores": "2", "spark.executor.memory": "2g", "spark.executor.memoryOverhead": "6g"}
FIRST_RUN = "first"  # the cluster's and the network's
SECONDS = 240  # what a busy machine may take for what takes ten seconds
EXECUTOR = "org.apache.spark.executor.YarnCoarseGrainedExecutorBackend"
SPECULATION = {"spark.speculation": "true", "spark.speculation.quantile": "0.5", "spark.speculation.multiplier": "1.1"}

# A task for every worker, so that both nodes have some of few images; and an attempt that takes memory without end.
CHANGED_REDUCTION = """
import time
from pathlib import Path
from pyspark import TaskContext
from spark_jobs.reduction import distributed

distributed.LEAST_ROWS = distributed.LEAST_VECTORS = 16

def encode(rows, encode=distributed.encode):
    task = TaskContext.get()
    if (task.partitionId(), task.attemptNumber()) == {greedy}:
        Path({mark!r}).touch()
        taken = []
        while len(taken) < 64:
            taken.append(b"x" * 2**27)
        time.sleep(3600)
    return encode(rows)

distributed.encode = encode
"""


def image(number: int) -> bytes:
    """Noise of 16 x 16 pixels; every 97th file is empty, and ends as a reject."""
    if number % 97 == 96:
        return b""
    content = BytesIO()
    Image.frombytes("RGB", (16, 16), random.Random(number).randbytes(3 * 16 * 16)).save(content, "png")
    return content.getvalue()


@dataclass
class Step:
    """A step that was added to the cluster."""

    yarn: "Yarn"
    id: str

    @property
    def state(self) -> str:
        described = self.yarn.emr.describe_step(ClusterId=self.yarn.cluster, StepId=self.id)
        return described["Step"]["Status"]["State"]

    def ended(self) -> str:
        """Wait; return the state."""
        wait_for(lambda: self.state not in {"PENDING", "RUNNING"}, "the step to end")
        return self.state

    def log(self, name: str) -> str:
        key = f"{FIRST_RUN}/logs/{self.yarn.cluster}/steps/{self.id}/{name}.gz"
        return gzip.decompress(self.yarn.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()

    def logs(self) -> str:
        return self.log("stdout") + self.log("stderr")


def wait_for(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait for what the condition gives to be true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


@dataclass
class Yarn:
    """A cluster of two core nodes, the bucket with images and network, and what the tests do with them."""

    aws: LocalEmr
    s3: Any
    emr: Any
    hook: S3Hook
    executors_shape: dict[str, str]
    runs: dict[str, tuple[Run, Plan]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)  # names of runs that have had each image exactly once
    artifacts: dict[str, str] = field(default_factory=dict)
    cluster: str = ""
    pointer: bytes = b""

    def settings(self, name: str, nodes: int = 2) -> Run:
        """The settings of a run with a folder of its own, so that it finds nothing done."""
        params = {
            "bucket": BUCKET,
            "output_prefix": name,
            "weights": f"s3://{BUCKET}/weights.h5",
            "core_instance_count": nodes,
            "max_reject_share": 0.5,
            "spark_defaults": self.executors_shape,
        }
        return Run.from_params(params, "manual")

    def run(self, name: str) -> tuple[Run, Plan]:
        """A run over all images."""
        if name not in self.runs:
            run = self.settings(name)
            plan = inventory.find_new(self.hook, run)
            if self.pointer:
                self.s3.put_object(Bucket=BUCKET, Key=run.layout.model_pointer.key, Body=self.pointer)
            self.runs[name] = run, plan
        return self.runs[name]

    def create_cluster(self, nodes: int = 2) -> None:
        """Create the cluster that steps are added to from now on; end the one before."""
        if self.cluster:
            self.emr.terminate_job_flows(JobFlowIds=[self.cluster])
        request: Any = job_flow_request(self.settings(FIRST_RUN, nodes), self.artifacts)
        del request["BootstrapActions"]
        self.cluster = self.emr.run_job_flow(**request)["JobFlowId"]

    def wait_for_cluster(self) -> None:
        def status() -> dict[str, Any] | None:
            found: dict[str, Any] = self.emr.describe_cluster(ClusterId=self.cluster)["Cluster"]["Status"]
            return found if found["State"] not in {"STARTING", "BOOTSTRAPPING"} else None

        found = wait_for(status, "the cluster to start")
        assert found["State"] == "WAITING", found["StateChangeReason"]["Message"]

    def extract(self, name: str, conf: dict[str, str] | None = None, py_files: str | None = None) -> Step:
        """Add the step `extract_features`, with properties of Spark and a further ZIP of Python modules."""
        run, plan = self.run(name)
        return self.submit(steps.extract_features_step(run, self.artifacts, plan), conf, py_files)

    def reduce(self, name: str, conf: dict[str, str] | None = None, py_files: str | None = None) -> Step:
        """Add the step `reduce_dimensions`; arguments as of `extract`."""
        run, plan = self.run(name)
        return self.submit(steps.reduce_dimensions_step(run, self.artifacts, plan), conf, py_files)

    def held_reduction(self, name: str, tasks: int = 1, *arguments: Any) -> tuple[Step, list[psutil.Process]]:
        """Add the step; return it and its executors, once so many tasks write vectors, which they cannot until released."""
        self.fault(fault="s3-latency", milliseconds=3_600_000, method="PUT", key=f"{name}/results/*/pca/part-*")
        step = self.reduce(name, *arguments)

        def writes() -> bool:
            assert step.state in {"PENDING", "RUNNING"}, step.logs()
            return bool(self.aws.faults.list()[-1]["hits"] >= tasks)

        wait_for(writes, "vectors that are written")
        return step, self.executors()

    def changed_reduction(self, folder: Path, *greedy: int) -> tuple[str, Path]:
        """Return the URI of a reduction of several tasks, and the file that its greedy attempt leaves in the folder.

        Args:
            folder: to work in.
            greedy: the number of a task and of its attempt that takes memory without end; none: no attempt does.
        """
        mark = folder / "greedy"
        return self.upload_sitecustomize(folder, CHANGED_REDUCTION.format(greedy=greedy, mark=str(mark))), mark

    def hold_first_put(self, key: str) -> None:
        """Let the first PUT of such a key be on its way until released: what has sent it may have ended by then."""
        self.fault(fault="s3-latency", milliseconds=3_600_000, method="PUT", key=key, times=1)

    def release_put(self, patch: pytest.MonkeyPatch) -> int:
        """Let it reach S3; return the status of S3's answer, which there may be nobody left to receive."""
        [held] = self.aws.faults.list()
        assert held["hits"] == 1
        answers: list[str] = []

        def collect(application: Any, environ: Any, collect: Any = gateway.collect) -> Any:
            answer = collect(application, environ)
            if fnmatchcase(environ["PATH_INFO"], f"/{BUCKET}/{held['key']}"):
                answers.append(answer[0])
            return answer

        patch.setattr(gateway, "collect", collect)
        self.release()
        wait_for(lambda: answers, "a PUT to reach S3")
        return int(answers[0].split()[0])

    def extracted(self, name: str) -> None:
        """Make sure that a run has features."""
        if not self.chunks(name):
            step = self.extract(name)
            assert step.ended() == "COMPLETED", step.logs()

    def upload_sitecustomize(self, folder: Path, code: str) -> str:
        """Upload a ZIP, made in the folder, with code that every interpreter runs as it starts; return its URI."""
        with zipfile.ZipFile(folder / "changed.zip", "w") as archive:
            archive.writestr("sitecustomize.py", code)
        self.s3.upload_file(str(folder / "changed.zip"), BUCKET, "changed.zip")
        return f"s3://{BUCKET}/changed.zip"

    def submit(self, request: Any, conf: dict[str, str] | None = None, py_files: str | None = None) -> Step:
        arguments = request["HadoopJarStep"]["Args"]
        if py_files:
            arguments[arguments.index("--py-files") + 1] += f",{py_files}"
        first = arguments.index("spark-submit") + 1
        arguments[first:first] = [
            word for name, value in (conf or {}).items() for word in ("--conf", f"{name}={value}")
        ]
        (step_id,) = self.emr.add_job_flow_steps(JobFlowId=self.cluster, Steps=[request])["StepIds"]
        return Step(self, step_id)

    def fault(self, **rule: Any) -> None:
        self.aws.faults.add(**rule)

    def hold(self, key: str = f"images/{HELD}/*", **rule: Any) -> None:
        """Let requests for these objects wait until the rule is lifted: the tasks that read them are at work until then."""
        self.fault(fault="s3-latency", milliseconds=3_600_000, method="GET", key=key, **rule)

    def release(self) -> None:
        self.aws.faults.clear()

    def executors(self) -> list[psutil.Process]:
        """The JVM of each executor."""
        return [process for process in psutil.Process().children(recursive=True) if runs_java(process, EXECUTOR)]

    def executors_at_work(self, step: Step, name: str) -> list[psutil.Process]:
        """Wait until chunks are committed, others are held back, and every executor works; return the executors.

        There are more held chunks than slots, so that an executor that has started Python workers has a task in each.
        """

        def found() -> list[psutil.Process]:
            assert step.state in {"PENDING", "RUNNING"}, step.logs()
            executors = self.executors()
            at_work = len(executors) >= 2 and all(map(has_python_worker, executors))
            return executors if at_work and self.chunks(name) else []

        return wait_for(found, "chunks that are committed, and two executors at work")

    def chunks(self, name: str) -> dict[str, tuple[str, datetime]]:
        """ETag of each object in the folder of features, and when it was written, by its key."""
        run, _ = self.run(name)
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{run.layout.run_features.key}/part-")
        return {item["Key"]: (item["ETag"], item["LastModified"]) for item in listed.get("Contents", [])}

    def assert_reduced(self, name: str, step: Step) -> None:
        """The step completes, its outputs pass the DAG's own checks, and each image with features has one vector."""
        assert step.ended() == "COMPLETED", step.logs()
        run, plan = self.run(name)
        assert check_outputs(self.hook, run, plan)["features"] == plan.images - len(self.assert_exactly_once(name))
        vectors, features = (self.rows(folder) for folder in (run.layout.run_results / "pca", run.layout.run_features))
        assert sorted(row["path"] for row in vectors) == sorted(row["path"] for row in features)
        assert len({len(row["features_pca"]) for row in vectors}) == 1

    def assert_exactly_once(self, name: str) -> list[dict[str, Any]]:
        """Each image is a row of features or of rejects, and every file can be read. Return the rejects."""
        run, _ = self.run(name)
        features, rejects = self.rows(run.layout.run_features), self.rows(run.layout.run_rejects)
        expected = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="images/")
        paths = [f"s3://{BUCKET}/{item['Key']}" for page in expected for item in page["Contents"]]
        assert sorted(row["path"] for row in features + rejects) == sorted(paths)
        assert {len(row["features"]) for row in features} == {1280}
        self.whole.add(name)
        return rejects

    def rows(self, folder: Location) -> list[dict[str, Any]]:
        """The rows of all files of a finished folder."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder.key}/")["Contents"]
        keys = [item["Key"] for item in listed]
        mark = f"{folder.key}/_SUCCESS"
        assert mark in keys
        bodies = [self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys if key != mark]
        return [row for body in bodies for row in pq.ParquetFile(BytesIO(body)).read().to_pylist()]


def runs_java(process: psutil.Process, main_class: str) -> bool:
    try:
        program, *arguments = process.cmdline() or [""]
    except psutil.Error:
        return False
    return program.endswith("/java") and main_class in arguments


def has_python_worker(executor: psutil.Process) -> bool:
    """Whether Spark's daemon has forked a worker in this executor."""
    try:
        daemons = [child for child in executor.children() if "pyspark.daemon" in child.cmdline()]
        return any(daemon.children() for daemon in daemons)
    except psutil.Error:
        return False


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def missing(what: str) -> NoReturn:
    """Skip; fail where the suite was asked for, since nobody would notice that it has shown nothing."""
    if asked := os.environ.get("YARN"):
        pytest.fail(f"YARN={asked} asks for this suite: {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def yarn(request: pytest.FixtureRequest, weights: Path) -> Iterator[Yarn]:
    spark = Spark()
    try:
        spark.require_yarn()
    except SparkNotFoundError as error:
        missing(str(error))
    if machine_memory() < 12_000:
        missing("less than 12 GB of memory: containers of a share of it are too small for the jobs")
    timing = Timing(starting=0.3, bootstrapping=0.2, terminating=0.3, kill_grace=2)
    with LocalEmr(timing=timing, spark=spark, yarn=True) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        aws.reset()  # buckets are shared by all endpoints of a process, and another test may have left its own
        shape = getattr(request.module, "EXECUTORS", EXECUTORS)
        made = Yarn(aws, boto3.client("s3"), boto3.client("emr"), S3Hook(region_name=aws.region), shape)
        prepare(made, weights)
        yield made
        aws.faults.clear()


def prepare(yarn: Yarn, weights: Path) -> None:
    """Fill the bucket, export the network and start the cluster, at the same time."""
    yarn.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": yarn.aws.region})
    yarn.s3.upload_file(str(weights), BUCKET, "weights.h5")
    yarn.s3.put_object(Bucket=BUCKET, Key=f"images/{QUICK}/000.png", Body=image(0))
    run, plan = yarn.run(FIRST_RUN)
    yarn.artifacts = artifacts.deploy(yarn.hook, run, PROJECT)
    yarn.create_cluster()
    with ThreadPoolExecutor(8) as pool:
        pointer = pool.submit(export_model, yarn, run, plan)
        uploads = [
            pool.submit(yarn.s3.put_object, Bucket=BUCKET, Key=f"images/{variety}/{number:03}.png", Body=image(number))
            for variety, count in COUNTS.items()
            for number in range(count)
        ]
    for upload in uploads:
        upload.result()  # or a test would run on fewer images, and not know
    yarn.pointer = pointer.result()
    yarn.runs.clear()
    yarn.wait_for_cluster()


def export_model(yarn: Yarn, run: Run, plan: Plan) -> bytes:
    """Do what the step `export_model` does: it needs no YARN. Return the pointer to the model."""
    request: Any = steps.export_model_step(run, yarn.artifacts, plan)
    words = request["HadoopJarStep"]["Args"]
    arguments = words[words.index(yarn.artifacts["export_model.py"]) + 1 :]
    command = [str(PROJECT / ".venv/spark/bin/python"), "-m", "spark_jobs.export_model", *arguments]
    subprocess.run(command, cwd=PROJECT, check=True, env=os.environ)
    pointer = yarn.s3.get_object(Bucket=BUCKET, Key=run.layout.model_pointer.key)["Body"].read()
    assert json.loads(pointer)["model_id"]
    return pointer


@pytest.fixture(autouse=True)
def _without_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "yarn" in request.fixturenames:  # others need none to be started
        request.getfixturevalue("yarn").release()
