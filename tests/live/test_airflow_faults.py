"""A run whose Airflow loses a part, or a worker with its task; on PostgreSQL.

After each: no cluster is alive, `latest.json` is whole, and a rerun has every image once.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.live.conftest import Live
from tests.live.runs import WAITS, assert_whole, extracting, held_at, publish_first

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def live_settings() -> Mapping[str, str]:
    """Uploads start no runs."""
    return {"FRUITS_QUEUE_URL": ""}


@pytest.fixture(scope="module", autouse=True)
def first(live: Live) -> None:
    """There are published results."""
    publish_first(live)


@pytest.mark.parametrize("part", ["scheduler", "triggerer"])
def test_a_part_that_is_killed_and_started_again_costs_nothing(live: Live, before: dict[str, Any], part: str) -> None:
    clusters = len(live.api.clusters())
    with extracting(live) as run_id:
        live.parts.kill(part)
        live.parts.start(part)

    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)
    assert live.api.clusters()[clusters:] == [("TERMINATED", ["reduce_dimensions", "extract_features"])]
    assert_whole(live, before, run_id)


@pytest.mark.parametrize(
    ("task_id", "key"), [("find_new_images", "results/latest.json"), ("check_outputs", "results/run=*/report.json")]
)
def test_a_worker_that_is_killed_with_its_task_costs_a_try(
    live: Live, before: dict[str, Any], task_id: str, key: str
) -> None:
    """Airflow misses the task's heartbeat and tries it again."""
    clusters = len(live.api.clusters())
    with held_at(live, task_id, "running", key) as run_id:
        live.parts.kill_busy_workers()

    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)
    assert live.api.tasks(run_id)[task_id]["try_number"] == 2
    assert live.api.clusters()[clusters:] == [("TERMINATED", ["reduce_dimensions", "extract_features"])]
    assert_whole(live, before, run_id)
