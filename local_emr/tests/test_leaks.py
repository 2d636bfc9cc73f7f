"""20 clusters and 200 steps go through it: nothing may stay."""

import gc
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from emr_client import Emr, client, step, wait_for

from local_emr import LocalEmr, Timing

CLUSTERS, STEPS_EACH = 20, 10


def held() -> tuple[int, int, int]:
    """Threads, file descriptors and child processes of this process."""
    gc.collect()
    process = psutil.Process()
    return threading.active_count(), process.num_fds(), len(process.children(recursive=True))


def no_more(after: tuple[int, int, int], before: tuple[int, int, int]) -> bool:
    """Each by itself: one thread less does not make up for a process more, as it would between tuples."""
    return all(now <= then for now, then in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("after", "fine"), [((9, 30, 2), True), ((8, 29, 1), True), ((8, 31, 2), False), ((8, 30, 3), False)]
)
def test_fewer_threads_do_not_hide_a_process(after: tuple[int, int, int], *, fine: bool) -> None:
    assert no_more(after, (9, 30, 2)) is fine


def test_nothing_leaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timing = Timing(starting=0.2, bootstrapping=0.1, terminating=0.1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LocalEmr(timing=timing) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        api = Emr(client(aws, "emr"))
        s3 = client(aws, "s3")
        s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        api.ended(*_cluster_with_step(api))  # what is made once is made now
        wait_for(lambda: not _alive(api))
        before = held()
        began = time.monotonic()

        clusters = {}
        for number in range(CLUSTERS):
            cluster = api.create(
                Name=f"cluster {number}", StepConcurrencyLevel=1 + number % 3, Instances={"TerminationProtected": False}
            )
            commands = [
                ("true",),
                ("bash", "-c", "sleep 0.05 & exit 0"),
                ("bash", "-c", "exit 1"),
                ("no-such-program",),
            ]
            steps = [step(*commands[index % 4]) for index in range(STEPS_EACH)]
            clusters[cluster] = api.add(cluster, *steps)
        states = [state for cluster, steps in clusters.items() for state in api.ended(cluster, steps, seconds=120)]
        for first in range(0, CLUSTERS, 10):
            api.client.terminate_job_flows(JobFlowIds=list(clusters)[first : first + 10])
        wait_for(lambda: not _alive(api), 60)
        seconds = time.monotonic() - began

        assert len(states) == CLUSTERS * STEPS_EACH
        assert states.count("COMPLETED") == CLUSTERS * 6  # of ten: 3 x true, 3 x bash; 2 x exit 1, 2 x nothing to run
        assert states.count("FAILED") == CLUSTERS * 4
        after = wait_for(lambda: no_more((now := held()), before) and now, 20)
        logs = sum(page["KeyCount"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="data"))
        assert logs == 3 * (CLUSTERS * STEPS_EACH + 1)
    assert list(tmp_path.iterdir()) == []
    held_text = f"threads, descriptors, children: {before} before, {after} after"
    print(f"\n{len(states)} steps on {CLUSTERS} clusters in {seconds:.1f} s; {held_text}")  # noqa: T201 - for pytest -s


def _cluster_with_step(api: Emr) -> tuple[str, list[str]]:
    cluster = api.create(Instances={"KeepJobFlowAliveWhenNoSteps": False}, Steps=[step("true")])
    return cluster, [found["Id"] for found in api.client.list_steps(ClusterId=cluster)["Steps"]]


def _alive(api: Emr) -> list[str]:
    states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]
    return [found["Id"] for found in api.client.list_clusters(ClusterStates=states)["Clusters"]]
