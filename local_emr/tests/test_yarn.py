"""Steps on a real YARN: a ResourceManager and a NodeManager per core instance."""

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from emr_client import Emr, client, log, step, wait_for

from local_emr import LocalEmr, Spark
from local_emr.emr.settings import SparkNotFoundError
from local_emr.emr.spark_submit import rewrite_arguments
from local_emr.emr.yarn.capacity import memory_scale, node_resources
from local_emr.pytest_plugin import QUICK

JOB = """
import os
import sys
import time
from pyspark.sql import SparkSession

seconds = float(sys.argv[1])


def place(batches):
    import pyarrow as pa

    for _ in batches:
        time.sleep(seconds)
        yield pa.RecordBatch.from_pydict({"node": [os.environ["NM_PORT"]], "container": [os.environ["CONTAINER_ID"]]})


spark = SparkSession.builder.getOrCreate()
print("started", spark.sparkContext.master, flush=True)
found = spark.range(0, 8, numPartitions=8).mapInArrow(place, "node string, container string").collect()
print("rows", len(found))
print("nodes", len({row.node for row in found}))
print("containers", len({row.container for row in found}))
"""
# A task's Python worker takes more than its executor's container may.
GREEDY_JOB = """
import time
from pyspark.sql import SparkSession


def fill(batches):
    taken = b"x" * (1500 * 2**20)
    time.sleep(10)
    yield from batches


spark = SparkSession.builder.getOrCreate()
print("rows", spark.range(0, 1, numPartitions=1).mapInArrow(fill, "id long").count())
"""
# More than half of an m5.2xlarge each: the scheduler would put two that fit on the same node.
TWO_EXECUTORS = ("--executor-memory", "14g", "--conf", "spark.executor.cores=2", "--conf", "spark.executor.instances=2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalEmr]:
    spark = Spark()
    try:
        spark.require_yarn()
    except SparkNotFoundError as error:
        pytest.skip(str(error))
    with LocalEmr(timing=QUICK, yarn=True) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment().items():
            patch.setenv(name, value)
        s3 = client(made, "s3")
        s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        s3.put_object(Bucket="data", Key="job.py", Body=JOB.encode())
        s3.put_object(Bucket="data", Key="greedy.py", Body=GREEDY_JOB.encode())
        yield made


@pytest.fixture(scope="module")
def emr(aws: LocalEmr) -> Emr:
    return Emr(client(aws, "emr"))


@pytest.fixture(scope="module")
def cluster(emr: Emr) -> str:
    created = emr.create()
    emr.until(created, "WAITING", seconds=90)
    return created


@pytest.fixture
def run(aws: LocalEmr, emr: Emr, cluster: str) -> Iterator[Any]:
    """Run a job to its end; return the step's state, stdout and stderr."""

    def run_step(*arguments: str) -> tuple[str, list[str], str]:
        (step_id,) = emr.add(cluster, step("spark-submit", *TWO_EXECUTORS, *arguments))
        (state,) = emr.ended(cluster, [step_id], seconds=240)
        s3 = client(aws, "s3")
        return (
            state,
            log(s3, cluster, f"steps/{step_id}/stdout").splitlines(),
            log(s3, cluster, f"steps/{step_id}/stderr"),
        )

    yield run_step
    aws.faults.clear()


def daemons() -> list[psutil.Process]:
    """The daemons and containers of every YARN that this process started."""
    return [
        found
        for found in psutil.Process().children(recursive=True)
        if any("hadoop.yarn" in word for word in found.cmdline())
    ]


def test_a_step_runs_on_two_nodes(run: Any) -> None:
    state, stdout, stderr = run("s3://data/job.py", "3")
    assert state == "COMPLETED", stderr
    assert {"started yarn", "rows 8", "nodes 2", "containers 2"} <= set(stdout)


@pytest.mark.parametrize("fault", ["kill-executor", "kill-node", "kill-application-master"])
def test_spark_survives(aws: LocalEmr, emr: Emr, run: Any, fault: str) -> None:
    aws.faults.add(fault=fault, after_seconds=15, times=1)
    state, stdout, stderr = run("s3://data/job.py", "6")
    assert [rule["hits"] for rule in aws.faults.list()] == [1]
    assert state == "COMPLETED", stderr
    assert "rows 8" in stdout


def test_a_container_over_its_memory_limit_is_killed(run: Any) -> None:
    state, _, stderr = run(
        "--executor-memory", "2g", "--conf", "spark.executor.memoryOverhead=800m", "s3://data/greedy.py"
    )
    assert state == "FAILED"
    assert "Container killed by YARN for exceeding physical memory limits" in stderr


def test_classifications_are_applied_and_yarn_ends_with_its_cluster(aws: LocalEmr, emr: Emr) -> None:
    before = len(daemons())
    scheduler = {
        "yarn.scheduler.capacity.root.queues": "default,fruits",
        "yarn.scheduler.capacity.root.default.capacity": "40",
        "yarn.scheduler.capacity.root.fruits.capacity": "60",
    }
    cluster = emr.create(
        Configurations=[
            {"Classification": "capacity-scheduler", "Properties": scheduler},
            {"Classification": "spark-defaults", "Properties": {"spark.yarn.queue": "fruits"}},
        ]
    )
    emr.until(cluster, "WAITING", seconds=90)
    assert len(daemons()) == before + 3
    (step_id,) = emr.add(cluster, step("spark-submit", "s3://data/job.py", "0"))
    assert emr.ended(cluster, [step_id], seconds=120) == ["COMPLETED"]
    assert "queue: fruits" in log(client(aws, "s3"), cluster, f"steps/{step_id}/stderr")

    emr.client.terminate_job_flows(JobFlowIds=[cluster])
    emr.until(cluster, "TERMINATED")
    wait_for(lambda: len(daemons()) == before)


def test_memory_is_that_of_emr_scaled_to_the_machine() -> None:
    assert node_resources("m5.xlarge") == (12288, 4)
    assert node_resources("c7g.2xlarge") == (12288, 8)
    assert node_resources("r7g.xlarge") == (24576, 4)
    assert memory_scale(["m5.xlarge", "m5.xlarge"], 24576) == 0.5
    assert memory_scale(["m5.xlarge"], 10**6) == 1.0


def test_executors_are_scaled_like_their_nodes() -> None:
    given = ["--executor-memory", "4g", "--conf", "spark.executor.memoryOverhead=1g", "--conf", "spark.x=4g", "main.py"]
    assert rewrite_arguments(given, "yarn", "2g", "/py", "/j", 0.25)[:6] == [
        *("--executor-memory", "1024m", "--conf", "spark.executor.memoryOverhead=256m", "--conf", "spark.x=4g")
    ]
