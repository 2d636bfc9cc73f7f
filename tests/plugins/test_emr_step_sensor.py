"""The sensor tells how far a step is, and why it failed."""

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import boto3
import pytest
import structlog.testing
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from emr_step_sensor import EmrStepProgressSensor, EmrStepTrigger

from local_aws import LocalAws


@pytest.fixture
def cluster_id(emr: Any, job_flow: dict[str, Any]) -> str:
    return emr.run_job_flow(**job_flow)["JobFlowId"]


def add(emr: Any, cluster_id: str, script: str) -> str:
    step = {
        "Name": "extract_features",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", script]},
    }
    return emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])["StepIds"][0]


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


def sensor(cluster_id: str, step_id: str) -> EmrStepProgressSensor:
    return EmrStepProgressSensor(
        task_id="wait",
        job_flow_id=cluster_id,
        step_id=step_id,
        region_name="eu-west-3",
        poke_interval=0.2,
        step_timeout=timedelta(minutes=1),
        log_timeout=timedelta(seconds=10),
    )


@pytest.mark.parametrize(("command", "state"), [("true", "COMPLETED"), ("exit 3", "FAILED")])
def test_the_trigger_ends_with_the_step(emr: Any, cluster_id: str, command: str, state: str) -> None:
    assert event(trigger(cluster_id, add(emr, cluster_id, command))) == {"state": state}


def test_the_trigger_keeps_its_deadline(emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 60")

    assert event(trigger(cluster_id, step_id, deadline=time.time() + 0.5)) == {"state": "TIMEOUT"}


def test_the_trigger_survives_the_way_to_the_triggerer(cluster_id: str) -> None:
    waiting = trigger(cluster_id, "s-1", progress_uri="s3://orchard/p.json")
    path, arguments = waiting.serialize()

    assert path == "emr_step_sensor.EmrStepTrigger"
    assert EmrStepTrigger(**json.loads(json.dumps(arguments))).serialize() == waiting.serialize()


def test_each_progress_is_logged_once(emr: Any, cluster_id: str) -> None:
    s3 = boto3.client("s3")
    waiting = trigger(cluster_id, add(emr, cluster_id, "sleep 2"), progress_uri="s3://orchard/runs/1/progress.json")

    async def follow() -> None:
        async def report() -> None:
            for done in (5, 9):
                await asyncio.sleep(0.6)
                s3.put_object(
                    Bucket="orchard", Key="runs/1/progress.json", Body=json.dumps({"message": f"{done} of 9"})
                )

        reporting = asyncio.create_task(report())
        async for _ in waiting.run():
            break
        await reporting

    with structlog.testing.capture_logs() as entries:
        asyncio.run(follow())
    said = [entry["event"] for entry in entries]
    assert [line for line in said if " of 9" in line] == ["extract_features: 5 of 9", "extract_features: 9 of 9"]


def test_it_defers_and_succeeds(emr: Any, cluster_id: str, context: Any) -> None:
    waiting = sensor(cluster_id, add(emr, cluster_id, "true"))
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(context)

    waiting.execute_complete(context, event(deferred.value.trigger))


def test_a_failure_says_what_the_step_said(emr: Any, cluster_id: str, context: Any) -> None:
    script = "echo Spark was here >&2; echo 'error: manifest s3://orchard/m: nothing there'; exit 1"
    waiting = sensor(cluster_id, add(emr, cluster_id, script))
    result = event(trigger(cluster_id, waiting.step_id))

    with pytest.raises(AirflowFailException, match=r"error: manifest s3://orchard/m: nothing there$") as failure:
        waiting.execute_complete(context, result)
    assert str(failure.value).startswith(f"step extract_features ({waiting.step_id}) is FAILED: ")


def test_a_lost_cluster_is_named_as_the_cause(emr: Any, cluster_id: str, context: Any) -> None:
    waiting = sensor(cluster_id, add(emr, cluster_id, "sleep 60"))
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    with pytest.raises(AirflowFailException, match=r"is CANCELLED: .*the cluster is TERMINATED"):
        waiting.execute_complete(context, event(trigger(cluster_id, waiting.step_id)))


def test_a_step_of_another_cluster_is_named(cluster_id: str, context: Any) -> None:
    with pytest.raises(
        AirflowFailException, match=r"has no step s-1: a cleared wait_for_… needs its add_… cleared too$"
    ):
        sensor(cluster_id, "s-1").execute(context)


def test_moments_without_aws_do_not_end_the_watch(aws: LocalAws, emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 1")
    aws.faults.add(fault="throttle", operation="DescribeStep", share=0.5)
    aws.faults.add(fault="s3-error", status=500)

    watching = trigger(cluster_id, step_id, progress_uri="s3://orchard/runs/1/progress.json")
    assert event(watching) == {"state": "COMPLETED"}


def test_the_cause_survives_a_log_that_cannot_be_read(aws: LocalAws, emr: Any, cluster_id: str, context: Any) -> None:
    waiting = sensor(cluster_id, add(emr, cluster_id, "echo 'a cause of its own' >&2; exit 3"))
    result = event(trigger(cluster_id, waiting.step_id))
    aws.faults.add(fault="s3-error", status=500)

    with pytest.raises(AirflowFailException, match=r"is FAILED: .*a cause of its own"):
        waiting.execute_complete(context, result)


def test_a_timeout_is_not_tried_again(cluster_id: str, context: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"^step s-1 was not over after 0:01:00"):
        sensor(cluster_id, "s-1").execute_complete(context, {"state": "TIMEOUT"})
