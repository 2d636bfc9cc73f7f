"""A retry creates no second cluster and adds no second step; nothing that goes wrong leaves a cluster behind."""

import asyncio
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators import emr as provider
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from botocore.exceptions import EndpointConnectionError
from emr_operators import EmrAddStepOnceOperator, EmrCreateClusterOnceOperator, EmrEndClusterOperator

from local_aws import LocalAws


def create(job_flow: dict[str, Any]) -> EmrCreateClusterOnceOperator:
    return EmrCreateClusterOnceOperator(
        task_id="create_cluster",
        emr_conn_id=None,
        job_flow_overrides=job_flow,
        region_name="eu-west-3",
        deferrable=False,
    )


def clusters(emr: Any) -> dict[str, str]:
    return {cluster["Id"]: cluster["Status"]["State"] for cluster in emr.list_clusters()["Clusters"]}


def test_a_retry_takes_the_cluster_of_the_earlier_try(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)

    assert create(job_flow).execute(context) == first
    assert list(clusters(emr)) == [first]


def test_another_run_creates_its_own(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)
    second = create({**job_flow, "Name": "fruit-features run-2"}).execute(context)

    assert set(clusters(emr)) == {first, second}
    assert first != second


def test_a_cluster_that_is_ending_is_not_taken(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    first = create(job_flow).execute(context)
    emr.terminate_job_flows(JobFlowIds=[first])

    assert create(job_flow).execute(context) != first


def test_a_failure_after_the_creation_leaves_no_cluster(
    emr: Any, job_flow: dict[str, Any], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The provider makes links and asks for the log's place after RunJobFlow; whatever fails there, the id is lost.
    def fail(**_: Any) -> None:
        raise ConnectionError("the database is gone")

    monkeypatch.setattr(provider.EmrClusterLink, "persist", fail)
    with pytest.raises(ConnectionError, match="the database is gone"):
        create(job_flow).execute(context)

    (state,) = clusters(emr).values()
    assert state in {"TERMINATING", "TERMINATED"}


def test_a_killed_task_leaves_no_cluster(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    operator = create(job_flow)
    operator.execute(context)
    operator.on_kill()

    (state,) = clusters(emr).values()
    assert state in {"TERMINATING", "TERMINATED"}


def test_a_task_killed_before_its_cluster_is_there_leaves_none(
    emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    # Airflow calls on_kill when the signal arrives, and lets execute go on.
    operator = create(job_flow)
    operator.hook.conn.meta.events.register("before-call.emr.RunJobFlow", lambda **_: operator.on_kill())
    with pytest.raises(AirflowException, match="killed while the cluster was being created"):
        operator.execute(context)

    (state,) = clusters(emr).values()
    assert state in {"TERMINATING", "TERMINATED"}


def test_a_lost_answer_leaves_no_cluster(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    operator = create(job_flow)
    sent: list[str] = []

    def lose(**_: Any) -> None:
        sent.append("RunJobFlow")
        raise EndpointConnectionError(endpoint_url="the answer was lost")

    operator.hook.conn.meta.events.register("response-received.emr.RunJobFlow", lose)
    with pytest.raises(EndpointConnectionError):
        operator.execute(context)

    assert sent == ["RunJobFlow"]
    assert all(state in {"TERMINATING", "TERMINATED"} for state in clusters(emr).values())


def add(cluster_id: str, name: str, *command: str) -> EmrAddStepOnceOperator:
    step = {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": list(command)},
    }
    return EmrAddStepOnceOperator(
        task_id="add_step", job_flow_id=cluster_id, steps=[step], region_name="eu-west-3", deferrable=False
    )


def test_a_retry_finds_the_step_that_is_still_under_way(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = create(job_flow).execute(context)
    assert cluster_id
    first = add(cluster_id, "extract", "sleep", "60").execute(context)

    assert add(cluster_id, "extract", "sleep", "60").execute(context) == first
    assert add(cluster_id, "reduce", "true").execute(context) != first
    assert len(emr.list_steps(ClusterId=cluster_id)["Steps"]) == 2
    emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_a_step_that_is_over_is_added_anew(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = create(job_flow).execute(context)
    assert cluster_id
    first = add(cluster_id, "extract", "false").execute(context)
    waiter = emr.get_waiter("step_complete")
    with pytest.raises(Exception, match="Waiter StepComplete failed"):
        waiter.wait(ClusterId=cluster_id, StepId=first, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    assert add(cluster_id, "extract", "true").execute(context) != first


def end(cluster_id: str) -> EmrEndClusterOperator:
    return EmrEndClusterOperator(
        task_id="terminate_cluster",
        job_flow_id=cluster_id,
        region_name="eu-west-3",
        waiter_delay=1,
        waiter_max_attempts=20,
        deferrable=True,
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


def test_a_lost_cluster_has_ended_too(aws: LocalAws, emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    aws.faults.add(fault="cluster-lost", cluster=job_flow["Name"])
    with pytest.raises(Exception, match="Waiter ClusterTerminated failed"):
        emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert clusters(emr) == {cluster_id: "TERMINATED_WITH_ERRORS"}

    end(cluster_id).execute(context)
    end(cluster_id).execute_complete(context, {"status": "error", "message": "terminated with errors"})


def test_a_cluster_that_stays_is_an_error(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    with pytest.raises(AirflowException, match="Error terminating JobFlow"):
        end(cluster_id).execute_complete(context, {"status": "error", "message": "it took too long"})
