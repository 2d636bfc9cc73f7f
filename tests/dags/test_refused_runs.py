"""Whole runs that are refused before there is a cluster: real Airflow on the local endpoint, in a bucket with published results.

New images wait in the bucket all the while. Each refusal leaves them there, what is published as it was, and no cluster; the
run after all of them publishes every image once.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import boto3
import pytest

from tests.dags.pipeline import BUCKET, Pipeline
from tests.dags.published import assert_failed, assert_rerun_publishes, put_new_images, read

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
Arrangement = Callable[[Pipeline], AbstractContextManager[dict[str, Any]]]  # yields further params


@pytest.fixture(scope="module")
def pipeline(pipeline: Pipeline) -> Iterator[Pipeline]:
    """New images wait; the run after all that are refused publishes every image once, whichever were asked for."""
    before = pipeline.latest()["features"]
    put_new_images(pipeline)
    yield pipeline
    assert_rerun_publishes(pipeline)
    assert pipeline.latest()["features"] == before + 3


def params(**given: Any) -> Arrangement:
    """Nothing but params of the run."""
    return lambda _: contextlib.nullcontext(given)


def s3_refuses(**rule: str) -> Arrangement:
    """S3 answers AccessDenied to some requests."""

    @contextlib.contextmanager
    def arrange(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
        pipeline.aws.faults.add(fault="s3-error", code="AccessDenied", **rule)
        yield {}
        pipeline.aws.faults.clear()

    return arrange


@contextlib.contextmanager
def damaged_latest(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    whole = read(pipeline, "results/latest.json")
    pipeline.s3.put_object(Bucket=BUCKET, Key="results/latest.json", Body=b"{")
    yield {}
    pipeline.s3.put_object(Bucket=BUCKET, Key="results/latest.json", Body=whole)


def beside(key: str, content: bytes, **given: Any) -> Arrangement:
    """There is one more object."""

    @contextlib.contextmanager
    def arrange(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
        pipeline.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        yield given
        pipeline.s3.delete_object(Bucket=BUCKET, Key=key)

    return arrange


@contextlib.contextmanager
def quota_of_eleven_vcpus(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    pipeline.aws.quotas["L-1216C47A"] = 11
    yield {}
    del pipeline.aws.quotas["L-1216C47A"]


@contextlib.contextmanager
def small_subnet(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    ec2 = boto3.client(
        "ec2",
        endpoint_url=pipeline.aws.endpoint_url,
        region_name="eu-west-3",
        aws_access_key_id="person",
        aws_secret_access_key="-",
    )
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28")["Subnet"]["SubnetId"]
    yield {"ec2_subnet_id": subnet, "core_instance_count": 20}


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        pytest.param(params(max_cost_usd=0.01), "more than max_cost_usd = 0.01", id="above-the-limit"),
        pytest.param(
            params(max_cost_usd=5, core_instance_type="r5.xlarge"), "no price known for r5.xlarge", id="no-price"
        ),
        pytest.param(
            params(fleet_instance_types=["m5.xlarge", "m6g.xlarge"]),
            "a fleet must have types of one architecture",
            id="two-architectures",
        ),
        pytest.param(params(job_flow_overrides={"Name": "mine"}), "Name cannot be set", id="overrides"),
        pytest.param(params(service_role="no-role"), "the service role 'no-role' does not exist", id="no-role"),
        pytest.param(
            params(instance_profile="no-profile"),
            "the instance profile 'no-profile' does not exist",
            id="no-instance-profile",
        ),
        pytest.param(
            params(ec2_subnet_id="subnet-0123456789abcdef0"),
            "the subnet subnet-0123456789abcdef0 does not exist",
            id="no-subnet",
        ),
        pytest.param(
            params(core_instance_type="m0.xlarge"), "m0.xlarge is not offered in this region", id="no-instance-type"
        ),
        pytest.param(quota_of_eleven_vcpus, "needs 12 vCPUs (ON_DEMAND), and the account may run 11", id="quota"),
        pytest.param(small_subnet, "has 11 free addresses for 21 nodes", id="small-subnet"),
        pytest.param(
            s3_refuses(method="PUT", key="artifacts/*"), f"may not write to s3://{BUCKET}/artifacts", id="closed-prefix"
        ),
        pytest.param(s3_refuses(method="GET", key="weights/*"), "s3:GetObject", id="closed-weights"),
        pytest.param(params(bucket="nobodys-bucket"), "bucket 'nobodys-bucket' does not exist", id="no-bucket"),
        pytest.param(params(region="us-west-2"), f"bucket '{BUCKET}' is in eu-west-3", id="bucket-elsewhere"),
        pytest.param(
            params(weights=f"s3://{BUCKET}/weights/none.h5"),
            f"weights s3://{BUCKET}/weights/none.h5 do not exist",
            id="no-weights",
        ),
        pytest.param(
            beside("weights/page.h5", b"<html>", weights=f"s3://{BUCKET}/weights/page.h5"),
            f"weights s3://{BUCKET}/weights/page.h5 are not an HDF5 file",
            id="weights-are-no-hdf5",
        ),
        pytest.param(
            beside("models/imagenet-224-v1.json", b"{}", weights="imagenet"),
            "models/imagenet-224-v1.json is damaged",
            id="damaged-pointer",
        ),
        pytest.param(damaged_latest, "results/latest.json is damaged", id="damaged-latest"),
        pytest.param(beside("images/stray.jpg", b"fruit"), "e.g. 'images/stray.jpg'", id="no-variety"),
    ],
)
def test_a_run_that_cannot_work_costs_nothing(pipeline: Pipeline, arrange: Arrangement, said: str) -> None:
    before, clusters = pipeline.latest(), pipeline.clusters()
    with arrange(pipeline) as given:
        refused = pipeline.run(**given)

    assert_failed(pipeline, refused, before, "find_new_images", said)
    assert set(refused.started) == {"find_new_images", "conclude_run"}
    assert pipeline.clusters() == clusters
