"""The janitor ends what nobody ends any more, and nothing else."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from demo.local_airflow import LocalAirflow
from emr_hook import IdempotentEmrHook
from fruit_features import janitor, tags
from local_emr import LocalEmr

RUNS = {"finished": "finished", "running": "active"}  # and "deleted", which does not exist


@pytest.fixture
def emr(endpoint: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)
    client = boto3.client("emr")
    yield client
    endpoint.faults.clear()
    for cluster in client.list_clusters()["Clusters"]:
        client.terminate_job_flows(JobFlowIds=[cluster["Id"]])
    assert_active(client, set())


def create(
    emr: Any,
    run_id: str,
    deployment: str | None = "orchard",
    name: str = "fruit-features",
    *,
    step_timeout_hours: float = 0,
    interactive: bool = False,
) -> str:
    created = emr.run_job_flow(
        Name=f"{name} fruits/ {run_id}",
        ReleaseLabel="emr-7.13.0",
        ServiceRole="EMR_DefaultRole",
        JobFlowRole="EMR_EC2_DefaultRole",
        Instances={
            "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
            "KeepJobFlowAliveWhenNoSteps": True,
        },
        Tags=tags.cluster_tags(run_id, deployment, step_timeout_hours=step_timeout_hours, interactive=interactive),
    )
    return created["JobFlowId"]


def find(max_age_hours: float = 24) -> list[janitor.Leftover]:
    return janitor.find_leftovers(
        IdempotentEmrHook(region_name="eu-west-3"),
        region="eu-west-3",
        deployment="orchard",
        max_age=timedelta(hours=max_age_hours),
        run_state=RUNS.get,
    )


def assert_active(emr: Any, expected: set[str]) -> None:
    """These clusters are left, and no others: EMR ends a cluster soon after it was asked to."""
    states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
    deadline = time.monotonic() + 10
    while True:
        found = {cluster["Id"] for cluster in emr.list_clusters(ClusterStates=states)["Clusters"]}
        if found == expected or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert found == expected


def test_only_what_nobody_needs_is_found_and_ended(emr: Any) -> None:
    finished, deleted = create(emr, "finished"), create(emr, "deleted")
    others = {
        create(emr, "running"),
        create(emr, "deleted", deployment="another Airflow"),
        create(emr, "deleted", deployment=None),
        create(emr, "deleted", name="somebody else's"),
    }

    leftovers = find()
    assert {leftover.cluster_id: leftover.reason for leftover in leftovers} == {
        finished: "its DAG run is finished",
        deleted: "its DAG run does not exist any more",
    }
    janitor.end(IdempotentEmrHook(region_name="eu-west-3"), leftovers)
    assert_active(emr, others)


def test_a_cluster_that_is_too_old_is_ended_under_its_run(emr: Any) -> None:
    cluster_id = create(emr, "running")

    assert find(max_age_hours=24) == []
    (leftover,) = find(max_age_hours=0)
    assert (leftover.cluster_id, leftover.reason) == (cluster_id, "it is older than 0 h")


def test_a_run_whose_steps_may_take_long_is_given_the_time(emr: Any) -> None:
    create(emr, "running", step_timeout_hours=72)
    finished = create(emr, "finished", step_timeout_hours=72)

    assert [leftover.cluster_id for leftover in find(max_age_hours=0)] == [finished]


def test_a_cluster_that_its_run_leaves_to_a_person_is_ended_by_its_age_alone(emr: Any) -> None:
    cluster_id = create(emr, "finished", interactive=True)

    assert find(max_age_hours=24) == []
    (leftover,) = find(max_age_hours=0)
    assert (leftover.cluster_id, leftover.reason) == (cluster_id, "it is older than 0 h")


def test_a_person_has_no_more_time_for_steps_that_might_have_taken_long(emr: Any) -> None:
    create(emr, "running", interactive=True, step_timeout_hours=72)
    lefts = {create(emr, run, interactive=True, step_timeout_hours=72) for run in ("finished", "deleted")}

    assert {leftover.cluster_id for leftover in find(max_age_hours=0)} == lefts


def test_a_cluster_is_found_however_old_it_is(emr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class InAYear(datetime):
        @classmethod
        def now(cls, _: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(days=365)

    cluster_id = create(emr, "finished")
    monkeypatch.setattr(janitor, "datetime", InAYear)

    assert [(leftover.cluster_id, leftover.hours) for leftover in find()] == [(cluster_id, 365 * 24)]


def test_two_janitors_at_once_do_no_harm(emr: Any) -> None:
    create(emr, "finished")
    kept = create(emr, "running")
    leftovers = find()
    errors: list[BaseException] = []

    def clean() -> None:
        try:
            janitor.end(IdempotentEmrHook(region_name="eu-west-3"), leftovers)
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    both = [threading.Thread(target=clean) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert errors == []
    assert_active(emr, {kept})


def test_throttling_is_outlasted(endpoint: LocalEmr, emr: Any) -> None:
    create(emr, "finished")
    endpoint.faults.add(fault="throttle", share=0.3)
    janitor.end(IdempotentEmrHook(region_name="eu-west-3"), find())
    endpoint.faults.clear()

    assert_active(emr, set())


@pytest.mark.parametrize("run_id", ["manual__2026-11-22T10:00:00.5+00:00", "a b_c=d", "ä"])
def test_the_tag_is_the_run_id_where_aws_accepts_it(run_id: str) -> None:
    assert tags.run_tag(run_id) == run_id


def test_a_run_id_that_aws_refuses_is_made_a_tag() -> None:
    assert tags.run_tag("a,b#" + "x" * 300) == "a-b-" + "x" * 252


def test_a_run_that_cannot_be_looked_up_is_judged_by_its_age(emr: Any) -> None:
    cluster_id = create(emr, "running, in spite of its comma")

    assert find() == []
    assert [leftover.cluster_id for leftover in find(max_age_hours=0)] == [cluster_id]


def test_a_protected_cluster_does_not_save_the_others(emr: Any) -> None:
    protected, _ = create(emr, "finished"), create(emr, "finished")
    emr.set_termination_protection(JobFlowIds=[protected], TerminationProtected=True)
    try:
        with pytest.raises(ExceptionGroup, match="1 of 2 clusters could not be ended"):
            janitor.end(IdempotentEmrHook(region_name="eu-west-3"), find())
        assert_active(emr, {protected})
    finally:
        emr.set_termination_protection(JobFlowIds=[protected], TerminationProtected=False)


@pytest.mark.slow
def test_the_dag_asks_airflow_and_ends_what_it_should(
    endpoint: LocalEmr, emr: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    airflow = LocalAirflow(tmp_path_factory.mktemp("airflow"), endpoint.environment())
    airflow.environment["FRUITS_DEPLOYMENT"] = "orchard"
    gone, kept = create(emr, "manual__of_no_run"), create(emr, "manual__of_no_run", deployment="another Airflow")
    for dry_run, left in [(True, {gone, kept}), (False, {kept})]:
        with airflow.test_dag("fruit_features_janitor", {"dry_run": dry_run}) as test:
            log = list(test)
        assert test.exit_code == 0, "\n".join(log)
        assert any(f"cluster {gone} of run manual__of_no_run" in line for line in log)
        assert_active(emr, left)
