"""A step does not outlive its task: it is cancelled when the task is marked, cleared, killed or not over in time."""

import asyncio
import time
from typing import Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from local_emr import LocalEmr
from tests.plugins.test_emr_steps import add, event, operator, run, step_ids, trigger


def ended(emr: Any, cluster_id: str, step_id: str) -> tuple[str, str]:
    """Wait until the step has ended; return its state and why."""
    with pytest.raises(Exception, match="Waiter StepComplete failed"):
        emr.get_waiter("step_complete").wait(
            ClusterId=cluster_id, StepId=step_id, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    status = emr.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]["Status"]
    return status["State"], status["StateChangeReason"]["Message"]


def test_the_trigger_of_a_task_that_is_marked_or_cleared_cancels_the_step(emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 600")
    asyncio.run(trigger(cluster_id, step_id).on_kill())

    assert ended(emr, cluster_id, step_id) == ("CANCELLED", "Cancelled by user")


def test_airflows_triggerer_cancels_the_step_of_a_task_that_a_user_acts_on(emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 600")
    waiting = trigger(cluster_id, step_id)
    runner = TriggerRunner()
    runner.triggers[1] = {"task": None, "name": "wait", "is_watcher": False, "events": 0}  # type: ignore[typeddict-item]

    async def act() -> None:
        polled = asyncio.Event()

        async def note(_: Any) -> None:
            polled.set()

        waiting._progress = note  # type: ignore[method-assign]
        task = asyncio.create_task(runner.run_trigger(1, waiting))
        runner.triggers[1]["task"] = task
        await polled.wait()
        runner.to_cancel.append(1)
        await runner.cancel_triggers()
        await asyncio.wait([task])

    asyncio.run(act())
    assert ended(emr, cluster_id, step_id) == ("CANCELLED", "Cancelled by user")


def test_throttling_does_not_keep_the_step_alive(aws: LocalEmr, emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 600")
    aws.faults.add(fault="throttle", operation="CancelSteps", times=2)
    asyncio.run(trigger(cluster_id, step_id).on_kill())

    assert ended(emr, cluster_id, step_id)[0] == "CANCELLED"


def test_a_task_that_is_killed_while_it_adds_its_step_cancels_it(emr: Any, cluster_id: str) -> None:
    step_id = add(emr, cluster_id, "sleep 600")
    operator(cluster_id, "sleep 600").on_kill()

    assert ended(emr, cluster_id, step_id)[0] == "CANCELLED"


@pytest.mark.usefixtures("silent")
def test_a_task_that_is_killed_while_emr_is_silent_ends_in_time() -> None:
    task = operator("j-1", "sleep 600")
    assert task.hook.conn  # the connection is known
    before = time.monotonic()
    task.on_kill()

    assert 1 < time.monotonic() - before < 5, "Airflow kills it for good after five seconds"


def test_the_end_of_a_worker_leaves_the_step_to_the_next_try(
    emr: Any, cluster_id: str, context: Any, retry: Any
) -> None:
    """Airflow calls on_kill and lets the task go on: it must not wait for a step that it has cancelled itself."""
    task = operator(cluster_id, "sleep 600")
    events = task.hook._sending_once.meta.events
    events.register("before-call.emr.AddJobFlowSteps", lambda **_: task.on_kill())
    with pytest.raises(
        AirflowException, match=r"^killed while step .* was being added: it has been cancelled"
    ) as killed:
        task.execute(context)
    assert not isinstance(killed.value, AirflowFailException), "Airflow tries again"
    (first,) = step_ids(emr, cluster_id)
    assert ended(emr, cluster_id, first)[0] == "CANCELLED"

    assert run(operator(cluster_id, "true"), retry) != first


def test_a_step_that_is_not_over_in_time_is_cancelled(emr: Any, cluster_id: str, context: Any) -> None:
    step_id = add(emr, cluster_id, "sleep 600")
    with pytest.raises(AirflowFailException, match=r"did not finish within 1 h, and was cancelled"):
        operator(cluster_id, "true").execute_complete(
            context, {"job_flow_id": cluster_id, "step_id": step_id, "state": "TIMEOUT"}
        )

    assert ended(emr, cluster_id, step_id)[0] == "CANCELLED"


def test_a_cleared_task_does_not_wait_for_the_step_that_is_being_cancelled(
    emr: Any, cluster_id: str, cleared: Any
) -> None:
    # It may run again before the triggerer has cancelled what it did before.
    earlier = add(emr, cluster_id, "sleep 600")
    task = operator(cluster_id, "true")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(cleared)
    result = event(deferred.value.trigger)

    assert result["state"] == "COMPLETED"
    assert step_ids(emr, cluster_id) == [result["step_id"], earlier]
    assert ended(emr, cluster_id, earlier)[0] == "CANCELLED"
