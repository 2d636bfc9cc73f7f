"""What people do to a run while its step is at work, over the REST API of an Airflow in parts on PostgreSQL.

After each: no cluster is alive, `latest.json` is whole, and a rerun has every image once. The endpoint's clusters are
idle for a tenth of the minutes that they are asked for.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from local_emr import Timing
from tests.live.conftest import Live
from tests.live.parts import wait_for
from tests.live.runs import (
    WAITS,
    assert_whole,
    extracting,
    publish_first,
    state,
    wait_for_the_end_of_clusters,
)

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]
DAG = "/api/v2/dags/fruit_features"


@pytest.fixture(scope="module")
def live_settings() -> Mapping[str, str]:
    """Uploads start no runs."""
    return {"FRUITS_QUEUE_URL": ""}


@pytest.fixture(scope="module")
def live_timing() -> Timing:
    return Timing(idle_scale=0.1)


@pytest.fixture(scope="module", autouse=True)
def first(live: Live) -> None:
    """There are published results."""
    publish_first(live)


def extractions(live: Live) -> list[str]:
    """The states of the steps extract_features of the latest cluster, newest first."""
    return [step["Status"]["State"] for step in live.api.steps() if step["Name"] == "extract_features"]


@pytest.mark.parametrize("task_id", [None, "extract_features"], ids=["run", "task"])
def test_what_is_marked_as_failed_ends_at_once(live: Live, before: dict[str, Any], task_id: str | None) -> None:
    with extracting(live) as run_id:
        live.api.mark_failed(run_id, task_id)

        assert live.api.wait(run_id, WAITS) == "failed"
        wait_for(lambda: extractions(live) == ["CANCELLED"], "the step is cancelled", WAITS)
        wait_for_the_end_of_clusters(live)
    assert state(live, run_id, "terminate_cluster") == "success"
    assert_whole(live, before, run_id)


def test_a_task_that_is_cleared_while_its_step_is_at_work_begins_anew(live: Live, before: dict[str, Any]) -> None:
    clusters = len(live.api.clusters())
    with extracting(live) as run_id:
        live.api.clear(run_id, "extract_features")
        wait_for(lambda: extractions(live) == ["RUNNING", "CANCELLED"], "a second step in place of the first", WAITS)

    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)
    steps = ["reduce_dimensions", "extract_features", "extract_features"]
    assert live.api.clusters()[clusters:] == [("TERMINATED", steps)]
    assert_whole(live, before, run_id)


def test_a_dag_that_is_paused_leaves_its_cluster_to_the_idle_timeout(live: Live, before: dict[str, Any]) -> None:
    with extracting(live, idle_timeout_minutes=10) as run_id:
        live.api.request("PATCH", DAG, {"is_paused": True})
    wait_for(lambda: extractions(live) == ["COMPLETED"], "the step ends by itself", WAITS)
    wait_for_the_end_of_clusters(live)
    assert live.api.tasks(run_id)["reduce_dimensions"]["state"] is None, "nothing is scheduled while the DAG is paused"
    live.api.request("PATCH", DAG, {"is_paused": False})

    assert live.api.wait(run_id, WAITS) == "failed", "its cluster is gone"
    assert state(live, run_id, "reduce_dimensions") == "failed"
    assert_whole(live, before, run_id)


def test_a_dag_that_is_deleted_leaves_its_cluster_to_the_idle_timeout(live: Live, before: dict[str, Any]) -> None:
    with extracting(live, idle_timeout_minutes=10) as run_id:
        live.api.request("DELETE", DAG)
        wait_for(lambda: extractions(live) == ["CANCELLED"], "Airflow's triggerer cancels the step", WAITS)
    wait_for_the_end_of_clusters(live)
    wait_for(lambda: is_there(live), "Airflow has found the DAG again", WAITS)
    assert_whole(live, before, run_id)


def is_there(live: Live) -> bool:
    try:
        return bool(live.api.request("GET", f"{DAG}/details"))
    except OSError:  # 404
        return False
