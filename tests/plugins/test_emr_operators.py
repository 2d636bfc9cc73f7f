"""A retry creates no second cluster and adds no second step; nothing that goes wrong leaves a cluster behind."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowSkipException, TaskDeferred
from botocore.exceptions import ClientError, EndpointConnectionError

import emr_hook
from emr_operators import EmrCreateClusterOperator, EmrTerminateClusterOperator
from emr_step_operator import EmrStepOperator
from local_emr import LocalEmr


def create(job_flow: dict[str, Any]) -> EmrCreateClusterOperator:
    operator = EmrCreateClusterOperator(task_id="create_cluster", job_flow_overrides=job_flow, region_name="eu-west-3")
    operator.hook.settle_seconds = (0.05, 0.05)
    return operator


def clusters(emr: Any) -> dict[str, str]:
    return {cluster["Id"]: cluster["Status"]["State"] for cluster in emr.list_clusters()["Clusters"]}


def assert_its_only_cluster_ends(emr: Any) -> None:
    assert len(clusters(emr)) == 1
    assert_all_end(emr)


def assert_all_end(emr: Any, seconds: float = 30) -> None:
    """EMR obeys TerminateJobFlows a moment after it has answered."""
    deadline = time.monotonic() + seconds
    while (states := set(clusters(emr).values())) - {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}:
        assert time.monotonic() < deadline, states
        time.sleep(0.1)


def test_a_retry_takes_the_cluster_of_the_earlier_try(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)

    assert create(job_flow).execute(context) == first
    assert list(clusters(emr)) == [first]


def test_a_task_that_is_cleared_days_later_takes_the_cluster_that_is_there_still(
    emr: Any, job_flow: dict[str, Any], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create(job_flow).execute(context)
    monkeypatch.setattr(emr_hook, "LOOKBACK", timedelta(seconds=-1))  # it is older than that

    assert create(job_flow).execute(context) == first
    operator = create(job_flow)
    operator.on_kill()
    assert_its_only_cluster_ends(emr)


def test_another_run_creates_its_own(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)
    second = create({**job_flow, "Name": "fruit-features run-2"}).execute(context)

    assert set(clusters(emr)) == {first, second}
    assert first != second


def test_a_cluster_that_is_ending_is_not_taken(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)
    emr.terminate_job_flows(JobFlowIds=[first])

    assert create(job_flow).execute(context) != first


@pytest.mark.parametrize("operation", ["ListClusters", "RunJobFlow"])
def test_throttling_costs_neither_the_try_nor_the_cluster(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any, operation: str
) -> None:
    aws.faults.add(fault="throttle", operation=operation, times=2)
    cluster_id = create(job_flow).execute(context)

    assert list(clusters(emr)) == [cluster_id]


def test_a_refusal_is_final(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        create({**job_flow, "ReleaseLabel": "seven"}).execute(context)
    assert clusters(emr) == {}


@pytest.fixture
def step_of_a_run() -> Iterator[EmrCreateClusterOperator]:
    """The operator that creates the cluster, in a DAG with one step."""
    with DAG("fruits", schedule=None):
        created = EmrCreateClusterOperator(task_id="create_cluster", job_flow_overrides={"Name": "n"})
        EmrStepOperator(
            task_id="extract",
            job_flow_id="j-1",
            step={"Name": "extract"},
            poll_interval=1,
            step_timeout_hours=1,
            cluster_timeout=timedelta(),
        )
        yield created


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed"])
def test_no_cluster_is_created_for_a_run_whose_steps_have_ended(
    step_of_a_run: EmrCreateClusterOperator, context: Any, state: str
) -> None:
    # Someone has cleared wait_for_cluster alone: Airflow clears the setup with it.
    context["ti"].get_task_states.return_value = {"run-1": {"extract": state}}
    with pytest.raises(AirflowSkipException, match="no step of this run remains to be done: clear one of them too"):
        step_of_a_run.execute(context)


def test_a_killed_task_leaves_no_cluster(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    operator = create(job_flow)
    operator.execute(context)
    operator.on_kill()

    assert_its_only_cluster_ends(emr)


def test_a_task_killed_before_its_cluster_is_there_leaves_none(
    emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    # Airflow calls on_kill when the signal arrives, and lets execute go on.
    operator = create(job_flow)
    events = operator.hook._sending_once.meta.events
    events.register("before-call.emr.RunJobFlow", lambda **_: operator.on_kill())
    with pytest.raises(AirflowException, match=r"killed while cluster j-\w+ was being created"):
        operator.execute(context)

    assert_its_only_cluster_ends(emr)


def test_a_task_that_is_killed_while_emr_is_silent_ends_in_time(
    silent: Any, job_flow: dict[str, Any], context: Any
) -> None:
    # Airflow kills it for good after five seconds: until then it may learn what RunJobFlow has created.
    operator = create(job_flow)
    assert operator.hook.conn  # the connection is known
    before = time.monotonic()
    operator.on_kill()

    assert 1 < time.monotonic() - before < 5


@pytest.mark.usefixtures("short_pauses")
def test_a_killed_task_leaves_no_cluster_while_emr_throttles(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    operator = create(job_flow)
    events = operator.hook._sending_once.meta.events
    events.register("before-call.emr.RunJobFlow", lambda **_: operator.on_kill())
    for operation in ("TerminateJobFlows", "ListClusters"):
        aws.faults.add(fault="throttle", operation=operation, times=3)
    with pytest.raises(AirflowException, match=r"killed while cluster j-\w+ was being created: it has been ended"):
        operator.execute(context)

    assert_its_only_cluster_ends(emr)


def test_a_create_that_fails_for_good_leaves_its_cluster_to_the_retry(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # EMR obeys, the answer is lost, and then EMR throttles all for longer than the client is patient.
    monkeypatch.setattr(emr_hook.IdempotentEmrHook, "settings", emr_hook.NO_RETRIES)
    operator = create(job_flow)

    def lose(**_: Any) -> None:
        for operation in ("ListClusters", "TerminateJobFlows"):
            aws.faults.add(fault="throttle", operation=operation)
        raise EndpointConnectionError(endpoint_url="the answer was lost")

    operator.hook._sending_once.meta.events.register("response-received.emr.RunJobFlow", lose)
    with pytest.raises(ClientError, match="ThrottlingException"):
        operator.execute(context)
    aws.faults.clear()

    (cluster_id,) = clusters(emr)
    assert create(job_flow).execute(context) == cluster_id


def test_a_lost_answer_is_settled_by_looking(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    operator = create(job_flow)
    sent: list[str] = []

    def lose(**_: Any) -> None:
        sent.append("RunJobFlow")
        raise EndpointConnectionError(endpoint_url="the answer was lost")

    operator.hook._sending_once.meta.events.register("response-received.emr.RunJobFlow", lose)
    cluster_id = operator.execute(context)

    assert sent == ["RunJobFlow"]
    assert list(clusters(emr)) == [cluster_id]


def end(cluster_id: str, reason_to_keep: str | None = None) -> EmrTerminateClusterOperator:
    return EmrTerminateClusterOperator(
        task_id="terminate_cluster",
        job_flow_id=cluster_id,
        region_name="eu-west-3",
        waiter_delay=1,
        termination_timeout=timedelta(seconds=20),
        reason_to_keep=reason_to_keep,
    )


async def first_event(deferred: TaskDeferred) -> dict[str, Any]:
    async for event in deferred.trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def test_ending_a_cluster_waits_until_it_is_gone(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    operator = end(cluster_id)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    operator.execute_complete(context, asyncio.run(first_event(deferred.value)))

    assert clusters(emr) == {cluster_id: "TERMINATED"}


def test_a_lost_cluster_has_ended_too(aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    aws.faults.add(fault="cluster-lost", cluster=job_flow["Name"])
    with pytest.raises(Exception, match="Waiter ClusterTerminated failed"):
        emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert clusters(emr) == {cluster_id: "TERMINATED_WITH_ERRORS"}

    end(cluster_id).execute(context)
    end(cluster_id).execute_complete(context, {"status": "error", "message": "terminated with errors"})


def test_a_cluster_that_nobody_knows_is_gone(context: Any, aws: LocalEmr) -> None:
    end("j-GONEGONEGONE1").execute(context)


def test_a_cluster_that_stays_is_an_error(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    with pytest.raises(AirflowException, match=f"cluster {cluster_id} has not ended: it took too long"):
        end(cluster_id).execute_complete(context, {"status": "error", "message": "it took too long"})


@pytest.mark.usefixtures("short_pauses")
def test_the_third_try_ends_a_cluster_that_two_could_not_end(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    throttled = aws.faults.add(fault="throttle", operation="TerminateJobFlows")
    for _ in range(2):
        with pytest.raises(ClientError, match="ThrottlingException"):
            end(cluster_id).execute(context)
    assert clusters(emr)[cluster_id] not in {"TERMINATING", "TERMINATED"}
    aws.faults.remove(throttled.id)
    with pytest.raises(TaskDeferred):
        end(cluster_id).execute(context)

    assert_its_only_cluster_ends(emr)


def test_a_cluster_that_is_to_be_kept_goes_on(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    with pytest.raises(AirflowSkipException, match=f"^look at {cluster_id} yourself$"):
        end(cluster_id, "look at {cluster_id} yourself").execute(context)

    assert clusters(emr)[cluster_id] not in {"TERMINATING", "TERMINATED"}
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
