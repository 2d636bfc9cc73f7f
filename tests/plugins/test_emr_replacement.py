"""A lost cluster is replaced once, by whichever task meets the loss; nothing that is created in its place is left behind."""

import json
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from botocore.exceptions import ClientError

import emr_hook
from emr_hook import IN_PLACE_OF
from emr_replacement import is_lost
from emr_sensors import EmrClusterReadySensor
from emr_step_operator import EmrStepOperator
from local_emr import LocalEmr
from tests.plugins.test_emr_operators import assert_all_end, clusters, create, end
from tests.plugins.test_emr_steps import event, operator, run, step, step_ids

LOST = "TERMINATED_WITH_ERRORS, INSTANCE_FAILURE: The master node was terminated: its Spot Instance was reclaimed."


def step_task(job_flow: dict[str, Any], cluster_id: str, script: str = "true", **changes: Any) -> EmrStepOperator:
    task = operator(cluster_id, script, cluster_request=job_flow, **changes)
    task.hook.settle_seconds = (0.05, 0.05)
    return task


def lose(aws: LocalEmr, emr: Any, cluster_id: str) -> None:
    """Have AWS take the cluster away; wait until EMR says so."""
    rule = aws.faults.add(fault="cluster-lost", cluster=cluster_id, times=1)
    deadline = time.monotonic() + 30
    while emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["State"] != "TERMINATED_WITH_ERRORS":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    aws.faults.remove(rule.id)


def names(emr: Any) -> list[str]:
    """The names of all clusters, oldest first."""
    return [cluster["Name"] for cluster in reversed(emr.list_clusters()["Clusters"])]


def replacement(emr: Any, lost: str) -> str:
    (found,) = [
        cluster["Id"] for cluster in emr.list_clusters()["Clusters"] if cluster["Name"].endswith(f"{IN_PLACE_OF}{lost}")
    ]
    return found


def tags(emr: Any, cluster_id: str) -> Any:
    return emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Tags"]


@pytest.fixture
def job_flow(job_flow: dict[str, Any]) -> dict[str, Any]:
    return {**job_flow, "Tags": [{"Key": "run", "Value": "run-1"}]}


def test_a_step_whose_cluster_is_lost_runs_on_one_that_takes_its_place(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    task = step_task(job_flow, cluster_id, "sleep 60")
    with pytest.raises(TaskDeferred) as first:
        task.execute(context)
    lose(aws, emr, cluster_id)
    resumed = step_task(job_flow, cluster_id)  # rendered anew: it knows the first cluster only
    with pytest.raises(TaskDeferred) as second, structlog.testing.capture_logs() as entries:
        resumed.execute_complete(context, event(first.value.trigger))
    result = event(second.value.trigger)
    step_task(job_flow, cluster_id).execute_complete(context, result)

    new = replacement(emr, cluster_id)
    assert result == {"job_flow_id": new, "step_id": step_ids(emr, new)[0], "state": "COMPLETED"}
    assert tags(emr, new) == tags(emr, cluster_id), "the janitor and the bill know it"
    said = " ".join(str(entry["event"]) % entry.get("positional_args", ()) for entry in entries)
    assert f"Cluster {cluster_id} is lost, {LOST}" in said
    assert f"Cluster {new} replaces it" in said


def test_it_is_created_of_the_runs_request_and_of_nothing_else(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Airflow's EMR operators add by default to a request.
    foreign = {"Steps": [{**step("true"), "Name": "foreign"}]}
    monkeypatch.setenv("AIRFLOW_CONN_EMR_DEFAULT", json.dumps({"conn_type": "emr", "extra": foreign}))
    lose(aws, emr, cluster_id)
    run(step_task(job_flow, cluster_id), context)

    steps = emr.list_steps(ClusterId=replacement(emr, cluster_id))["Steps"]
    assert [one["Name"] for one in steps] == ["extract_features"]


def test_the_next_steps_find_it(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    lose(aws, emr, cluster_id)
    for name in ("extract_features", "reduce_dimensions"):
        task = step_task(job_flow, cluster_id)
        task.step = {**task.step, "Name": name}
        run(task, context)

    assert names(emr) == [job_flow["Name"], f"{job_flow['Name']}{IN_PLACE_OF}{cluster_id}"]
    assert len(step_ids(emr, replacement(emr, cluster_id))) == 2


def test_a_cluster_that_is_lost_before_it_is_ready_is_replaced(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    lose(aws, emr, cluster_id)
    sensor = EmrClusterReadySensor(
        task_id="wait", job_flow_id=cluster_id, cluster_request=job_flow, region_name="eu-west-3"
    )
    deadline = time.monotonic() + 30
    while not sensor.poke(context):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert clusters(emr)[replacement(emr, cluster_id)] in {"WAITING", "RUNNING"}
    assert len(clusters(emr)) == 2


def test_a_retry_finds_the_cluster_and_the_step_of_a_try_that_was_killed(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, retry: Any
) -> None:
    lose(aws, emr, cluster_id)
    with pytest.raises(TaskDeferred) as killed:
        step_task(job_flow, cluster_id, "sleep 1").execute(context)

    assert run(step_task(job_flow, cluster_id, "sleep 1"), retry) == killed.value.trigger.step_id
    assert len(clusters(emr)) == 2


def test_a_lost_answer_leaves_one_replacement(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    lose(aws, emr, cluster_id)
    task = step_task(job_flow, cluster_id)
    answered: list[str] = []

    def lose_answer(**_: Any) -> None:
        answered.append("RunJobFlow")
        raise ConnectionError("the answer was lost")

    task.hook._sending_once.meta.events.register("response-received.emr.RunJobFlow", lose_answer)
    with pytest.raises(ConnectionError):
        task.execute(context)  # as if the worker had died here

    run(step_task(job_flow, cluster_id), context)
    assert answered == ["RunJobFlow"]
    assert len(clusters(emr)) == 2


@pytest.mark.parametrize("when", ["in the same step", "before the next one", "after a task was cleared"])
def test_a_second_loss_fails_with_both_causes(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, when: str
) -> None:
    lose(aws, emr, cluster_id)
    with pytest.raises(TaskDeferred) as deferred:
        step_task(job_flow, cluster_id, "sleep 60").execute(context)
    new = replacement(emr, cluster_id)
    created = create(job_flow).execute(context) if when == "after a task was cleared" else cluster_id
    lose(aws, emr, new)

    def go_on() -> None:
        if when == "in the same step":
            step_task(job_flow, cluster_id).execute_complete(context, event(deferred.value.trigger))
        else:
            step_task(job_flow, created).execute(context)

    with pytest.raises(AirflowFailException) as failure:
        go_on()
    causes = f"{cluster_id} ({LOST}), and {new} that replaced it ({LOST})"
    assert str(failure.value).startswith(f"two clusters were lost: {causes}")
    assert len(clusters(emr)) == 2


@pytest.mark.parametrize("waits", ["a step", "the sensor"])
def test_a_replacement_that_ends_otherwise_fails_with_both_causes(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, waits: str
) -> None:
    lose(aws, emr, cluster_id)
    aws.faults.add(fault="no-capacity")
    task: Any = step_task(job_flow, cluster_id)
    if waits == "the sensor":
        task = EmrClusterReadySensor(
            task_id="wait_for_cluster", job_flow_id=cluster_id, cluster_request=job_flow, region_name="eu-west-3"
        )

    def wait() -> None:
        while True:  # until EMR has given up
            # EMR refuses a step of a cluster that has just ended; Airflow tries again.
            with suppress(TaskDeferred, ClientError):
                task.poke(context) if waits == "the sensor" else task.execute(context)
            time.sleep(0.1)

    with pytest.raises(AirflowFailException) as failure:
        wait()
    aws.faults.clear()

    new = replacement(emr, cluster_id)
    assert new in str(failure.value)
    assert f"; it replaced {cluster_id} ({LOST})" in str(failure.value)


def test_a_replacement_is_found_however_long_its_steps_take(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(aws, emr, cluster_id)
    run(step_task(job_flow, cluster_id), context)
    monkeypatch.setattr(emr_hook, "LOOKBACK", timedelta(0))  # it is older than that
    run(step_task(job_flow, cluster_id), context)

    assert len(clusters(emr)) == 2


def test_what_somebody_has_ended_is_not_replaced(
    emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    with pytest.raises(
        AirflowFailException, match=rf"^cluster {cluster_id} is TERMINATED, USER_REQUEST: Terminated by user request"
    ):
        step_task(job_flow, cluster_id).execute(context)
    assert list(clusters(emr)) == [cluster_id]


def status(state: str, code: str | None, *, ready: bool) -> dict[str, Any]:
    timeline = {"ReadyDateTime": 1} if ready else {}
    return {"Status": {"State": state, "StateChangeReason": {"Code": code} if code else {}, "Timeline": timeline}}


@pytest.mark.parametrize(
    ("state", "code", "ready", "lost"),
    [
        ("TERMINATED_WITH_ERRORS", "INSTANCE_FAILURE", True, True),
        ("TERMINATING", "INSTANCE_FAILURE", True, True),
        ("TERMINATED_WITH_ERRORS", "INSTANCE_FAILURE", False, True),
        ("TERMINATED_WITH_ERRORS", "INTERNAL_ERROR", True, True),
        ("TERMINATED_WITH_ERRORS", "INTERNAL_ERROR", False, False),  # EC2 has no capacity, say
        ("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE", False, False),
        ("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", False, False),
        ("TERMINATED_WITH_ERRORS", "STEP_FAILURE", True, False),
        ("TERMINATED", "USER_REQUEST", True, False),
        ("TERMINATED", "ALL_STEPS_COMPLETED", True, False),  # idle for too long
        ("WAITING", None, True, False),
    ],
)
def test_what_counts_as_lost(state: str, code: str | None, *, ready: bool, lost: bool) -> None:
    assert is_lost(status(state, code, ready=ready)) == lost


def test_a_task_that_is_killed_while_it_replaces_leaves_no_cluster(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    lose(aws, emr, cluster_id)
    task = step_task(job_flow, cluster_id)
    events = task.hook._sending_once.meta.events
    events.register("before-call.emr.RunJobFlow", lambda **_: task.on_kill())
    with pytest.raises(AirflowException, match=r"killed while cluster .* was being created: it has been ended"):
        task.execute(context)

    assert_all_end(emr)


@pytest.mark.parametrize("known", ["the lost one", "its replacement"])
def test_the_teardown_ends_all_clusters_of_the_run(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any, known: str
) -> None:
    lose(aws, emr, cluster_id)
    # Two at once, as two tries of a task can make if Airflow has given one of them up too early.
    request = {**job_flow, "Name": f"{job_flow['Name']}{IN_PLACE_OF}{cluster_id}"}
    first = emr.run_job_flow(**request)["JobFlowId"]
    emr.run_job_flow(**request)
    other_run = emr.run_job_flow(**{**job_flow, "Name": f"{job_flow['Name']}0"})["JobFlowId"]

    teardown = end(cluster_id if known == "the lost one" else first)
    with pytest.raises(TaskDeferred) as deferred:
        teardown.execute(context)
    assert deferred.value.trigger is not None
    deadline = time.monotonic() + 30
    ended = {"TERMINATED_WITH_ERRORS", "TERMINATED"}
    while {state for found, state in clusters(emr).items() if found != other_run} - ended:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    teardown.execute_complete(context, {"status": "success"})

    states = clusters(emr)
    assert states.pop(other_run) not in {"TERMINATING", "TERMINATED"}
    assert sorted(states.values()) == ["TERMINATED", "TERMINATED", "TERMINATED_WITH_ERRORS"]


def test_a_cleared_task_gets_the_replacement_that_is_there(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], cluster_id: str, context: Any
) -> None:
    lose(aws, emr, cluster_id)
    run(step_task(job_flow, cluster_id), context)

    assert create(job_flow).execute(context) == replacement(emr, cluster_id)
