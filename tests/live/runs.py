"""Runs whose step extract_features is held while something happens to Airflow, and what must hold afterwards."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

from demo.bucket import BUCKET
from demo.images import draw_fruit
from fruit_features.layout import run_name
from tests.live.conftest import Live
from tests.live.parts import wait_for

WAITS = 600  # seconds; a machine may be busy
NEW_IMAGES = 3
FRESH = count(1000)  # numbers of images that no other test has put


def publish_first(live: Live) -> str:
    """Make the first results; return the id of their run."""
    run_id = live.api.trigger()
    assert live.api.wait(run_id, WAITS) == "success", live.api.tasks(run_id)
    return run_id


def put_new_images(live: Live, images: int = NEW_IMAGES) -> None:
    """Put images that nobody has seen before, all at once: they are drawn first, as an upload of photographs is not."""
    drawn = {}
    for number in (next(FRESH) for _ in range(images)):
        image = io.BytesIO()
        draw_fruit("Kiwi", number, 5000).save(image, "JPEG")
        drawn[f"images/Kiwi/new {number}.jpg"] = image.getvalue()
    for key, content in drawn.items():
        live.s3.put_object(Bucket=BUCKET, Key=key, Body=content)


def state(live: Live, run_id: str, task_id: str) -> str | None:
    found: str | None = live.api.tasks(run_id)[task_id]["state"]
    return found


@contextlib.contextmanager
def held_at(live: Live, task_id: str, in_state: str, key: str, **conf: Any) -> Iterator[str]:
    """Yield the id of a run with new images whose task is in that state and waits for objects, until the block ends."""
    put_new_images(live)
    held = live.aws.faults.add(fault="s3-latency", milliseconds=600_000, method="GET", key=key)
    run_id = live.api.trigger(**conf)
    wait_for(lambda: state(live, run_id, task_id) == in_state and held.hits, f"{task_id} waits for S3", WAITS)
    yield run_id
    live.aws.faults.remove(held.id)


def extracting(live: Live, **conf: Any) -> contextlib.AbstractContextManager[str]:
    """Yield the id of a run whose step extract_features waits for its images, until the block ends."""
    return held_at(live, "extract_features", "deferred", "images/*", **conf)


def wait_for_the_end_of_clusters(live: Live) -> None:
    wait_for(lambda: all("TERMINATED" in found for found, _ in live.api.clusters()), "no cluster is alive", WAITS)


def assert_whole(live: Live, before: dict[str, Any], run_id: str) -> None:
    """Nothing is alive, what is published is the former or this run's, and the run or the next one has every image once."""
    wait_for_the_end_of_clusters(live)
    live.aws.faults.clear()
    if live.published()["run"] != run_name(run_id):
        assert live.published() == before
        again = live.api.trigger()
        assert live.api.wait(again, WAITS) == "success", live.api.tasks(again)
        assert live.published()["run"] == run_name(again)
    features = Counter(live.column("features/", "path"))
    assert set(features) == {f"s3://{BUCKET}/{key}" for key in live.keys("images/")}
    assert set(features.values()) == {1}
    assert live.published()["features"] == len(features)
