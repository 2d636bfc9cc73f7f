"""Steps on a real YARN: a ResourceManager and a NodeManager per core instance."""

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import requests
from emr_client import GROUPS, Emr, client, log, step, wait_for
from program import Program, still_there

from local_emr import LocalEmr, Spark
from local_emr.emr.settings import SparkNotFoundError
from local_emr.emr.spark_submit import rewrite_arguments
from local_emr.emr.yarn import daemons
from local_emr.emr.yarn.capacity import machine_memory, memory_scale, node_resources
from local_emr.emr.yarn.daemons import Yarn
from local_emr.emr.yarn.worker import PYTHON, Worker
from local_emr.pytest_plugin import QUICK

# Four tasks, of which each tells where it is and waits until it may go on: whatever happens meanwhile hits tasks at work.
# The first attempt at `greedy` takes more memory than its container has, and keeps it.
JOB = """
import os
import sys
import time
from pathlib import Path
from pyspark import TaskContext
from pyspark.sql import SparkSession

folder, greedy = Path(sys.argv[1]), int(sys.argv[2])


def hold(batches):
    task = TaskContext.get()
    mark = folder / f"{task.partitionId()}-{task.attemptNumber()}"
    where = [os.environ["CONTAINER_ID"], os.environ["NM_HOST"], str(os.getpid()), sys.prefix, os.environ["HOME"]]
    mark.with_suffix(".part").write_text(" ".join(where))
    mark.with_suffix(".part").rename(mark)
    taken = []
    while not (folder / "go").exists():
        if mark.name == f"{greedy}-0" and len(taken) < 40:
            taken.append(b"x" * 2**27)
        time.sleep(0.05)
    yield from batches


spark = SparkSession.builder.getOrCreate()
print("rows", spark.range(0, 8, numPartitions=4).mapInArrow(hold, "id long").count())
"""
IDLE_JOB = """
import sys
import time
from pathlib import Path
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
Path(sys.argv[1], "up").touch()
time.sleep(4)
spark.stop()
Path(sys.argv[1], "stopped").touch()
time.sleep(120)
"""
# By vcores no node has room for two executors of two cores. (By memory alone, Hadoop's default, the scheduler packs them on one.)
CONFIGURATIONS = [
    {"Classification": "yarn-site", "Properties": {"yarn.nodemanager.resource.cpu-vcores": "3"}},
    {
        "Classification": "capacity-scheduler",
        "Properties": {
            "yarn.scheduler.capacity.root.queues": "default,fruits",
            "yarn.scheduler.capacity.root.default.capacity": "0",
            "yarn.scheduler.capacity.root.fruits.capacity": "100",
            "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
        },
    },
    {
        "Classification": "spark-defaults",
        "Properties": {
            "spark.yarn.queue": "fruits",
            "spark.executor.cores": "2",
            "spark.executor.instances": "2",
            "spark.executor.memory": "3g",
            "spark.executor.memoryOverhead": "2g",
        },
    },
]
INSTANCES = {"InstanceGroups": [GROUPS[0], GROUPS[1] | {"InstanceType": "m5.xlarge"}]}
ON_SPOT = {
    "InstanceGroups": [
        GROUPS[0],
        {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 1},
        {"InstanceRole": "TASK", "InstanceType": "m5.xlarge", "InstanceCount": 1, "Market": "SPOT"},
    ]
}
SECONDS = 240  # what a busy machine may take for what takes ten seconds
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalEmr]:
    spark = Spark()
    try:
        spark.require_yarn()
    except SparkNotFoundError as error:
        pytest.skip(str(error))
    if machine_memory() < 12_000:
        pytest.skip("less than 12 GB of memory: containers of a share of it are too small for Spark")
    with LocalEmr(timing=QUICK, yarn=True) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment().items():
            patch.setenv(name, value)
        upload_jobs(client(made, "s3"))
        yield made


def upload_jobs(s3: Any) -> None:
    s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    s3.put_object(Bucket="data", Key="job.py", Body=JOB.encode())
    s3.put_object(Bucket="data", Key="idle.py", Body=IDLE_JOB.encode())


@pytest.fixture(autouse=True)
def no_fault_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The endpoint is that of all tests here: a rule that a failed test has left would hit the next one's step."""
    shared = request.getfixturevalue("aws") if "aws" in request.fixturenames else None
    yield
    if shared:
        shared.faults.clear()


@pytest.fixture(scope="module")
def emr(aws: LocalEmr) -> Emr:
    return Emr(client(aws, "emr"))


def create_cluster(emr: Emr, instances: dict[str, Any] = INSTANCES) -> str:
    created = emr.create(Configurations=CONFIGURATIONS, Instances=instances)
    status = emr.until(created, "WAITING", "TERMINATED_WITH_ERRORS", seconds=SECONDS + 60)
    assert status["State"] == "WAITING", status["StateChangeReason"]["Message"]
    return created


@pytest.fixture(scope="module")
def cluster(emr: Emr) -> str:
    return create_cluster(emr)


@dataclass(frozen=True)
class Held:
    """Where an attempt at a task waits."""

    partition: int
    attempt: int
    container: str
    node: str
    worker: psutil.Process
    python: str
    home: str

    @property
    def application_attempt(self) -> str:
        """`01` for the containers of the first ApplicationMaster."""
        return self.container.split("_")[-2]


class HoldingStep:
    """A step of `JOB`."""

    def __init__(self, emr: Emr, cluster: str, folder: Path, greedy: int = -1) -> None:
        self.emr, self.cluster, self.folder = emr, cluster, folder
        (self.id,) = emr.add(cluster, step("spark-submit", "s3://data/job.py", str(folder), str(greedy)))

    def held(self) -> list[Held]:
        """The attempts that wait now."""
        found = []
        for mark in self.folder.glob("?-*[0-9]"):
            container, node, pid, *folders = mark.read_text().split()
            if psutil.pid_exists(int(pid)):
                partition, attempt = map(int, mark.name.split("-"))
                found.append(Held(partition, attempt, container, node, psutil.Process(int(pid)), *folders))
        return [held for held in found if still_there(held.worker)]

    def until(self, condition: Any) -> list[Held]:
        """What waits, once all four tasks do and the condition holds of them."""

        def found() -> list[Held] | None:
            assert self.emr.states(self.cluster, [self.id]) in (["PENDING"], ["RUNNING"])
            held = self.held()
            return held if {one.partition for one in held} == {0, 1, 2, 3} and condition(held) else None

        return wait_for(found, SECONDS)

    def ended(self) -> tuple[str, str, str]:
        """Let it go on; return its state and what it has written."""
        (self.folder / "go").touch()
        (state,) = self.emr.ended(self.cluster, [self.id], seconds=SECONDS)
        s3 = client_of(self.emr)
        return state, *(log(s3, self.cluster, f"steps/{self.id}/{name}") for name in ("stdout", "stderr"))


def client_of(emr: Emr) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=emr.client.meta.endpoint_url)


def hit(aws: LocalEmr, fault: str) -> None:
    aws.faults.add(fault=fault, times=1)


def yarn(aws: LocalEmr, cluster: str) -> Yarn:
    (found,) = [one._node.yarn for one in aws.emr.registry.lifecycles() if one.cluster.id == cluster]
    return found


def java_of(processes: list[psutil.Process], main_class: str) -> list[psutil.Process]:
    return [process for process in processes if daemons._runs(process, main_class)]


def test_nodes_have_the_size_that_yarn_site_gives_them(aws: LocalEmr, cluster: str) -> None:
    running = yarn(aws, cluster)
    address = running.site["yarn.resourcemanager.webapp.address"]
    nodes = requests.get(f"http://{address}/ws/v1/cluster/nodes", timeout=30).json()["nodes"]
    sizes = [(node["totalResource"]["vCores"], node["totalResource"]["resource"]["memory"]) for node in nodes]
    assert sizes == [(3, int(12288 * running.scale))] * 2


def test_a_step_runs_on_two_nodes_and_a_container_over_its_memory_limit_is_killed(
    emr: Emr, cluster: str, tmp_path: Path
) -> None:
    holding = HoldingStep(emr, cluster, tmp_path, greedy=2)
    held = holding.until(lambda held: any((one.partition, one.attempt) == (2, 1) for one in held))
    assert len({one.container for one in held}) == 2
    assert len({one.node for one in held}) == 2
    assert len({one.python for one in held}) == len({one.home for one in held}) == 2
    state, stdout, stderr = holding.ended()
    assert (state, "rows 8" in stdout) == ("COMPLETED", True), stderr
    assert "Container killed by YARN for exceeding physical memory limits" in stderr
    assert "queue: fruits" in stderr


def test_a_step_that_is_cancelled_leaves_no_container(aws: LocalEmr, emr: Emr, cluster: str, tmp_path: Path) -> None:
    holding = HoldingStep(emr, cluster, tmp_path)
    held = holding.until(lambda held: len({one.container for one in held}) == 2)
    emr.client.cancel_steps(ClusterId=cluster, StepIds=[holding.id], StepCancellationOption="SEND_INTERRUPT")

    assert emr.ended(cluster, [holding.id], seconds=SECONDS) == ["CANCELLED"]
    wait_for(lambda: not any(still_there(one.worker) for one in held), SECONDS)
    masters = (daemons.EXECUTOR, daemons.APPLICATION_MASTER)
    wait_for(lambda: not any(java_of(yarn(aws, cluster).containers(), name) for name in masters), SECONDS)


def test_a_spot_instance_is_taken_with_its_node_and_the_step_goes_on(aws: LocalEmr, emr: Emr, tmp_path: Path) -> None:
    on_spot = create_cluster(emr, ON_SPOT)
    holding = HoldingStep(emr, on_spot, tmp_path)
    first = holding.until(lambda held: len({one.node for one in held}) == 2)
    hit(aws, "spot-interruption")
    wait_for(lambda: not all(still_there(one.worker) for one in first), SECONDS)
    assert len({one.node for one in first if not still_there(one.worker)}) == 1

    instances = emr.client.list_instances(ClusterId=on_spot)["Instances"]
    (taken,) = [one["Status"] for one in instances if one["Status"]["State"] == "TERMINATED"]
    assert "Spot Instance interruption" in taken["StateChangeReason"]["Message"]
    assert {one["Market"] for one in instances if one["Status"] == taken} == {"SPOT"}
    state, stdout, stderr = holding.ended()
    assert (state, "rows 8" in stdout) == ("COMPLETED", True), stderr
    emr.client.terminate_job_flows(JobFlowIds=[on_spot])
    emr.until(on_spot, "TERMINATED", seconds=SECONDS)


def test_spark_survives_the_loss_of_an_executor_of_its_application_master_and_of_a_node(
    aws: LocalEmr, emr: Emr, cluster: str, tmp_path: Path
) -> None:
    holding = HoldingStep(emr, cluster, tmp_path)
    first = holding.until(lambda held: len({one.container for one in held}) == 2)
    executors = java_of(yarn(aws, cluster).containers(), daemons.EXECUTOR)
    assert len(executors) == 2

    hit(aws, "kill-executor")
    wait_for(lambda: [still_there(one) for one in executors].count(True) == 1, SECONDS)
    (lost,) = wait_for(lambda: {one.container for one in first if not still_there(one.worker)}, SECONDS)
    second = holding.until(lambda held: len({one.container for one in held}) == 2)
    assert lost not in {one.container for one in second}
    assert len({one.container for one in first} & {one.container for one in second}) == 1

    (master,) = java_of(yarn(aws, cluster).containers(), daemons.APPLICATION_MASTER)
    hit(aws, "kill-application-master")
    wait_for(lambda: not still_there(master), SECONDS)
    third = holding.until(lambda held: {one.application_attempt for one in held} == {"02"})
    assert not any(still_there(one.worker) for one in second)

    hit(aws, "kill-node")
    wait_for(lambda: not all(still_there(one.worker) for one in third), SECONDS)
    assert len({one.node for one in third if not still_there(one.worker)}) == 1
    wait_for(lambda: len(java_of(yarn(aws, cluster).containers(), daemons.NODE_MANAGER)) == 1, SECONDS)

    state, stdout, stderr = holding.ended()
    assert (state, "rows 8" in stdout) == ("COMPLETED", True), stderr
    assert stderr.count("Lost executor") >= 2
    assert [rule["hits"] for rule in aws.faults.list()] == [1, 1, 1]


def test_a_cluster_is_idle_once_its_application_has_ended_and_its_yarn_ends_with_it(
    aws: LocalEmr, emr: Emr, tmp_path: Path
) -> None:
    others = set(psutil.Process().children(recursive=True))
    cluster = create_cluster(emr)  # of its own: it ends
    # Spark waits half a minute for executors that do not come: a slow machine's second one.
    one = ("--conf", "spark.executor.instances=1")
    (step_id,) = emr.add(cluster, step("spark-submit", *one, "s3://data/idle.py", str(tmp_path)))
    wait_for((tmp_path / "up").exists, SECONDS)
    processes = set(psutil.Process().children(recursive=True)) - others
    policy = {"IdleTimeout": 100}  # 1 s here
    emr.client.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy=policy)
    status = emr.until(cluster, "TERMINATED", seconds=SECONDS)
    assert "auto-termination policy" in status["StateChangeReason"]["Message"]
    assert emr.states(cluster, [step_id]) == ["CANCELLED"]
    assert (tmp_path / "stopped").exists()
    mine = [one for one in processes if still_there(one) and "java" in one.name()]
    assert mine == []


def test_sigkill_of_the_server_leaves_no_container(aws: LocalEmr, tmp_path: Path) -> None:
    server = Program("--yarn")
    try:
        upload_jobs(server.client("s3"))
        emr = Emr(server.client("emr"))
        holding = HoldingStep(emr, create_cluster(emr), tmp_path)
        held = holding.until(lambda held: len({one.container for one in held}) == 2)
        processes = psutil.Process(server.process.pid).children(recursive=True)
        assert {one.worker for one in held} < set(processes)
    finally:
        server.end(signal.SIGKILL)
    wait_for(lambda: not any(map(still_there, processes)), SECONDS)
    marks = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in (one.info["cmdline"] or [])]
    assert marks == []


def test_a_yarn_that_does_not_start_says_what_to_look_at(aws: LocalEmr, emr: Emr) -> None:
    broken = {"Classification": "yarn-site", "Properties": {"yarn.scheduler.minimum-allocation-mb": "x"}}
    created = emr.create(Configurations=[broken])
    status = emr.until(created, "TERMINATED_WITH_ERRORS", seconds=SECONDS)
    message = status["StateChangeReason"]["Message"]
    assert re.search(r"YARN's \S+ ended with exit code \d+: (Caused by: )?java.lang.NumberFormatException: ", message)
    assert Path(message.split("(")[-1].rstrip(")")).is_file()


def test_nodes_are_counted_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "ws/v1/cluster").mkdir(parents=True)
    (tmp_path / "ws/v1/cluster/metrics").write_text('{"activeNodes": 2}')
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        counted = daemons.active_nodes(f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert counted == 2


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    (tmp_path / "home/.aws").mkdir(parents=True)
    (tmp_path / "home/.aws/credentials").write_text("[default]\n")
    made = Worker(tmp_path / "node", Spark(), tmp_path / "home")
    try:
        made.create()
    except SparkNotFoundError as error:
        pytest.skip(str(error))
    return made


def test_an_environment_that_cannot_be_made_says_why(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/venv").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"-m venv .*other/venv failed: .*directory"):
        Worker(tmp_path / "other", Spark(), worker.home).create()


def imports_pyspark(worker: Worker) -> bool:
    command = ["/usr/bin/env", PYTHON, "-c", "import pyspark"]
    return subprocess.run(command, env={"PATH": worker.path}, capture_output=True, check=False).returncode == 0


def test_a_node_can_lose_its_packages(worker: Worker) -> None:
    assert imports_pyspark(worker)
    worker.lose_packages()
    assert not imports_pyspark(worker)


def test_a_node_can_lose_its_credentials_and_no_other_does(worker: Worker, tmp_path: Path) -> None:
    assert (worker.home / ".aws/credentials").exists()
    worker.lose_credentials()
    assert not (worker.home / ".aws/credentials").exists()
    assert (tmp_path / "home/.aws/credentials").exists()


def test_memory_is_that_of_emr_scaled_to_the_machine() -> None:
    sizes = {
        "m5.xlarge": (12288, 4), "m5.2xlarge": (24576, 8), "m5.4xlarge": (57344, 16),
        "c5.xlarge": (6144, 4), "c5.2xlarge": (12288, 8), "r5.xlarge": (24576, 4), "r5.2xlarge": (57344, 8),
        "m7a.4xlarge": (57344, 16), "c7g.2xlarge": (12288, 8), "r7g.4xlarge": (122880, 16),
    }  # fmt: skip
    assert {name: node_resources(name) for name in sizes} == sizes
    assert memory_scale(["m5.xlarge", "m5.xlarge"], 24576) == 0.5
    assert memory_scale(["m5.xlarge"], 10**6) == 1.0


def test_executors_are_scaled_like_their_nodes() -> None:
    given = ["--executor-memory", "4g", "--conf", "spark.executor.memoryOverhead=1g", "--conf", "spark.x=4g", "main.py"]
    assert rewrite_arguments(given, "yarn", "2g", "/py", "/j", 0.25)[:6] == [
        *("--executor-memory", "1024m", "--conf", "spark.executor.memoryOverhead=256m", "--conf", "spark.x=4g")
    ]
