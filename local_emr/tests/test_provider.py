"""The amazon provider's EMR operators, sensors and triggers, as a DAG uses them, against the local endpoint."""

import asyncio
import time
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrModifyClusterOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor, EmrStepSensor
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from emr_client import REGION, Emr, job_flow, step

QUICK = {"waiter_delay": 1, "waiter_max_attempts": 30}


class FakeTaskInstance:
    """The one thing that the operators ask of their context: a place for the links' XComs."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": FakeTaskInstance()}


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch, local_emr: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", f"aws://?region_name={REGION}")


def run(operator: Any, context: dict[str, Any]) -> Any:
    """Executes an operator; where it defers, runs its trigger and resumes it, as Airflow does."""
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        event = asyncio.run(_first_event(deferred.trigger))
        return getattr(operator, deferred.method_name)(context, event.payload)


async def _first_event(trigger: Any) -> TriggerEvent:
    kind, arguments = trigger.serialize()
    assert kind == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    trigger = type(trigger)(**arguments)  # as the triggerer gets it
    async for event in trigger.run():
        return event
    raise AssertionError("the trigger ended without an event")


@pytest.fixture
def cluster(cluster_api: Emr) -> str:
    return cluster_api.create()


# ---------------------------------------------------------------------- EmrCreateJobFlowOperator


def test_create(cluster_api: Emr, context: dict[str, Any]) -> None:
    create = EmrCreateJobFlowOperator(
        task_id="create", emr_conn_id=None, job_flow_overrides=job_flow(), wait_for_completion=False
    )
    cluster = create.execute(context)
    assert cluster_api.state(cluster) in {"STARTING", "BOOTSTRAPPING"}
    assert context["ti"].pushed["emr_cluster"]["job_flow_id"] == cluster


@pytest.mark.parametrize("deferrable", [False, True])
def test_create_and_wait(cluster_api: Emr, context: dict[str, Any], *, deferrable: bool) -> None:
    create = EmrCreateJobFlowOperator(
        task_id="create",
        emr_conn_id=None,
        job_flow_overrides=job_flow(),
        wait_for_completion=True,
        wait_policy="wait_for_completion",
        deferrable=deferrable,
        **QUICK,
    )
    cluster = run(create, context)
    assert cluster_api.state(cluster) == "WAITING"


def test_create_fails_where_the_cluster_does(local_emr: Any, cluster_api: Emr, context: dict[str, Any]) -> None:
    local_emr.faults.add(fault="cluster-lost")
    create = EmrCreateJobFlowOperator(
        task_id="create",
        emr_conn_id=None,
        job_flow_overrides=job_flow(),
        wait_for_completion=True,
        deferrable=True,
        **QUICK,
    )
    with pytest.raises(AirflowException):
        run(create, context)


# ---------------------------------------------------------------------- EmrJobFlowSensor


def test_job_flow_sensor(cluster_api: Emr, context: dict[str, Any], cluster: str) -> None:
    sensor = EmrJobFlowSensor(
        task_id="wait", job_flow_id=cluster, target_states=["WAITING"], poke_interval=1, deferrable=False
    )
    sensor.execute(context)
    assert cluster_api.state(cluster) == "WAITING"


def test_deferred_job_flow_sensor_waits_for_the_end(cluster_api: Emr, context: dict[str, Any]) -> None:
    cluster = cluster_api.create(Steps=[step("sleep", "1")], Instances={"KeepJobFlowAliveWhenNoSteps": False})
    run(EmrJobFlowSensor(task_id="wait", job_flow_id=cluster, poke_interval=1, deferrable=True), context)
    assert cluster_api.state(cluster) == "TERMINATED"


@pytest.mark.parametrize("deferrable", [False, True])
def test_job_flow_sensor_fails_where_the_cluster_does(
    local_emr: Any, cluster_api: Emr, context: dict[str, Any], *, deferrable: bool
) -> None:
    local_emr.faults.add(fault="no-capacity")
    sensor = EmrJobFlowSensor(
        task_id="wait",
        job_flow_id=cluster_api.create(),
        target_states=["WAITING"],
        poke_interval=1,
        deferrable=deferrable,
    )
    with pytest.raises(AirflowException, match="out of capacity" if not deferrable else None):
        run(sensor, context)


# ---------------------------------------------------------------------- EmrAddStepsOperator and EmrStepSensor


@pytest.mark.parametrize("deferrable", [False, True])
def test_add_steps_and_wait(cluster_api: Emr, context: dict[str, Any], cluster: str, *, deferrable: bool) -> None:
    add = EmrAddStepsOperator(
        task_id="add", job_flow_id=cluster, steps=[step("true"), step("true")],
        wait_for_completion=True, deferrable=deferrable, **QUICK,
    )  # fmt: skip
    steps = run(add, context)
    assert cluster_api.states(cluster, steps) == ["COMPLETED", "COMPLETED"]


def test_add_steps_to_a_cluster_found_by_name(cluster_api: Emr, context: dict[str, Any]) -> None:
    cluster = cluster_api.create(Name="by name")
    add = EmrAddStepsOperator(
        task_id="add",
        job_flow_name="by name",
        cluster_states=["STARTING", "BOOTSTRAPPING", "WAITING"],
        steps=[step("true")],
    )
    assert cluster_api.ended(cluster, run(add, context)) == ["COMPLETED"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_step_sensor(cluster_api: Emr, context: dict[str, Any], cluster: str, *, deferrable: bool) -> None:
    (step_id,) = cluster_api.add(cluster, step("sleep", "1"))
    sensor = EmrStepSensor(
        task_id="wait", job_flow_id=cluster, step_id=step_id, poke_interval=1, deferrable=deferrable, max_attempts=30
    )
    run(sensor, context)
    assert cluster_api.step_status(cluster, step_id)["State"] == "COMPLETED"


@pytest.mark.parametrize("deferrable", [False, True])
def test_step_sensor_fails_where_the_step_does(
    cluster_api: Emr, context: dict[str, Any], cluster: str, *, deferrable: bool
) -> None:
    (step_id,) = cluster_api.add(cluster, step("bash", "-c", "echo too many rejects >&2; exit 1"))
    sensor = EmrStepSensor(
        task_id="wait", job_flow_id=cluster, step_id=step_id, poke_interval=1, deferrable=deferrable, max_attempts=30
    )
    with pytest.raises(AirflowException, match="too many rejects" if not deferrable else None):
        run(sensor, context)


# ---------------------------------------------------------------------- EmrTerminateJobFlowOperator, EmrModifyClusterOperator


@pytest.mark.parametrize("deferrable", [False, True])
def test_terminate(cluster_api: Emr, context: dict[str, Any], cluster: str, *, deferrable: bool) -> None:
    began = time.monotonic()
    run(EmrTerminateJobFlowOperator(task_id="end", job_flow_id=cluster, deferrable=deferrable, **QUICK), context)
    if deferrable:
        assert cluster_api.state(cluster) == "TERMINATED"
    else:  # asks, and does not wait
        assert time.monotonic() - began < 5
        cluster_api.until(cluster, "TERMINATED")


def test_modify_cluster(cluster_api: Emr, context: dict[str, Any], cluster: str) -> None:
    modify = EmrModifyClusterOperator(task_id="modify", cluster_id=cluster, step_concurrency_level=3)
    assert modify.execute(context) == 3
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]["StepConcurrencyLevel"] == 3
