"""A run whose Airflow loses a part, or a worker with its task; on PostgreSQL.

After each: no cluster is alive, `latest.json` is whole, and a rerun has every image once.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.live.conftest import Live
from tests.live.runs import WAITS, assert_whole, extracting, held_at, publish_first
from tests.webhook import Messages

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def told() -> Iterator[Messages]:
    """What is told of runs."""
    with Messages() as messages:
        yield messages


@pytest.fixture(scope="module")
def live_settings(told: Messages) -> Mapping[str, str]:
    """Uploads start no runs, and every run is late: none is over within two seconds."""
    chat = {"conn_type": "http", "host": told.url}
    return {
        "FRUITS_QUEUE_URL": "",
        "AIRFLOW_CONN_CHAT": json.dumps(chat),
        "FRUITS_NOTIFY_CONN": "chat",
        "FRUITS_DEADLINE_HOURS": str(2 / 3600),
    }


@pytest.fixture(scope="module", autouse=True)
def first(live: Live) -> str:
    """The run of the first results."""
    return publish_first(live)


def test_a_run_that_is_not_over_in_time_is_told_of_and_goes_on(live: Live, told: Messages, first: str) -> None:
    """The scheduler sees it, and the triggerer tells of it."""
    text = told.wait_for(f"run {first} has not finished after", WAITS)
    assert "What to do: see which task runs." in text
    assert told.count(first) == 1
    assert live.api.tasks(first)["publish"]["state"] == "success"


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
