"""Whole runs while S3 fails: for a share of the requests, for a minute, or to those whose credentials it refuses.

Real Airflow and real Spark on the local endpoint, in a bucket that has published results. A minute is a minute. Shortened are
Airflow's pauses (a second between two looks or tries, not thirty), which makes it harder, and how long Spark waits for another
node where none can come.
"""

import threading
from typing import Any

import pytest

from tests.dags.pipeline import Pipeline
from tests.dags.published import (
    assert_extracted_once,
    assert_failed,
    assert_published,
    assert_rerun_publishes,
    at_start_of,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200), pytest.mark.usefixtures("before")]
OUTAGE = 60  # seconds
# Once a node has failed a task twice, Spark waits two minutes for another one; here there is none.
NO_OTHER_NODE = {"spark.scheduler.excludeOnFailure.unschedulableTaskSetTimeout": "5s"}
OF_AIRFLOW = ["find_new_images", "deploy_artifacts", "wait_for_outputs", "check_outputs", "publish"]
OF_THE_NODES = ["export_model", "extract_features", "reduce_dimensions"]


@pytest.mark.parametrize("fault", ["s3-error", "s3-drop"])
def test_a_tenth_of_all_requests_fails(pipeline: Pipeline, fault: str) -> None:
    clusters = len(pipeline.clusters())
    prefix = f"tenth-{fault}/"  # where no image is known yet
    rule = pipeline.aws.faults.add(fault=fault, share=0.1)
    run = pipeline.run(output_prefix=prefix)
    pipeline.aws.faults.clear()

    assert_published(pipeline, run, prefix)
    assert_extracted_once(pipeline, prefix)
    assert rule.hits > 5
    assert len(run.tries) == len(set(run.tries)), f"a task has needed a second try: {run.errors()}"
    assert len(pipeline.clusters()) == clusters + 1


class Outages:
    """S3 answers 503 to every request for a while, as often as it is asked to."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._faults = pipeline.aws.faults
        self.hits: list[int] = []

    def begin(self) -> None:
        rule = self._faults.add(fault="s3-error")

        def end() -> None:
            self._faults.remove(rule.id)
            self.hits.append(rule.hits)

        threading.Timer(OUTAGE, end).start()

    def begin_in_mid_reading(self) -> None:
        """Begin when the first images were asked for; what is asked for then has no answer yet."""
        held = self._faults.add(fault="s3-latency", milliseconds=5_000, method="GET", key="images/*")

        def wait() -> None:
            while not held.hits:
                threading.Event().wait(0.1)
            self.begin()

        threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("tasks", [OF_AIRFLOW, OF_THE_NODES], ids=["airflow", "nodes"])
def test_s3_is_down_for_a_minute_in_each_phase(pipeline: Pipeline, tasks: list[str]) -> None:
    clusters, outages = len(pipeline.clusters()), Outages(pipeline)
    prefix = f"down-{tasks[0]}/"  # where there is no model yet
    watches = [at_start_of(task_id, outages.begin) for task_id in tasks]
    run = pipeline.run(watch=lambda line: [watch(line) for watch in watches], output_prefix=prefix)

    assert_published(pipeline, run, prefix)
    assert_extracted_once(pipeline, prefix)
    assert len(outages.hits) == len(tasks)
    assert min(outages.hits) > 0
    assert len(pipeline.clusters()) == clusters + 1


def test_s3_is_down_for_a_minute_while_images_are_read(pipeline: Pipeline) -> None:
    outages = Outages(pipeline)
    run = pipeline.run(watch=at_start_of("extract_features", outages.begin_in_mid_reading))

    assert_published(pipeline, run)
    assert_extracted_once(pipeline)
    (hits,) = outages.hits
    assert hits > 0


@pytest.mark.parametrize(
    ("task_id", "rule", "said"),
    [
        (
            "wait_for_outputs",
            {"method": "[HG]E*", "key": "results/*/pca/*"},
            "(ExpiredToken) when calling the GetObject",
        ),
        ("extract_features", {"method": "GET", "key": "images/*"}, "S3 refuses this node's credentials (ExpiredToken"),
    ],
    ids=["airflow", "nodes"],
)
def test_credentials_expire_in_mid_run(
    pipeline: Pipeline, before: dict[str, Any], task_id: str, rule: dict[str, str], said: str
) -> None:
    def expire() -> None:
        pipeline.aws.faults.add(fault="s3-error", code="ExpiredToken", **rule)

    failed = pipeline.run(watch=at_start_of(task_id, expire), spark_defaults=NO_OTHER_NODE)

    assert_failed(pipeline, failed, before, task_id, said)
    assert_rerun_publishes(pipeline)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"method": "GET", "key": "images/*"}, "s3:GetObject"),
        ({"method": "PUT", "key": "features/*"}, "cannot be written"),
    ],
    ids=["images", "chunks"],
)
def test_a_prefix_is_closed_to_the_nodes(
    pipeline: Pipeline, before: dict[str, Any], rule: dict[str, str], said: str
) -> None:
    def close() -> None:
        pipeline.aws.faults.add(fault="s3-error", code="AccessDenied", **rule)

    failed = pipeline.run(watch=at_start_of("extract_features", close), spark_defaults=NO_OTHER_NODE)

    assert_failed(pipeline, failed, before, "extract_features", said)
    assert_rerun_publishes(pipeline)
