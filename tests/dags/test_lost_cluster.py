"""Whole runs that lose their cluster, before it is ready and during each step: they go on by themselves on another one."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emr_hook import IN_PLACE_OF
from tests.dags.pipeline import Pipeline, Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def pipeline(drawn_pipeline: Pipeline) -> Pipeline:
    return drawn_pipeline


def names(pipeline: Pipeline) -> list[str]:
    """The names of all clusters, oldest first."""
    return [cluster["Name"] for cluster in reversed(pipeline.emr.list_clusters()["Clusters"])]


def assert_complete(pipeline: Pipeline, run: Run, prefix: str, folder: Path) -> None:
    """The run is published, and every image is there once."""
    assert run.exit_code == 0, "\n".join(run.errors())
    latest = pipeline.latest(prefix)
    features = pipeline.rows(f"{prefix}features/run={latest['run']}/", folder)
    paths = [row["path"].rsplit("images/")[1] for row in features]
    assert sorted(paths) == sorted(f"{file.parent.name}/{file.name}" for file in pipeline.photographs)
    assert latest["features"] == len(paths)
    assert set(pipeline.clusters()) <= {"TERMINATED", "TERMINATED_WITH_ERRORS"}


@pytest.mark.parametrize("step", [None, "export_model", "reduce_dimensions"])
def test_a_run_that_loses_its_cluster_goes_on_by_itself(pipeline: Pipeline, step: str | None, tmp_path: Path) -> None:
    before = len(names(pipeline))
    prefix = f"{step}/"
    selected = {"step": step} if step else {}
    pipeline.aws.faults.add(fault="cluster-lost", times=1, **selected)
    run = pipeline.run(output_prefix=prefix)

    assert_complete(pipeline, run, prefix, tmp_path)
    first, second = names(pipeline)[before:]
    assert second.startswith(f"{first}{IN_PLACE_OF}j-")


def test_what_was_extracted_before_the_loss_is_not_extracted_again(pipeline: Pipeline, tmp_path: Path) -> None:
    before = len(names(pipeline))
    prefix = "mid-extraction/"
    kept: list[str] = []

    def lose_in_mid_extraction() -> None:
        def parts() -> list[str]:
            return [key for key in pipeline.keys(f"{prefix}features/") if "/part-" in key]

        slow = pipeline.aws.faults.add(fault="s3-latency", milliseconds=60_000, method="GET", key="images/Pear/*")
        wait_for(parts)
        lost = pipeline.aws.faults.add(fault="cluster-lost", step="extract_features", times=1)
        wait_for(lambda: len(names(pipeline)) == before + 2)
        kept.extend(parts())  # before the second cluster is up
        pipeline.aws.faults.remove(slow.id)
        pipeline.aws.faults.remove(lost.id)

    losing = threading.Thread(target=lose_in_mid_extraction)
    losing.start()
    run = pipeline.run(output_prefix=prefix)
    losing.join()

    assert_complete(pipeline, run, prefix, tmp_path)
    chunks, reused = (int(number) for number in re.findall(r"chunks=(\d+) reused_chunks=(\d+)", step_log(pipeline))[0])
    assert 0 < len(kept) < chunks
    assert reused == len(kept)
    assert set(kept) < set(pipeline.keys(f"{prefix}features/"))


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def step_log(pipeline: Pipeline) -> str:
    """What extract_features has said on the latest cluster."""
    cluster_id = pipeline.emr.list_clusters()["Clusters"][0]["Id"]
    steps = pipeline.emr.list_steps(ClusterId=cluster_id)["Steps"]
    (step_id,) = [step["Id"] for step in steps if step["Name"] == "extract_features"]
    return pipeline.log(cluster_id, step_id)
