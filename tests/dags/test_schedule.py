"""When the DAG runs by itself, by the settings of the installation."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

from fruit_features.schedule import NIGHTLY, RESULTS, dag_schedule
from fruit_features.settings import ConfigError
from tests.conftest import PROJECT

IMAGES = {
    "FRUITS_IMAGES_BUCKET": "photos",
    "FRUITS_IMAGES_PREFIX": "/",
    "FRUITS_INCLUDE": "A*/*,Pear/*",
    "FRUITS_EXCLUDE": "*/thumbnails/*",
}
QUEUE = "https://sqs.eu-west-3.amazonaws.com/123456789012/new-images"


def test_without_settings_it_never_starts_by_itself() -> None:
    assert dag_schedule(None, None, None) is None
    assert dag_schedule(None, None, "fruits") is None


def test_a_cron_alone_is_a_sweep() -> None:
    found = dag_schedule("0 5 * * 1", None, "fruits")
    assert isinstance(found, CronTriggerTimetable)
    assert found.expression == "0 5 * * 1"


@pytest.mark.parametrize(("cron", "expected"), [(None, NIGHTLY), ("0 5 * * 1", "0 5 * * 1")])
def test_with_a_queue_there_are_events_and_a_sweep(cron: str | None, expected: str) -> None:
    found = dag_schedule(cron, QUEUE, "fruits")
    assert isinstance(found, AssetOrTimeSchedule)
    assert isinstance(found.timetable, CronTriggerTimetable)
    assert found.timetable.expression == expected
    (asset,) = found.asset_condition.objects
    (watcher,) = asset.watchers
    path, arguments = watcher.trigger.serialize()
    assert path == "s3_event_trigger.S3EventTrigger"
    assert (arguments["queue_url"], arguments["bucket"], arguments["prefix"]) == (QUEUE, "fruits", "images/")


def test_a_schedule_needs_a_bucket() -> None:
    with pytest.raises(ConfigError, match=r"need FRUITS_BUCKET"):
        dag_schedule("0 5 * * 1", None, None)


def test_the_dag_loads_with_a_schedule_and_serializes_as_the_dag_processor_does() -> None:
    probe = (
        "import json\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "from airflow.serialization.serialized_objects import DagSerialization\n"
        f"bag = DagBag({str(PROJECT / 'dags')!r})\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "found = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags['fruit_features'])).timetable\n"
        "(asset,) = bag.dags['fruit_features'].timetable.asset_condition.objects\n"
        "print(json.dumps(asset.watchers[0].trigger.serialize()[1]))\n"
        "print(type(found).__name__)\n"
    )
    settings = {
        "FRUITS_QUEUE_URL": QUEUE,
        "FRUITS_BUCKET": "fruits",
        **IMAGES,
        "PYTHONPATH": f"{PROJECT}/dags:{PROJECT}/plugins",
    }
    done = subprocess.run(
        [sys.executable, "-c", probe], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, watched, kind = done.stdout.splitlines()
    assert kind == "AssetOrTimeSchedule"
    arguments = json.loads(watched)
    assert (arguments["bucket"], arguments["prefix"]) == ("photos", ""), (
        "the events are of the images, wherever they lie"
    )
    keys = ("Apple/1.jpg", "Apple/thumbnails/1.jpg", "Banana/1.jpg")
    assert [key for key in keys if re.match(arguments["pattern"], key)] == ["Apple/1.jpg"]


def test_the_example_of_the_documentation_is_scheduled_on_the_results(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "schedule.md").read_text(), re.DOTALL)
    (tmp_path / "after_fruit_features.py").write_text(example)
    bag = DagBag(tmp_path)
    assert bag.import_errors == {}
    assert bag.dags["after_fruit_features"].timetable.asset_condition.objects == (RESULTS,)
