"""Nodes that are there and cannot work, and masters that are lost: with the DAG's own shape of executors.

An executor for each node, of four workers, as on EMR's m5.xlarge; the memory of both is scaled to this machine.
"""

import re
import time
from pathlib import Path

import pytest

from tests.yarn.conftest import Yarn, alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

# On the two bad nodes of three each task fails; on the good one the first ones take their time.
TWO_BAD_NODES = """
import os
import time
from spark_jobs.errors import JobError
from spark_jobs.extraction import chunks

def read_chunk(chunk, job, read_chunk=chunks.read_chunk):
    if os.environ["NM_HOST"] in ("127.0.0.2", "127.0.0.3"):
        raise JobError(f"a bad node: {{time.time_ns()}}")  # Spark's log leaves out what it has said before
    time.sleep({seconds})
    return read_chunk(chunk, job)

chunks.read_chunk = read_chunk
"""

EXECUTORS: dict[str, str] = {}  # the DAG's own
# No instance metadata service answers here; with the DAG's patience each worker would ask it for half a minute.
IMPATIENT = {f"spark.executorEnv.AWS_METADATA_SERVICE_{name}": "1" for name in ("NUM_ATTEMPTS", "TIMEOUT")}
ENOUGH_FOR_FOUR_ATTEMPTS = 15  # seconds; each fails after two
NO_CREDENTIALS = "no AWS credentials on this node"
NOWHERE = {"spark.executorEnv.AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}


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
    yarn.extracted("master")
    step, executors = yarn.held_reduction("master")
    yarn.fault(fault="kill-application-master", times=1)
    wait_for(lambda: not any(map(alive, executors)), "the executors to follow their master")
    yarn.release()

    yarn.assert_reduced("master", step)


def test_without_credentials_on_any_node_the_step_ends_early_with_the_cause(yarn: Yarn) -> None:
    """Once each node has failed a task twice, and Spark has waited its two minutes for another node."""
    step = yarn.extract("nowhere", IMPATIENT | NOWHERE)

    assert step.ended() == "FAILED"
    [error] = [line for line in step.logs().splitlines() if line.startswith("error: ")]
    assert NO_CREDENTIALS in error
    assert {int(number) for number in re.findall(r"Lost task \d+\.(\d+) ", step.logs())} <= {0, 1, 2, 3}
    assert yarn.chunks("nowhere") == {}


def test_a_node_without_credentials_leaves_the_extraction_to_the_other_and_rejects_nothing(yarn: Yarn) -> None:
    yarn.fault(fault="node-without-credentials", times=1)
    step = yarn.extract("credentials", IMPATIENT)

    assert step.ended() == "COMPLETED", step.logs()
    assert NO_CREDENTIALS in step.logs()
    assert {reject["reason"] for reject in yarn.assert_exactly_once("credentials")} == {"empty"}


def test_a_node_without_credentials_leaves_the_reduction_to_the_other(yarn: Yarn, tmp_path: Path) -> None:
    """Also while the other has no slot free, so that whatever is tried again comes back to the bad one."""
    yarn.extracted("master")
    yarn.fault(fault="node-without-credentials", times=1)
    reduction, _ = yarn.changed_reduction(tmp_path)
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


def test_two_bad_nodes_leave_the_work_to_a_third_one(yarn: Yarn, tmp_path: Path) -> None:
    """Each task that they fail, as often as each of them gets it, while the third one has no slot free."""
    yarn.create_cluster(3)
    yarn.wait_for_cluster()
    code = TWO_BAD_NODES.format(seconds=ENOUGH_FOR_FOUR_ATTEMPTS)
    step = yarn.extract("two", py_files=yarn.upload_sitecustomize(tmp_path, code))

    assert step.ended() == "COMPLETED", step.logs()
    assert re.search(r"Lost task \d+\.3 ", step.logs()), "four failures of one task, after which Spark itself gives up"
    yarn.assert_exactly_once("two")
