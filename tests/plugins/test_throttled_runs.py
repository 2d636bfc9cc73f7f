"""Whole runs while EMR throttles three of ten calls: each succeeds, with one cluster and each step once.

Operators alone, without Airflow's scheduler and Spark. Some at a time, as they share an account's limits.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from emr_operators import EmrCreateClusterOperator, EmrTerminateClusterOperator
from emr_step_operator import EmrStepOperator
from local_emr import LocalEmr
from tests.plugins.test_emr_steps import step

TRIES = 3  # as many as the DAG's tasks have
STEPS = ("export_model", "extract_features", "reduce_dimensions")
RUNS = 100 if os.environ.get("FRUITS_TEST_FAULTS") else 3


def attempt(make: Callable[[], Any], context: dict[str, Any]) -> Any:
    """Execute a task as Airflow does: again after an error, until its tries are used up."""
    for tries_left in reversed(range(TRIES)):
        operator = make()
        operator.hook.settle_seconds = (0.1, 0.2, 0.4, 0.8)
        try:
            return operator.execute(context)
        except TaskDeferred:
            return None
        except Exception:
            if not tries_left:
                raise
            context = {**context, "ti": type(context["ti"])(try_number=TRIES - tries_left + 1, max_tries=TRIES - 1)}
    raise AssertionError("unreachable")


def run(job_flow: dict[str, Any], name: str, context: dict[str, Any]) -> None:
    def create() -> EmrCreateClusterOperator:
        request = {**job_flow, "Name": name}
        return EmrCreateClusterOperator(task_id="create", job_flow_overrides=request, region_name="eu-west-3")

    cluster = {"job_flow_id": attempt(create, context), "region_name": "eu-west-3"}
    waits = {"cluster_timeout": timedelta(minutes=1)}
    for step_name in STEPS:

        def add(step_name: str = step_name) -> EmrStepOperator:
            request = {**step("true"), "Name": step_name}
            return EmrStepOperator(
                task_id=step_name, step=request, poll_interval=1, step_timeout_hours=1, retries=2, **waits, **cluster
            )

        attempt(add, context)

    def terminate() -> EmrTerminateClusterOperator:
        wait = {"waiter_delay": 1, "termination_timeout": timedelta(minutes=1)}
        return EmrTerminateClusterOperator(task_id="terminate", **wait, **cluster)

    attempt(terminate, context)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("short_pauses")
def test_every_run_succeeds_with_one_cluster(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: dict[str, Any]
) -> None:
    names = [f"fruit-features run-{number}" for number in range(RUNS)]
    aws.faults.add(fault="throttle", share=0.3)
    with ThreadPoolExecutor(10) as pool:
        outcomes = [pool.submit(run, job_flow, name, context) for name in names]
    hits = sum(rule["hits"] for rule in aws.faults.list())
    aws.faults.clear()

    assert [outcome.exception() for outcome in outcomes] == [None] * RUNS
    assert hits > RUNS
    # Once: botocore's pages, read again, begin where the last request left off.
    clusters = [cluster for page in emr.get_paginator("list_clusters").paginate() for cluster in page["Clusters"]]
    assert sorted(cluster["Name"] for cluster in clusters) == sorted(names), "one cluster a run"
    for cluster in clusters:
        steps = emr.list_steps(ClusterId=cluster["Id"])["Steps"]
        assert [one["Name"] for one in reversed(steps)] == list(STEPS)
    deadline = time.monotonic() + 60  # EMR obeys TerminateJobFlows a moment after it has answered
    while emr.list_clusters(ClusterStates=["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"])["Clusters"]:
        assert time.monotonic() < deadline, "a cluster lives on"
        time.sleep(0.1)
