"""The pipeline's jobs on two YARN nodes, while they lose what a cluster can lose.

Each loss comes while tasks are at work: their images are held back until it has come, however long that takes. Each ends
with every image exactly once in features and rejects, and with no file that cannot be read.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.yarn.conftest import BUCKET, COUNTS, HELD, SPECULATION, Yarn, alive, image, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# One image is not good for the process that decodes it: it takes memory for as long as it is given some, and keeps it. A module
# of the name `sitecustomize` is run when an interpreter starts.
SICK_DECODER = """
import time
from spark_jobs.extraction import images

def decode(content, size, decode=images.decode):
    if content.endswith(b"greedy"):
        taken = []
        while len(taken) < 64:
            taken.append(b"x" * 2**27)
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
def sick(yarn: Yarn, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URI of a sick image and that of the decoder on which it acts. It gets well after the test."""
    number = COUNTS[HELD] - 20  # in the last chunk
    key = f"images/{HELD}/{number}.png"
    decoder = yarn.upload_sitecustomize(tmp_path, SICK_DECODER)
    yarn.s3.put_object(Bucket=BUCKET, Key=key, Body=image(number) + b"greedy")
    yield f"s3://{BUCKET}/{key}", decoder
    yarn.s3.put_object(Bucket=BUCKET, Key=key, Body=image(number))


def test_the_driver_is_killed_and_in_the_repeated_step_a_straggler_writes_after_its_end(
    yarn: Yarn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeated step's first PUT of a chunk is on its way until the step is over; the copy's on the other node is not."""
    yarn.hold()
    step = yarn.extract("driver")
    executors = yarn.executors_at_work(step, "driver")
    processes = [process for executor in executors for process in [executor, *executor.children(recursive=True)]]
    yarn.fault(fault="step-kill", times=1)
    assert step.ended() == "FAILED"
    wait_for(lambda: not any(map(alive, processes)), "the executors to follow their driver")
    done = yarn.chunks("driver")
    yarn.release()
    yarn.hold_first_put("driver/features/*/part-*")
    step = yarn.extract("driver", SPECULATION)

    assert step.ended() == "COMPLETED", step.logs()
    assert int(re.search(r"reused_chunks=(\d+)", step.logs())[1]) == len(done)  # type: ignore[index]
    chunks = yarn.chunks("driver")
    assert done.items() <= chunks.items()
    yarn.assert_exactly_once("driver")
    assert yarn.release_put(monkeypatch) == 412, "the straggler's chunk is not taken: there is one"
    assert yarn.chunks("driver") == chunks


def test_reduction_loses_its_driver_and_in_the_repeated_step_a_straggler_writes_after_its_end(
    yarn: Yarn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As above; of vectors, every attempt writes the same, and the last one stays."""
    yarn.extracted("driver")
    reduction, _ = yarn.changed_reduction(tmp_path)
    step, executors = yarn.held_reduction("driver", 2, None, reduction)
    yarn.fault(fault="step-kill", times=1)
    assert step.ended() == "FAILED"
    wait_for(lambda: not any(map(alive, executors)), "the executors to follow their driver")
    yarn.release()
    yarn.hold_first_put("driver/results/*/pca/part-00002*")
    step = yarn.reduce("driver", SPECULATION, reduction)

    yarn.assert_reduced("driver", step)
    assert yarn.release_put(monkeypatch) == 200
    yarn.assert_reduced("driver", step)


def test_an_executor_is_killed_and_an_image_takes_its_container_over_the_memory_limit(
    yarn: Yarn, sick: tuple[str, str]
) -> None:
    """The image costs itself alone."""
    path, decoder = sick
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


def test_reduction_loses_both_executors_and_a_task_takes_its_container_over_the_memory_limit(
    yarn: Yarn, tmp_path: Path
) -> None:
    """Each task's file of vectors is held back until both are dead; then one task's second attempt takes memory without end."""
    yarn.extracted("executor")
    reduction, greedy = yarn.changed_reduction(tmp_path, 2, 1)
    step, executors = yarn.held_reduction("executor", 4, None, reduction)
    for executor in executors:
        executor.kill()
    wait_for(lambda: not any(map(alive, executors)), "both executors to die")
    yarn.release()

    yarn.assert_reduced("executor", step)
    assert greedy.exists()
    assert step.logs().count("Lost executor") >= 3
    assert "Container killed by YARN for exceeding physical memory limits" in step.logs()


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


def test_a_node_is_lost_while_the_reduction_writes(yarn: Yarn, tmp_path: Path) -> None:
    """On a cluster of its own: the first one has lost a node. Whichever dies has tasks."""
    yarn.create_cluster()
    yarn.wait_for_cluster()
    yarn.extracted("node")
    reduction, _ = yarn.changed_reduction(tmp_path)
    step, executors = yarn.held_reduction("node", 4, None, reduction)
    yarn.fault(fault="kill-node", times=1)
    wait_for(lambda: not all(map(alive, executors)), "a node to die")
    yarn.release()

    yarn.assert_reduced("node", step)
    assert "Lost executor" in step.logs()
