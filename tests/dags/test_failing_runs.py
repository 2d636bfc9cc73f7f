"""Whole runs that fail in a step or in a check of what the steps have written, one after the other, and the run after them.

Real Airflow and real Spark on the local endpoint, in a bucket that has published results. Each failure ends its cluster and
leaves what is published as it was; the run at the end publishes every image once, with what the failed ones have finished.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dags.pipeline import BUCKET, Pipeline
from tests.dags.published import (
    assert_failed,
    assert_rerun_publishes,
    at_start_of,
    read,
)
from tests.dags.test_lost_cluster import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900), pytest.mark.usefixtures("before")]
# Here is one node: a task that fails on it would be tried there again, for minutes.
ONE_TRY = {"spark.task.maxFailures": "1", "spark.excludeOnFailure.enabled": "false"}
M5 = {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}]}
HASTY = {
    "SpotSpecification": {"TimeoutDurationMinutes": 1, "TimeoutAction": "TERMINATE_CLUSTER"}
}  # EMR wants 5 or more
FLEETS = [
    {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, **M5},
    {"InstanceFleetType": "CORE", "TargetSpotCapacity": 1, "LaunchSpecifications": HASTY, **M5},
]


@pytest.fixture(scope="module")
def pipeline(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The run after all of them publishes every image once, whichever of them were asked for."""
    yield pipeline
    assert_rerun_publishes(pipeline)


def fault(**rule: Any) -> Callable[[Pipeline], object]:
    return lambda pipeline: pipeline.aws.faults.add(**rule)


def fault_of_one_image(**rule: Any) -> Callable[[Pipeline], object]:
    """Of the image that was put last: S3 is asked for each again and again, for a minute and a half."""

    def do(pipeline: Pipeline) -> None:
        last = max(pipeline.keys("images/Kiwi/new "), key=lambda key: int(key.removesuffix(".jpg").rpartition(" ")[2]))
        pipeline.aws.faults.add(method="GET", key=last, **rule)

    return do


def no_fault(_: Pipeline) -> None:
    pass


def images_wait(pipeline: Pipeline) -> None:
    pipeline.aws.faults.add(fault="s3-latency", milliseconds=120_000, method="GET", key="images/*")


def a_person_ends_the_cluster(pipeline: Pipeline) -> None:
    images_wait(pipeline)

    def end() -> None:
        (cluster,) = pipeline.emr.list_clusters(ClusterStates=["WAITING", "RUNNING"])["Clusters"]
        wait_for(lambda: pipeline.emr.list_steps(ClusterId=cluster["Id"], StepStates=["RUNNING"])["Steps"])
        pipeline.emr.terminate_job_flows(JobFlowIds=[cluster["Id"]])

    threading.Thread(target=end, daemon=True).start()


def the_bootstrap_script_fails(pipeline: Pipeline) -> None:
    (script,) = [key for key in pipeline.keys("artifacts/") if key.endswith(".sh")]
    pipeline.s3.put_object(Bucket=BUCKET, Key=script, Body=b"echo no space is left >&2; exit 1")


@pytest.mark.parametrize(
    ("task_id", "do", "params", "said"),
    [
        pytest.param(
            "create_cluster",
            no_fault,
            {"job_flow_overrides": {"Instances": {"InstanceFleets": FLEETS}}},
            "TimeoutDurationMinutes must be from 5",
            id="emr-refuses",
        ),
        pytest.param("wait_for_cluster", the_bootstrap_script_fails, {}, "BOOTSTRAP_FAILURE", id="bootstrap"),
        pytest.param(
            "extract_features",
            fault(fault="step-kill", step="extract_features", after_seconds=3, times=1),
            {},
            "137",
            id="killed",
        ),
        pytest.param("extract_features", images_wait, {"step_timeout_hours": 0.01}, "124", id="out-of-time"),
        pytest.param("extract_features", a_person_ends_the_cluster, {}, "the cluster is TERMINAT", id="cluster-ended"),
        pytest.param(
            "extract_features",
            fault_of_one_image(fault="s3-error", status=500),
            {"spark_defaults": ONE_TRY},
            "InternalError",
            id="s3-answers-500",
        ),
        pytest.param(
            "extract_features",
            fault_of_one_image(fault="s3-drop", after_bytes=1000),
            {"spark_defaults": ONE_TRY},
            "Kiwi/new",
            id="answers-break-off",
        ),
        pytest.param(
            "extract_features",
            fault(fault="s3-error", code="NoSuchBucket", status=404, method="GET", key="images/*"),
            {"spark_defaults": ONE_TRY},
            "NoSuchBucket",
            id="bucket-gone",
        ),
        pytest.param(
            "reduce_dimensions",
            fault(fault="step-exit", step="reduce_dimensions", exit_code=3, times=1),
            {},
            "is FAILED",
            id="reduction",
        ),
    ],
)
def test_a_step_fails(
    pipeline: Pipeline,
    before: dict[str, Any],
    task_id: str,
    do: Callable[[Pipeline], object],
    params: dict[str, Any],
    said: str,
) -> None:
    begins_at = "create_cluster" if task_id == "wait_for_cluster" else task_id
    failed = pipeline.run(watch=at_start_of(begins_at, lambda: do(pipeline)), **params)

    assert_failed(pipeline, failed, before, task_id, said)


def test_more_images_are_unusable_than_allowed(pipeline: Pipeline, before: dict[str, Any]) -> None:
    unusable = [f"images/Kiwi/notes {number}.jpg" for number in range(10)]
    for key in unusable:
        pipeline.s3.put_object(Bucket=BUCKET, Key=key, Body=b"no image")
    failed = pipeline.run()
    for key in unusable:
        pipeline.s3.delete_object(Bucket=BUCKET, Key=key)

    assert_failed(pipeline, failed, before, "extract_features", "more than max_reject_share")


def of_this_run(pipeline: Pipeline, prefix: str) -> list[str]:
    """The part files of the run that is under way, the latest to write below the prefix."""
    pages = pipeline.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    objects = [item for page in pages for item in page["Contents"] if item["Key"].endswith(".parquet")]
    folder = max(objects, key=lambda item: item["LastModified"])["Key"].rpartition("/")[0]
    return sorted(item["Key"] for item in objects if item["Key"].startswith(f"{folder}/"))


def features_are_cut(pipeline: Pipeline) -> None:
    part = of_this_run(pipeline, "features/")[0]
    pipeline.s3.put_object(Bucket=BUCKET, Key=part, Body=read(pipeline, part)[:5000])


def features_are_removed(pipeline: Pipeline) -> None:
    pipeline.s3.delete_object(Bucket=BUCKET, Key=of_this_run(pipeline, "features/")[0])


def features_are_copied(pipeline: Pipeline) -> None:
    part = of_this_run(pipeline, "features/")[0]
    folder = part.rpartition("/")[0]
    pipeline.s3.put_object(Bucket=BUCKET, Key=f"{folder}/part-copy.parquet", Body=read(pipeline, part))


def vectors_are_replaced(pipeline: Pipeline) -> None:
    pipeline.s3.put_object(Bucket=BUCKET, Key=of_this_run(pipeline, "results/")[0], Body=b"another")


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (features_are_cut, "1 file(s) are not what the step has written"),
        (features_are_removed, "1 file(s) are not there any more"),
        (features_are_copied, "1 file(s) are there that the step has not written"),
        (vectors_are_replaced, "1 file(s) are not what the step has written"),
    ],
)
def test_a_check_fails(pipeline: Pipeline, before: dict[str, Any], do: Callable[[Pipeline], None], said: str) -> None:
    failed = pipeline.run(watch=at_start_of("check_outputs", lambda: do(pipeline)))
    for key in pipeline.keys("features/"):
        if key.endswith("copy.parquet"):  # the error says so
            pipeline.s3.delete_object(Bucket=BUCKET, Key=key)

    assert_failed(pipeline, failed, before, "check_outputs", said)
