"""Nodes that are there and cannot work, and what else a reduction may lose: with the DAG's own shape of executors.

An executor for each node, of four workers, as on EMR's m5.xlarge; the memory of both is scaled to this machine.
"""

import time
from pathlib import Path

import pytest

from tests.yarn.conftest import Yarn, alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

EXECUTORS: dict[str, str] = {}  # the DAG's own
# No instance metadata service answers here; with the DAG's patience each worker would ask it for half a minute.
IMPATIENT = {f"spark.executorEnv.AWS_METADATA_SERVICE_{name}": "1" for name in ("NUM_ATTEMPTS", "TIMEOUT")}
ENOUGH_FOR_FOUR_ATTEMPTS = 15  # seconds; each fails after two
NO_CREDENTIALS = "no AWS credentials on this node"

# A task for every worker, so that both nodes have some of few images; and first attempts that do not end by themselves.
CHANGED_REDUCTION = """
import time
from pathlib import Path
from pyspark import TaskContext
from spark_jobs.reduction import distributed

distributed.LEAST_ROWS = distributed.LEAST_VECTORS = 16

def encode(rows, encode=distributed.encode):
    task = TaskContext.get()
    if task.attemptNumber() == 0 and task.partitionId() == {number}:
        Path({mark!r}).touch()
        taken = []
        while {greedy} and len(taken) < 64:
            taken.append(b"x" * 2**27)
        time.sleep(3600)
    return encode(rows)

distributed.encode = encode
"""


def changed(yarn: Yarn, folder: Path, number: int = -1, *, greedy: bool = False) -> tuple[str, Path]:
    """Return the URI of the changed reduction, and the file that the first attempt at a task leaves when it hangs."""
    mark = folder / "hangs"
    code = CHANGED_REDUCTION.format(number=number, mark=str(mark), greedy=greedy)
    return yarn.upload_sitecustomize(folder, code), mark


def extracted(yarn: Yarn, name: str) -> None:
    """Make sure that a run has features."""
    if not yarn.chunks(name):
        step = yarn.extract(name)
        assert step.ended() == "COMPLETED", step.logs()


def test_extraction_loses_its_application_master_in_mid_pass(yarn: Yarn) -> None:
    """All executors go with it, and come with the next one."""
    yarn.hold()
    step = yarn.extract("master")
    executors = yarn.executors_at_work(step, "master")
    yarn.fault(fault="kill-application-master", times=1)
    wait_for(lambda: not any(map(alive, executors)), "the executors to follow their master")
    yarn.release()

    assert step.ended() == "COMPLETED", step.logs()
    yarn.assert_exactly_once("master")


def test_reduction_loses_its_application_master(yarn: Yarn) -> None:
    extracted(yarn, "master")
    step, executors = yarn.held_reduction("master")
    yarn.fault(fault="kill-application-master", times=1)
    wait_for(lambda: not any(map(alive, executors)), "the executors to follow their master")
    yarn.release()

    yarn.assert_reduced("master", step)


def test_a_task_of_the_reduction_takes_its_container_over_the_memory_limit(yarn: Yarn, tmp_path: Path) -> None:
    extracted(yarn, "master")
    reduction, hangs = changed(yarn, tmp_path, 2, greedy=True)
    step = yarn.reduce("master", py_files=reduction)

    yarn.assert_reduced("master", step)
    assert hangs.exists()
    assert "Container killed by YARN for exceeding physical memory limits" in step.logs()


def test_a_straggler_of_the_reduction_is_overtaken(yarn: Yarn, tmp_path: Path) -> None:
    extracted(yarn, "master")
    reduction, hangs = changed(yarn, tmp_path, 2)
    conf = {"spark.speculation": "true", "spark.speculation.quantile": "0.5", "spark.speculation.multiplier": "1.1"}
    step = yarn.reduce("master", conf, reduction)

    yarn.assert_reduced("master", step)
    assert hangs.exists()


def test_a_node_without_credentials_leaves_the_extraction_to_the_other_and_rejects_nothing(yarn: Yarn) -> None:
    yarn.fault(fault="node-without-credentials", times=1)
    step = yarn.extract("credentials", IMPATIENT)

    assert step.ended() == "COMPLETED", step.logs()
    assert NO_CREDENTIALS in step.logs()
    assert {reject["reason"] for reject in yarn.assert_exactly_once("credentials")} == {"empty"}


def test_a_node_without_credentials_leaves_the_reduction_to_the_other(yarn: Yarn, tmp_path: Path) -> None:
    """Also while the other has no slot free, so that whatever is tried again comes back to the bad one."""
    extracted(yarn, "master")
    yarn.fault(fault="node-without-credentials", times=1)
    reduction, _ = changed(yarn, tmp_path)
    step, _ = yarn.held_reduction("master", 4, IMPATIENT, reduction)
    time.sleep(ENOUGH_FOR_FOUR_ATTEMPTS)
    yarn.release()

    yarn.assert_reduced("master", step)
    assert NO_CREDENTIALS in step.logs()


def test_a_node_without_packages_leaves_the_work_to_the_other(yarn: Yarn) -> None:
    yarn.fault(fault="node-without-packages", times=1)
    step = yarn.extract("packages")

    assert step.ended() == "COMPLETED", step.logs()
    assert "ModuleNotFoundError: No module named" in step.logs()
    yarn.assert_exactly_once("packages")


def test_a_node_is_lost_while_the_reduction_writes(yarn: Yarn) -> None:
    """On a cluster of its own: the other node of the first one is bad by now."""
    yarn.create_cluster()
    yarn.wait_for_cluster()
    extracted(yarn, "master")
    step, executors = yarn.held_reduction("master")
    yarn.fault(fault="kill-node", times=1)
    wait_for(lambda: not all(map(alive, executors)), "a node to die")
    yarn.release()

    yarn.assert_reduced("master", step)
