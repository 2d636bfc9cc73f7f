"""Uploads that start runs: soon, few, and none forgotten whatever dies, is lost or paused on the way; on PostgreSQL."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest

from demo.bucket import BUCKET
from tests.conftest import PROJECT
from tests.live.conftest import NEVER, Live
from tests.live.parts import wait_for
from tests.live.runs import WAITS, publish_first, put_new_images

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

SOON = 60  # seconds from an upload to its run
LET_GO = "Trigger cancelled by user action"  # in the triggerer's log
DAG, EXAMPLE = "/api/v2/dags/fruit_features", "/api/v2/dags/after_fruit_features"


@pytest.fixture(scope="module")
def live_settings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Beside this project's DAGs there is the one that docs/schedule.md shows, as it stands there."""
    folder = tmp_path_factory.mktemp("example")
    page = (PROJECT / "docs" / "schedule.md").read_text(encoding="utf-8")
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "after_fruit_features" in block
    ]
    (folder / "after_fruit_features.py").write_text(example, encoding="utf-8")
    kind = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": name, "classpath": kind, "kwargs": {"path": str(path)}}
        for name, path in (("fruits", PROJECT / "dags"), ("example", folder))
    ]
    return {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles)}


def runs(live: Live, dag: str = DAG) -> dict[str, dict[str, Any]]:
    """All runs by their id, the oldest first."""
    found = live.api.request("GET", f"{dag}/dagRuns?order_by=id&limit=100")["dag_runs"]
    return {run["dag_run_id"]: run for run in found}


def messages(live: Live) -> tuple[int, int]:
    """How many messages wait in the queue, and how many somebody has received and not deleted yet."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = live.sqs.get_queue_attributes(QueueUrl=live.queue_url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def features(live: Live) -> list[str]:
    return sorted(live.column("features/", "path"))


def images(live: Live) -> list[str]:
    return sorted(f"s3://{BUCKET}/{key}" for key in live.keys("images/"))


def new_runs(live: Live, before: Mapping[str, Any], *, seconds: float = WAITS) -> list[dict[str, Any]]:
    """Wait until all images are published and nothing is at work; return the runs that this took, all successful."""

    def done() -> bool:
        return features(live) == images(live) and all(run["state"] == "success" for run in runs(live).values())

    wait_for(done, "every image is there once, and all runs have succeeded", seconds, pause=2)
    assert live.published()["features"] == len(images(live))
    return [run for run_id, run in runs(live).items() if run_id not in before]


@pytest.fixture(scope="module", autouse=True)
def first(live: Live) -> None:
    """What was there from the start is published."""
    publish_first(live)
    new_runs(live, {})


def test_an_upload_starts_a_run_within_a_minute_and_other_dags_see_its_results(live: Live) -> None:
    before, others = runs(live), runs(live, EXAMPLE)
    put_new_images(live, 1)
    started = time.monotonic()

    wait_for(lambda: runs(live).keys() - before.keys(), "a run", SOON)
    print(f"\nfrom the upload to the run: {time.monotonic() - started:.0f} s")

    run, *more = new_runs(live, before)
    assert (run["run_type"], more) == ("asset_triggered", [])
    wait_for(lambda: runs(live, EXAMPLE).keys() - others.keys(), "a run of the example", SOON)
    example = next(run_id for run_id in runs(live, EXAMPLE) if run_id not in others)
    wait_for(lambda: runs(live, EXAMPLE)[example]["state"] == "success", "the example has succeeded", WAITS)
    log = live.api.request("GET", f"{EXAMPLE}/dagRuns/{example}/taskInstances/use/logs/1?full_content=true")
    assert f"{len(images(live))}" in json.dumps(log), "the number of images, from the event"


def test_a_burst_of_uploads_is_a_few_runs(live: Live) -> None:
    before = runs(live)
    started = time.monotonic()
    put_new_images(live, 500)
    uploaded = time.monotonic() - started
    took = new_runs(live, before, seconds=900)

    print(f"\nruns for 500 uploads in {uploaded:.0f} s: {len(took)}")
    assert 1 <= len(took) <= 3


def test_a_message_that_was_received_by_a_triggerer_that_died_starts_a_run(live: Live) -> None:
    before = runs(live)
    put_new_images(live, 1)
    wait_for(lambda: messages(live)[1], "the triggerer has received the message", SOON, pause=0.05)
    live.parts.kill("triggerer")
    assert runs(live).keys() == before.keys()
    assert sum(messages(live)) == 1, "a message is kept until its event is in Airflow's database"

    live.parts.start("triggerer")

    assert len(new_runs(live, before)) == 1


def test_images_that_were_put_while_the_dag_was_paused_are_found_afterwards(live: Live) -> None:
    before, let_go = runs(live), live.parts.log("triggerer").count(LET_GO)
    live.api.request("PATCH", DAG, {"is_paused": True})
    # Until the DAG file is parsed, the triggerer turns messages into events, which Airflow drops as the DAG is paused.
    wait_for(lambda: live.parts.log("triggerer").count(LET_GO) > let_go, "the triggerer lets the queue go", SOON)
    put_new_images(live, 2)
    time.sleep(SOON)  # by when an upload has started its run, were the DAG not paused
    assert runs(live).keys() == before.keys()

    live.api.request("PATCH", DAG, {"is_paused": False})

    assert 1 <= len(new_runs(live, before)) <= 2


def test_the_sweep_finds_images_whose_messages_were_lost(live: Live) -> None:
    before = runs(live)
    live.parts.kill("triggerer")
    put_new_images(live, 1)
    live.sqs.purge_queue(QueueUrl=live.queue_url)
    live.parts.start("triggerer")
    time.sleep(15)
    assert runs(live).keys() == before.keys(), "nobody knows of the image"

    live.parts.kill("dag-processor")
    live.parts.start("dag-processor", FRUITS_SCHEDULE="* * * * *")

    took = new_runs(live, before)
    assert {run["run_type"] for run in took} == {"scheduled"}
    live.parts.kill("dag-processor")
    live.parts.start("dag-processor", FRUITS_SCHEDULE=NEVER)
