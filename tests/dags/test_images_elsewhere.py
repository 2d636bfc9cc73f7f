"""Whole runs on images at the top of another account's bucket, in slices, by one network and then by another."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from demo.images import write_images
from local_emr import LocalEmr
from policies import allows
from tests.dags.pipeline import BUCKET, Pipeline, Run
from tests.infra.stack import deploy, document, recorded_calls

PHOTOS = "photos"
LEFT_OUT = ["logs/j-1/stderr.gz", "scripts/run.sh", "bootstrap.sh"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Pipeline]:
    """The pipeline, whose own bucket holds no image."""
    empty = tmp_path_factory.mktemp("nothing")
    calls = tmp_path_factory.mktemp("calls") / "calls.jsonl"
    with LocalEmr(port=0, access_log=calls) as aws:
        made = Pipeline(aws, calls, tmp_path_factory.mktemp("airflow"), empty, weights, real=False)
        made.s3.create_bucket(Bucket=PHOTOS, CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        content = weights.read_bytes() + b"\0"  # which HDF5 does not read: another file, hence another network
        made.s3.put_object(Bucket=BUCKET, Key="weights/other.h5", Body=content)
        yield made


@pytest.fixture(scope="module")
def images(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """URIs of the images, at the top of their bucket, which other things share."""
    folder = tmp_path_factory.mktemp("photographs")
    write_images(folder, 6)
    for file in sorted(folder.glob("*/*")):
        pipeline.s3.upload_file(str(file), PHOTOS, f"{file.parent.name}/{file.name}")
    for key in LEFT_OUT:
        pipeline.s3.put_object(Bucket=PHOTOS, Key=key, Body=b"no image")
    return sorted(f"s3://{PHOTOS}/{file.parent.name}/{file.name}" for file in folder.glob("*/*"))


def run(pipeline: Pipeline, **params: Any) -> Run:
    done = pipeline.run(images_bucket=PHOTOS, images_prefix="/", exclude=["logs/*", "*.sh"], **params)
    assert done.exit_code == 0, "\n".join(done.errors())
    return done


def extracted(pipeline: Pipeline, folder: Path, model_id: str) -> list[str]:
    """The paths of all rows of features of a network."""
    return sorted(row["path"] for row in pipeline.rows("features/", folder) if row["model_id"] == model_id)


def test_all_images_are_published_in_two_slices(pipeline: Pipeline, images: list[str], tmp_path: Path) -> None:
    most = len(images) - 5

    first = run(pipeline, max_images_per_run=most)

    assert any(f"takes the {most} oldest and leaves 5" in line for line in first.log)
    latest = pipeline.latest()
    assert (latest["images"], latest["features"], latest["rejects"], latest["left"]) == (len(images), most, 0, 5)
    assert latest["rejects_by_reason"] == {}

    run(pipeline, max_images_per_run=most)

    latest = pipeline.latest()
    assert (latest["features"], latest["rejects"], latest["left"]) == (len(images), 0, 0)
    assert extracted(pipeline, tmp_path, latest["model_id"]) == images
    assert sorted(row["path"] for row in pipeline.rows(f"results/run={latest['run']}/pca/", tmp_path)) == images
    third = run(pipeline, max_images_per_run=most)
    assert third.started == ["find_new_images", "conclude_run"]


def test_a_new_network_in_slices_takes_over_at_once(pipeline: Pipeline, images: list[str], tmp_path: Path) -> None:
    before = pipeline.latest()
    new = {"weights": f"s3://{BUCKET}/weights/other.h5", "max_images_per_run": len(images) - 5}

    unfinished = run(pipeline, **new)

    assert pipeline.latest() == before, "the old results are served until the new ones have all images"
    assert "reduce_dimensions" in unfinished.started  # and is skipped
    assert any("5 of" in line and "left" in line for line in unfinished.log)

    run(pipeline, **new)

    latest = pipeline.latest()
    assert latest["model_id"] != before["model_id"]
    assert (latest["features"], latest["left"]) == (len(images), 0)
    assert extracted(pipeline, tmp_path, latest["model_id"]) == images, "each image once"
    assert set(pipeline.clusters()) == {"TERMINATED"}


def test_the_images_bucket_was_only_read_as_the_stack_allows(pipeline: Pipeline, images: list[str]) -> None:
    session = boto3.Session(aws_access_key_id="person", aws_secret_access_key="-", region_name="eu-west-3")
    cloudformation, iam = (
        session.client(service, endpoint_url=pipeline.aws.endpoint_url) for service in ("cloudformation", "iam")
    )
    stack = deploy(cloudformation, iam, name="elsewhere", BucketName="outputs", ImagesBucket=PHOTOS, ImagesPrefix="")
    log = pipeline.calls.read_text()
    policy = document(iam, stack.outputs["ImagesPolicyArn"])
    for caller in ("airflow", "local"):
        calls = [call for call in recorded_calls(log, caller) if call.resource.startswith(f"arn:aws:s3:::{PHOTOS}")]
        assert calls, json.dumps({"caller": caller})
        assert {call.action for call in calls} <= {"s3:GetObject", "s3:ListBucket"}
        refused = [str(call) for call in calls if not allows([policy], call)]
        assert refused == []
    found = pipeline.s3.list_objects_v2(Bucket=PHOTOS)["Contents"]
    assert sorted(f"s3://{PHOTOS}/{item['Key']}" for item in found) == sorted(
        [*images, *(f"s3://{PHOTOS}/{key}" for key in LEFT_OUT)]
    )
