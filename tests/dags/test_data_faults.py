"""Whole runs whose data changes under them: images, weights, what earlier runs have left, `latest.json`.

Real Airflow and real Spark on the local endpoint, in a bucket that has published results.
"""

from typing import Any

import pytest

from tests.dags.pipeline import BUCKET, Pipeline
from tests.dags.published import (
    assert_extracted_once,
    assert_failed,
    assert_no_cluster,
    assert_published,
    assert_rerun_publishes,
    at_start_of,
    column,
    put_image,
    read,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def test_images_are_replaced_and_deleted_in_mid_run(pipeline: Pipeline, new: list[str]) -> None:
    replaced, deleted, kept = new

    def change() -> None:
        put_image(pipeline, replaced)
        pipeline.s3.delete_object(Bucket=BUCKET, Key=f"images/{deleted}")

    run = pipeline.run(watch=at_start_of("create_cluster", change), max_reject_share=0.5)

    assert run.exit_code == 0, "\n".join(run.errors())
    assert_no_cluster(pipeline)
    latest = pipeline.latest()
    assert latest["rejects_by_reason"] == {"changed": 1, "not_found": 1}
    extracted = column(pipeline, f"features/run={latest['run']}/", "path")
    assert extracted == [f"s3://{BUCKET}/images/{kept}"]
    assert_rerun_publishes(pipeline)


def test_weights_are_replaced_in_mid_run(pipeline: Pipeline, before: dict[str, Any]) -> None:
    key = pipeline.weights.removeprefix(f"s3://{BUCKET}/")
    weights = read(pipeline, key)

    def put(content: bytes) -> None:
        pipeline.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

    prefix = "weights/"  # where no network is exported yet
    # HDF5 knows its own length: the same network under another name.
    watch = at_start_of("create_cluster", lambda: put(weights + b"2"))
    failed = pipeline.run(watch=watch, output_prefix=prefix)

    assert_failed(pipeline, failed, before, "export_model", "not the expected")
    assert_published(pipeline, pipeline.run(output_prefix=prefix), prefix)
    put(weights)


def test_what_earlier_runs_have_left_is_removed_truncated_and_foreign(pipeline: Pipeline, new: list[str]) -> None:
    second = assert_rerun_publishes(pipeline)  # of the new images: two runs have features now
    assert new
    parts = [key for key in pipeline.keys("features/") if key.endswith(".parquet")]
    removed, truncated = parts[0], parts[-1]
    assert removed.rpartition("/")[0] != truncated.rpartition("/")[0], "of two runs"
    content = read(pipeline, truncated)
    folder = truncated.rpartition("/")[0]
    pipeline.s3.delete_object(Bucket=BUCKET, Key=removed)
    pipeline.s3.put_object(Bucket=BUCKET, Key=truncated, Body=content[: len(content) // 2])
    pipeline.s3.put_object(Bucket=BUCKET, Key=f"{folder}/part-foreign.parquet", Body=b"no Parquet")
    pipeline.s3.put_object(Bucket=BUCKET, Key=f"{folder}/notes.txt", Body=b"of a person")

    run = pipeline.run()

    assert_published(pipeline, run)
    assert_extracted_once(pipeline)
    for name in (truncated, f"{folder}/part-foreign.parquet"):
        assert any(f"s3://{BUCKET}/{name} does not count as features" in line for line in run.log), name
    assert sorted(run.tries) == sorted(second.tries)


def test_latest_json_is_damaged_in_mid_run(pipeline: Pipeline, before: dict[str, Any]) -> None:
    whole = read(pipeline, "results/latest.json")

    def put(content: bytes) -> None:
        pipeline.s3.put_object(Bucket=BUCKET, Key="results/latest.json", Body=content)

    failed = pipeline.run(watch=at_start_of("check_outputs", lambda: put(whole[: len(whole) // 2])))

    assert read(pipeline, "results/latest.json") == whole[: len(whole) // 2], "nothing was written over it"
    put(whole)
    assert_failed(pipeline, failed, before, "publish", "results/latest.json is damaged")
    assert_rerun_publishes(pipeline)
