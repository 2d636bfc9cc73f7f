"""A run whose Airflow loses a part while a step is at work; on PostgreSQL.

After each: no cluster is alive, `latest.json` is whole, and a rerun has every image once.
"""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest

from demo.bucket import BUCKET
from demo.images import draw_fruit
from fruit_features.layout import run_name
from tests.live.conftest import Live
from tests.live.parts import wait_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

WAITS = 600  # seconds; a machine may be busy
NEW_IMAGES = 3
FRESH = count(1000)  # numbers of images that no other test has put


@pytest.fixture(scope="module")
def live_settings() -> Mapping[str, str]:
    """Uploads start no runs."""
    return {"FRUITS_QUEUE_URL": ""}


@pytest.fixture(scope="module", autouse=True)
def first(live: Live) -> None:
    """There are published results."""
    run_id = live.api.trigger()
    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)


@pytest.fixture(autouse=True)
def before(live: Live) -> Iterator[dict[str, Any]]:
    """What is published before a test."""
    yield published(live)
    live.aws.faults.clear()


def published(live: Live) -> dict[str, Any]:
    return json.loads(live.s3.get_object(Bucket=BUCKET, Key="results/latest.json")["Body"].read())


def put_new_images(live: Live) -> None:
    for number in (next(FRESH) for _ in range(NEW_IMAGES)):
        image = io.BytesIO()
        draw_fruit("Kiwi", number, 2000).save(image, "JPEG")
        live.s3.put_object(Bucket=BUCKET, Key=f"images/Kiwi/new {number}.jpg", Body=image.getvalue())


def state(live: Live, run_id: str, task_id: str) -> str | None:
    found: str | None = live.api.tasks(run_id)[task_id]["state"]
    return found


@contextlib.contextmanager
def extracting(live: Live) -> Iterator[str]:
    """Yield the id of a run whose step extract_features waits for its images, until the block ends."""
    put_new_images(live)
    held = live.aws.faults.add(fault="s3-latency", milliseconds=600_000, method="GET", key="images/*")
    run_id = live.api.trigger()
    wait_for(lambda: state(live, run_id, "extract_features") == "deferred" and held.hits, "images are read", WAITS)
    yield run_id
    live.aws.faults.remove(held.id)


def assert_whole(live: Live, before: dict[str, Any], run_id: str) -> None:
    """Nothing is alive, what is published is the former or this run's, and the run or the next one has every image once."""
    wait_for(lambda: all("TERMINATED" in state for state, _ in live.api.clusters()), "no cluster is alive", WAITS)
    live.aws.faults.clear()
    if published(live)["run"] != run_name(run_id):
        assert published(live) == before
        again = live.api.trigger()
        assert live.api.wait(again, WAITS) == "success", live.api.tasks(again)
        assert published(live)["run"] == run_name(again)
    features = Counter(live.column("features/", "path"))
    assert set(features) == {f"s3://{BUCKET}/{key}" for key in live.keys("images/")}
    assert set(features.values()) == {1}
    assert published(live)["features"] == len(features)


@pytest.mark.parametrize("part", ["scheduler", "triggerer"])
def test_a_part_that_is_killed_and_started_again_costs_nothing(live: Live, before: dict[str, Any], part: str) -> None:
    clusters = len(live.api.clusters())
    with extracting(live) as run_id:
        live.parts.kill(part)
        live.parts.start(part)

    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)
    assert live.api.clusters()[clusters:] == [("TERMINATED", ["reduce_dimensions", "extract_features"])]
    assert_whole(live, before, run_id)
