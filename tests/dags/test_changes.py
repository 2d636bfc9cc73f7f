"""Whole runs on a bucket that changes: only what is new is extracted, and what is published is what the bucket holds."""

import sys
import time
from pathlib import Path

import pytest

from demo.images import draw_fruit
from tests.dags.pipeline import BUCKET, Pipeline

ADDED, DELETED, REPLACED = 20, 5, 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def images(pipeline: Pipeline) -> dict[str, str]:
    """The ETag of each image in the bucket, by its URI."""
    pages = pipeline.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="images/")
    found = [item for page in pages for item in page["Contents"]]
    return {f"s3://{BUCKET}/{item['Key']}": item["ETag"].strip('"') for item in found}


def change(pipeline: Pipeline, folder: Path) -> None:
    """Add, delete and replace images."""
    known = sorted(uri.removeprefix(f"s3://{BUCKET}/images/") for uri in images(pipeline))
    for name in known[:DELETED]:
        pipeline.s3.delete_object(Bucket=BUCKET, Key=f"images/{name}")
    new = [f"Kiwi/new {number}.jpg" for number in range(ADDED)]
    for number, name in enumerate([*new, *known[-REPLACED:]]):
        draw_fruit("Kiwi", number, 1000).save(folder / "drawn.jpg")
        pipeline.upload(folder / "drawn.jpg", name)


@pytest.fixture(scope="module")
def before(drawn_pipeline: Pipeline) -> dict[str, str]:
    """The images of a first run, which has published them."""
    first = drawn_pipeline.run()
    assert first.exit_code == 0, "\n".join(first.errors())
    return images(drawn_pipeline)


def test_without_changes_no_cluster_is_asked_for(
    drawn_pipeline: Pipeline, before: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    clusters = drawn_pipeline.emr.list_clusters()["Clusters"]

    started = time.monotonic()
    again = drawn_pipeline.run()
    seconds = time.monotonic() - started

    with capsys.disabled():
        sys.stdout.write(
            f"\na run without changes, {len(before)} images: {seconds:.1f} s, the start of Airflow included\n"
        )
    assert again.exit_code == 0, "\n".join(again.errors())
    assert again.started == ["find_new_images", "conclude_run"]
    assert drawn_pipeline.emr.list_clusters()["Clusters"] == clusters


def test_what_came_and_changed_is_extracted_and_what_went_is_gone(
    drawn_pipeline: Pipeline, before: dict[str, str], tmp_path: Path
) -> None:
    change(drawn_pipeline, tmp_path)
    now = images(drawn_pipeline)
    changed = {uri: etag for uri, etag in now.items() if before.get(uri) != etag}
    assert (len(now), len(changed)) == (len(before) + ADDED - DELETED, ADDED + REPLACED)

    run = drawn_pipeline.run()

    assert run.exit_code == 0, "\n".join(run.errors())
    latest = drawn_pipeline.latest()
    manifest, features, pca = (
        drawn_pipeline.rows(f"{prefix}/", tmp_path)
        for prefix in (
            f"runs/{latest['run']}/manifest",
            f"features/run={latest['run']}",
            f"results/run={latest['run']}/pca",
        )
    )
    assert sorted((row["path"], row["etag"]) for row in manifest) == sorted(changed.items())
    assert sorted((row["path"], row["etag"]) for row in features) == sorted(changed.items())
    assert sorted(row["path"] for row in pca) == sorted(now)
    assert (latest["images"], latest["features"], latest["rejects"]) == (len(now), len(now), 0)


def test_an_interactive_run_leaves_its_cluster_and_says_how_to_reach_it(
    drawn_pipeline: Pipeline, before: dict[str, str]
) -> None:
    run = drawn_pipeline.run(interactive=True, variance=0.7)

    assert run.exit_code == 0, "\n".join(run.errors())
    newest, *others = drawn_pipeline.emr.list_clusters()["Clusters"]
    assert newest["Status"]["State"] == "WAITING"
    assert {cluster["Status"]["State"] for cluster in others} == {"TERMINATED"}
    cluster = drawn_pipeline.emr.describe_cluster(ClusterId=newest["Id"])["Cluster"]
    assert {"Spark", "JupyterHub", "Livy"} <= {application["Name"] for application in cluster["Applications"]}
    assert any(f"to end it: aws emr terminate-clusters --cluster-ids {newest['Id']}" in line for line in run.log)
    drawn_pipeline.emr.terminate_job_flows(JobFlowIds=[newest["Id"]])
    drawn_pipeline.emr.get_waiter("cluster_terminated").wait(
        ClusterId=newest["Id"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
