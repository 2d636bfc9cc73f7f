"""The pipeline's jobs on two YARN nodes, while they lose what a cluster can lose.

Each loss comes while tasks are at work: their images are held back until it has come, however long that takes. Each ends
with every image exactly once in features and rejects, and with no file that cannot be read.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.yarn.conftest import BUCKET, COUNTS, HELD, Yarn, alive, image, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Two images are not good for the process that decodes them. One takes memory for as long as it is given some, and keeps it; the
# other takes for ever, but not in the child process in which a second attempt decodes. A module of this name is run when an
# interpreter starts.
SICK_DECODER = """
import multiprocessing
import time
from pathlib import Path
from spark_jobs.extraction import images

def decode(content, size, decode=images.decode):
    if content.endswith(b"greedy"):
        taken = []
        while len(taken) < 64:
            taken.append(b"x" * 2**27)
        time.sleep(3600)
    if content.endswith(b"slow") and multiprocessing.parent_process() is None:
        Path({slow!r}).touch()
        time.sleep(3600)
    return decode(content, size)

images.decode = decode
"""


@pytest.fixture(scope="module", autouse=True)
def _attempts_that_were_given_up_change_nothing(yarn: Yarn) -> Iterator[None]:
    """Look at all that was whole again once the last test is over: such attempts live on for a while."""
    yield
    for name in sorted(yarn.whole):
        yarn.assert_exactly_once(name)


@pytest.fixture
def sick(yarn: Yarn, tmp_path: Path) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Make an image sick; return its URI and that of the decoder on which it acts. It gets well after the test."""
    number = COUNTS[HELD] - 20  # in the last chunk
    key = f"images/{HELD}/{number}.png"

    def change(how: str) -> tuple[str, str]:
        decoder = yarn.upload_sitecustomize(tmp_path, SICK_DECODER.format(slow=str(tmp_path / "slow")))
        yarn.s3.put_object(Bucket=BUCKET, Key=key, Body=image(number) + how.encode())
        return f"s3://{BUCKET}/{key}", decoder

    yield change
    yarn.s3.put_object(Bucket=BUCKET, Key=key, Body=image(number))


def test_the_driver_is_killed_and_in_the_repeated_step_a_straggler_is_overtaken(
    yarn: Yarn, sick: Callable[[str], tuple[str, str]], tmp_path: Path
) -> None:
    """The repeated step's first attempt at the last chunk never ends; its copy on the other node does."""
    _, decoder = sick("slow")
    yarn.hold()
    step = yarn.extract("driver")
    executors = yarn.executors_at_work(step, "driver")
    processes = [process for executor in executors for process in [executor, *executor.children(recursive=True)]]
    yarn.fault(fault="step-kill", times=1)
    assert step.ended() == "FAILED"
    wait_for(lambda: not any(map(alive, processes)), "the executors to follow their driver")
    done = yarn.chunks("driver")
    yarn.release()
    conf = {"spark.speculation": "true", "spark.speculation.quantile": "0.5", "spark.speculation.multiplier": "1.1"}
    step = yarn.extract("driver", conf, decoder)

    assert step.ended() == "COMPLETED", step.logs()
    assert (tmp_path / "slow").exists()
    assert int(re.search(r"reused_chunks=(\d+)", step.logs())[1]) == len(done)  # type: ignore[index]
    assert done.items() <= yarn.chunks("driver").items()
    yarn.assert_exactly_once("driver")


def test_an_executor_is_killed_and_an_image_takes_its_container_over_the_memory_limit(
    yarn: Yarn, sick: Callable[[str], tuple[str, str]]
) -> None:
    """The image costs itself alone."""
    path, decoder = sick("greedy")
    yarn.hold()
    step = yarn.extract("executor", py_files=decoder)
    executors = yarn.executors_at_work(step, "executor")
    workers = {executor: executor.children(recursive=True) for executor in executors}
    yarn.fault(fault="kill-executor", times=1)
    [lost] = wait_for(lambda: [executor for executor in executors if not alive(executor)], "an executor to die")
    wait_for(lambda: not any(map(alive, workers[lost])), "its Python workers to die")
    yarn.release()

    assert step.ended() == "COMPLETED", step.logs()
    assert step.logs().count("Lost executor") >= 2
    assert "Container killed by YARN for exceeding physical memory limits" in step.logs()
    rejects = yarn.assert_exactly_once("executor")
    assert {reject["reason"] for reject in rejects} == {"empty", "crashed_worker"}
    assert [reject["path"] for reject in rejects if reject["reason"] == "crashed_worker"] == [path]


def test_reduction_loses_both_executors_in_mid_pass_and_passes_the_checks(yarn: Yarn) -> None:
    """Whichever of them has the task: its file of vectors is held back until both are dead."""
    if not yarn.chunks("executor"):
        assert yarn.extract("executor").ended() == "COMPLETED"
    step, executors = yarn.held_reduction("executor")
    for executor in executors:
        executor.kill()
    wait_for(lambda: not any(map(alive, executors)), "both executors to die")
    yarn.release()

    yarn.assert_reduced("executor", step)
    assert "Lost task" in step.logs()


def test_a_node_is_lost(yarn: Yarn) -> None:
    yarn.hold()
    step = yarn.extract("node")
    executors = yarn.executors_at_work(step, "node")
    yarn.fault(fault="kill-node", times=1)
    wait_for(lambda: not all(map(alive, executors)), "a node to die")
    yarn.release()

    assert step.ended() == "COMPLETED", step.logs()
    assert "Lost executor" in step.logs()
    yarn.assert_exactly_once("node")
