"""A step is added once; its task's log says how far it is, and why it failed."""

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import structlog.testing
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from botocore.exceptions import ClientError

from emr_step_log import last_lines
from emr_step_operator import EmrStepOperator
from emr_triggers import EmrStepTrigger
from local_emr import LocalEmr


def step(script: str) -> dict[str, Any]:
    return {
        "Name": "extract_features",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", script]},
    }


def add(emr: Any, cluster_id: str, script: str) -> str:
    return emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step(script)])["StepIds"][0]


# What the trigger finds when it runs: Airflow loads plugins twice, so `emr_triggers` may be another module by then.
TRIGGERS = EmrStepTrigger.run.__globals__


def trigger(cluster_id: str, step_id: str, **changes: Any) -> EmrStepTrigger:
    return EmrStepTrigger(
        **{
            "job_flow_id": cluster_id,
            "step_id": step_id,
            "progress_uri": None,
            "poll_interval": 0.1,
            "deadline": time.time() + 60,
            "aws_conn_id": "aws_default",
            "region_name": "eu-west-3",
            **changes,
        }
    )


def event(waiting: EmrStepTrigger) -> dict[str, Any]:
    async def first() -> Any:
        async for one in waiting.run():
            return one.payload
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first())


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def operator(cluster_id: str, script: str, **changes: Any) -> EmrStepOperator:
    return EmrStepOperator(
        **{
            "task_id": "extract_features",
            "job_flow_id": cluster_id,
            "step": step(script),
            "region_name": "eu-west-3",
            "poll_interval": 0.2,
            "step_timeout_hours": 1,
            "cluster_timeout": timedelta(),
            "log_timeout": timedelta(seconds=10),
            "retries": 2,
            **changes,
        }
    )


def run(task: EmrStepOperator, context: Any) -> str:
    """Run the task as Airflow does, through the triggerer; return the step's id."""
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    result = event(deferred.value.trigger)
    task.execute_complete(context, result)
    return result["step_id"]


def step_ids(emr: Any, cluster_id: str) -> list[str]:
    return [summary["Id"] for summary in emr.list_steps(ClusterId=cluster_id)["Steps"]]


@pytest.mark.parametrize(("command", "state"), [("true", "COMPLETED"), ("exit 3", "FAILED")])
def test_the_trigger_ends_with_the_step(emr: Any, cluster_id: str, command: str, state: str) -> None:
    assert event(trigger(cluster_id, add(emr, cluster_id, command)))["state"] == state


def test_the_trigger_keeps_its_deadline(emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 60")

    assert event(trigger(cluster_id, step_id, deadline=time.time() + 0.5))["state"] == "TIMEOUT"


def test_the_trigger_survives_the_way_to_the_triggerer(cluster_id: str) -> None:
    waiting = trigger(cluster_id, "s-1", progress_uri="s3://orchard/p.json")
    path, arguments = waiting.serialize()

    assert path == "emr_triggers.EmrStepTrigger"
    assert EmrStepTrigger(**json.loads(json.dumps(arguments))).serialize() == waiting.serialize()


def test_a_step_that_says_nothing_is_not_silent(emr: Any, cluster_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIGGERS, "SAID_SECONDS", 0.1)
    waiting = trigger(cluster_id, add(emr, cluster_id, "sleep 60"), poll_interval=60)  # one look at EMR, no more

    async def listen(entries: list[Any]) -> None:
        watching = asyncio.ensure_future(anext(waiting.run()))
        while sum("watched for" in entry["event"] for entry in entries) < 3:
            assert not watching.done()
            await asyncio.sleep(0.05)
        watching.cancel()

    with structlog.testing.capture_logs() as entries:
        asyncio.run(asyncio.wait_for(listen(entries), 45))


def test_each_progress_is_logged_once(
    aws: LocalEmr, emr: Any, cluster_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRIGGERS, "SAID_SECONDS", 60)  # after which it would be said again
    s3, over = boto3.client("s3"), tmp_path / "over"
    step_id = add(emr, cluster_id, f"until [ -e {over} ]; do sleep 0.1; done")
    waiting = trigger(cluster_id, step_id, progress_uri="s3://orchard/runs/1/progress.json")
    looks = aws.faults.add(fault="s3-latency", milliseconds=0, method="GET", key="runs/1/progress.json")  # counts them

    def report(entries: list[Any]) -> None:
        try:
            for done in (5, 9):
                message = f"{done} of 9"
                s3.put_object(Bucket="orchard", Key="runs/1/progress.json", Body=json.dumps({"message": message}))
                until(lambda message=message: any(message in entry["event"] for entry in entries))
                before = looks.hits
                until(lambda before=before: looks.hits >= before + 3)  # with nothing new to say
        finally:
            over.touch()

    async def follow(entries: list[Any]) -> None:
        reporting = asyncio.create_task(asyncio.to_thread(report, entries))
        async for _ in waiting.run():
            break
        await reporting

    with structlog.testing.capture_logs() as entries:
        asyncio.run(follow(entries))
    said = [entry["event"] for entry in entries]
    assert [line for line in said if " of 9" in line] == ["extract_features: 5 of 9", "extract_features: 9 of 9"]


def test_it_adds_the_step_and_waits_for_it(emr: Any, cluster_id: str, context: Any) -> None:
    step_id = run(operator(cluster_id, "true"), context)

    assert step_ids(emr, cluster_id) == [step_id]


def test_a_step_with_nothing_to_do_is_skipped(emr: Any, cluster_id: str, context: Any) -> None:
    with pytest.raises(AirflowSkipException, match="there is nothing to do for this step"):
        operator(cluster_id, "true", step={}).execute(context)
    assert step_ids(emr, cluster_id) == []


def test_a_retry_waits_for_the_step_that_is_under_way(emr: Any, cluster_id: str, context: Any, retry: Any) -> None:
    first = add(emr, cluster_id, "sleep 2")

    assert run(operator(cluster_id, "sleep 2"), retry) == first
    assert step_ids(emr, cluster_id) == [first]


def test_a_retry_takes_the_result_of_a_step_that_has_completed(
    emr: Any, cluster_id: str, context: Any, retry: Any
) -> None:
    first = run(operator(cluster_id, "true"), context)

    assert run(operator(cluster_id, "true"), retry) == first


def test_a_cleared_task_repeats_its_work(emr: Any, cluster_id: str, context: Any, cleared: Any) -> None:
    first = run(operator(cluster_id, "true"), context)

    assert run(operator(cluster_id, "true"), cleared) != first
    assert len(step_ids(emr, cluster_id)) == 2


def test_a_step_that_has_failed_is_added_again(emr: Any, cluster_id: str, context: Any, retry: Any) -> None:
    with pytest.raises(AirflowFailException):
        run(operator(cluster_id, "false"), context)

    run(operator(cluster_id, "true"), retry)
    assert len(step_ids(emr, cluster_id)) == 2


def test_a_retry_takes_the_later_of_two_steps(
    emr: Any, cluster_id: str, context: Any, cleared: Any, retry_of_cleared: Any
) -> None:
    """The task was cleared, has begun to repeat its work, and its worker was lost."""
    first = run(operator(cluster_id, "true"), context)
    with pytest.raises(TaskDeferred) as deferred:
        operator(cluster_id, "sleep 3").execute(cleared)

    assert run(operator(cluster_id, "sleep 3"), retry_of_cleared) == deferred.value.trigger.step_id
    assert deferred.value.trigger.step_id != first


def test_a_retry_does_not_take_what_was_completed_before_the_clear(
    emr: Any, cluster_id: str, context: Any, retry_of_cleared: Any
) -> None:
    """The worker of the cleared try was lost before it had added a step."""
    first = run(operator(cluster_id, "true"), context)

    assert run(operator(cluster_id, "true"), retry_of_cleared) != first
    assert len(step_ids(emr, cluster_id)) == 2


def test_the_deadline_counts_from_when_the_step_was_added(emr: Any, cluster_id: str, context: Any, retry: Any) -> None:
    emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    deadlines = []
    for attempt in (context, retry):
        with pytest.raises(TaskDeferred) as deferred:
            operator(cluster_id, "sleep 60").execute(attempt)
        deadlines.append(deferred.value.trigger.deadline)
        time.sleep(0.5)

    assert deadlines[0] == pytest.approx(deadlines[1], abs=0.2)


def test_a_failure_says_what_the_step_said(
    emr: Any, cluster_id: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_CLUSTER_LINK", "http://localhost:5555/{cluster}")
    script = "echo Spark was here >&2; echo 'error: manifest s3://orchard/m: nothing there'; exit 1"

    with pytest.raises(AirflowFailException, match=r"error: manifest s3://orchard/m: nothing there\n") as failure:
        run(operator(cluster_id, script), context)
    step_id = step_ids(emr, cluster_id)[0]
    first, emr_says, log, cluster = str(failure.value).splitlines()
    assert first == f"step extract_features ({step_id}) is FAILED: error: manifest s3://orchard/m: nothing there"
    assert emr_says == "  EMR says: Unknown Error; Spark was here"
    assert log.startswith(f"  log: s3://orchard/logs/{cluster_id}/steps/{step_id}/ ")
    assert cluster == f"  cluster: http://localhost:5555/{cluster_id}"


def test_the_log_is_awaited_by_the_trigger_without_a_worker(
    aws: LocalEmr, emr: Any, cluster_id: str, context: Any
) -> None:
    task = operator(cluster_id, "echo 'error: no more' >&2; exit 1")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    late = aws.faults.add(fault="s3-error", status=404, method="HEAD", key="logs/*", times=3)  # not there yet
    result = event(deferred.value.trigger)

    assert late.hits == 3
    with pytest.raises(AirflowFailException, match="error: no more"):
        task.execute_complete(context, result)


@pytest.mark.parametrize("ends_cluster", [True, "True"])
def test_the_log_is_awaited_without_the_cluster_too(
    aws: LocalEmr, emr: Any, cluster_id: str, context: Any, *, ends_cluster: bool | str
) -> None:
    late = aws.faults.add(fault="s3-error", status=404, method="HEAD", key="logs/*", times=2)
    task = operator(cluster_id, "echo 'error: no more' >&2; exit 1", ends_cluster=ends_cluster)
    with pytest.raises(AirflowFailException, match="error: no more") as failure:
        run(task, context)

    assert late.hits == 2
    state = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["State"]
    assert state in {"TERMINATING", "TERMINATED"}
    assert "user request" not in str(failure.value), "that the cluster was ended is no cause"


def test_a_log_that_never_comes_does_not_hide_the_cause(aws: LocalEmr, emr: Any, cluster_id: str, context: Any) -> None:
    aws.faults.add(fault="s3-error", status=404, method="HEAD", key="logs/*")
    with pytest.raises(AirflowFailException, match="a cause of its own"):
        run(operator(cluster_id, "echo 'a cause of its own' >&2; exit 3", log_timeout=timedelta(seconds=1)), context)


def test_a_lost_cluster_is_named_as_the_cause(emr: Any, cluster_id: str, context: Any) -> None:
    task = operator(cluster_id, "sleep 60")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    with pytest.raises(AirflowFailException, match=r"is CANCELLED: .*the cluster is TERMINATED"):
        task.execute_complete(context, event(deferred.value.trigger))


def test_moments_without_aws_do_not_end_the_watch(aws: LocalEmr, emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 1")
    aws.faults.add(fault="throttle", operation="DescribeStep", share=0.5)
    aws.faults.add(fault="s3-error", status=500)

    watching = trigger(cluster_id, step_id, progress_uri="s3://orchard/runs/1/progress.json")
    assert event(watching)["state"] == "COMPLETED"


@pytest.fixture
def one_attempt(aws: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore repeats nothing."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.mark.usefixtures("one_attempt")
def test_how_long_the_watch_goes_on_without_aws_is_no_matter_of_how_often_it_looks(
    aws: LocalEmr, emr: Any, cluster_id: str
) -> None:
    silence = aws.faults.add(fault="throttle", operation="DescribeStep", times=50)
    watching = trigger(cluster_id, add(emr, cluster_id, "true"), poll_interval=0.01)

    assert event(watching)["state"] == "COMPLETED"
    assert silence.hits == 50


@pytest.mark.usefixtures("one_attempt")
def test_the_watch_ends_when_aws_is_away_for_too_long(
    aws: LocalEmr, emr: Any, cluster_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRIGGERS, "OUTAGE", timedelta(seconds=0.5))
    aws.faults.add(fault="throttle", operation="DescribeStep")
    with pytest.raises(ClientError, match="ThrottlingException"):
        event(trigger(cluster_id, add(emr, cluster_id, "true"), poll_interval=0.05))


@pytest.mark.parametrize("lines", [3, 200_000], ids=["short", "long"])
def test_the_end_of_a_log_is_read_line_by_line(aws: LocalEmr, lines: int) -> None:
    text = "".join(f"{number}{' and so on' * 30}: \xff\r\n" for number in range(lines)).encode("latin-1")
    boto3.client("s3").put_object(Bucket="orchard", Key="stderr.gz", Body=gzip.compress(text, 1))
    tracemalloc.start()
    end = last_lines(S3Hook(region_name="eu-west-3"), "orchard", "stderr.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert end == [f"{number}{' and so on' * 30}: \ufffd" for number in range(max(0, lines - 40), lines)]
    assert peak < 40e6, "the client takes some; the log has 60 MB"


def test_the_cause_survives_a_log_that_cannot_be_read(aws: LocalEmr, emr: Any, cluster_id: str, context: Any) -> None:
    task = operator(cluster_id, "echo 'a cause of its own' >&2; exit 3")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    result = event(deferred.value.trigger)
    aws.faults.add(fault="s3-error", status=500)

    with pytest.raises(AirflowFailException, match=r"is FAILED: .*a cause of its own"):
        task.execute_complete(context, result)


def test_the_cause_survives_half_a_log(emr: Any, cluster_id: str, context: Any) -> None:
    task = operator(cluster_id, "echo 'a cause of its own' >&2; exit 3")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    result = event(deferred.value.trigger)
    key = f"logs/{cluster_id}/steps/{result['step_id']}/stderr.gz"
    boto3.client("s3").put_object(Bucket="orchard", Key=key, Body=gzip.compress(b"nothing\n" * 1000)[:-9])

    with pytest.raises(AirflowFailException, match=r"is FAILED: .*a cause of its own"):
        task.execute_complete(context, result)


def test_a_timeout_is_not_retried(cluster_id: str, context: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"^step s-1 did not finish within 1 h"):
        operator(cluster_id, "true").execute_complete(
            context, {"job_flow_id": cluster_id, "step_id": "s-1", "state": "TIMEOUT"}
        )


@pytest.mark.parametrize(
    ("script", "meaning"),
    [
        ("kill -9 $$", "exit code 137: the driver was killed, most likely because the primary node ran out of memory"),
        ("exec timeout 0.1 sleep 60", "exit code 124: the step did not finish within its time limit"),
        ("no-such-program", "exit code 127: the step's program is not on the node"),
    ],
)
def test_an_exit_code_is_explained(emr: Any, cluster_id: str, context: Any, script: str, meaning: str) -> None:
    with pytest.raises(AirflowFailException, match=meaning):
        run(operator(cluster_id, script), context)
