"""Every call is recorded as IAM sees it."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_emr import LocalEmr

CLUSTERS = "arn:aws:elasticmapreduce:eu-west-3:123456789012:cluster"
TAG = {"elasticmapreduce:RequestTag/team": "fruit"}
OF_TEAM = {"elasticmapreduce:ResourceTag/team": "fruit"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
def session(log: Path) -> Iterator[Any]:
    """Make clients of the endpoint that sign as `caller`."""
    with LocalEmr(port=0, access_log=log) as aws:
        session = boto3.Session(aws_access_key_id="caller", aws_secret_access_key="x", region_name="eu-west-3")
        yield lambda service: session.client(service, endpoint_url=aws.endpoint_url)
        aws.reset()  # buckets are shared with the endpoint of other tests of this process


def calls(log: Path) -> list[tuple[str, str, dict[str, str]]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["caller"] for line in lines} <= {"caller"}
    return [(line["action"], line["resource"], line["conditions"]) for line in lines]


def test_objects(session: Any, log: Path) -> None:
    s3 = session("s3")
    s3.create_bucket(Bucket="bkt", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    s3.put_object(Bucket="bkt", Key="a+ é/1", Body=b"x")
    s3.copy_object(Bucket="bkt", Key="2", CopySource="bkt/a+ é/1")
    s3.head_object(Bucket="bkt", Key="2")
    list(s3.get_paginator("list_objects_v2").paginate(Bucket="bkt", Prefix="a", Delimiter="/"))
    upload = s3.create_multipart_upload(Bucket="bkt", Key="3")["UploadId"]
    s3.upload_part(Bucket="bkt", Key="3", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket="bkt", Key="3", UploadId=upload)
    s3.delete_objects(Bucket="bkt", Delete={"Objects": [{"Key": "2"}, {"Key": "a+ é/1"}]})

    assert calls(log) == [
        ("s3:CreateBucket", "arn:aws:s3:::bkt", {}),
        ("s3:PutObject", "arn:aws:s3:::bkt/a+ é/1", {}),
        ("s3:PutObject", "arn:aws:s3:::bkt/2", {}),
        ("s3:GetObject", "arn:aws:s3:::bkt/a+ é/1", {}),
        ("s3:GetObject", "arn:aws:s3:::bkt/2", {}),
        ("s3:ListBucket", "arn:aws:s3:::bkt", {"s3:prefix": "a", "s3:delimiter": "/"}),
        ("s3:PutObject", "arn:aws:s3:::bkt/3", {}),
        ("s3:AbortMultipartUpload", "arn:aws:s3:::bkt/3", {}),
        ("s3:DeleteObject", "arn:aws:s3:::bkt/2", {}),
        ("s3:DeleteObject", "arn:aws:s3:::bkt/a+ é/1", {}),
    ]


def test_a_request_that_the_table_lacks_is_not_passed_over(session: Any, log: Path) -> None:
    s3 = session("s3")
    s3.create_bucket(Bucket="bkt", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    s3.get_bucket_versioning(Bucket="bkt")

    assert calls(log)[1:] == [("s3:?GET versioning", "arn:aws:s3:::bkt", {})]


def test_a_cluster_needs_what_its_request_asks_for(session: Any, log: Path) -> None:
    emr = session("emr")
    cluster = emr.run_job_flow(
        Name="c",
        ReleaseLabel="emr-7.13.0",
        Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True},
        ServiceRole="service",
        JobFlowRole="nodes",
        AutoTerminationPolicy={"IdleTimeout": 600},
        Tags=[{"Key": "team", "Value": "fruit"}],
    )["JobFlowId"]
    emr.list_clusters()
    emr.describe_cluster(ClusterId=cluster)
    emr.terminate_job_flows(JobFlowIds=[cluster])

    assert calls(log) == [
        ("elasticmapreduce:RunJobFlow", "*", TAG),
        ("elasticmapreduce:AddTags", "*", TAG),
        ("elasticmapreduce:PutAutoTerminationPolicy", f"{CLUSTERS}/*", {}),
        (
            "iam:PassRole",
            "arn:aws:iam::123456789012:role/service",
            {"iam:PassedToService": "elasticmapreduce.amazonaws.com"},
        ),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/nodes", {"iam:PassedToService": "ec2.amazonaws.com"}),
        ("elasticmapreduce:ListClusters", "*", {}),
        ("elasticmapreduce:DescribeCluster", f"{CLUSTERS}/{cluster}", OF_TEAM),
        ("elasticmapreduce:TerminateJobFlows", f"{CLUSTERS}/{cluster}", OF_TEAM),
    ]


def test_queues_and_the_rest(session: Any, log: Path) -> None:
    sqs = session("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.receive_message(QueueUrl=url)
    sqs.receive_message(QueueUrl=url)  # once is enough
    with suppress(ClientError):
        sqs.delete_message_batch(QueueUrl=url, Entries=[])  # none: refused, and recorded
    session("sts").get_caller_identity()
    session("iam").get_role(RoleName="EMR_DefaultRole")
    session("iam").get_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")
    session("ec2").describe_subnets()
    session("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")

    assert calls(log) == [
        ("sqs:CreateQueue", "*", {}),
        ("sqs:ReceiveMessage", "arn:aws:sqs:eu-west-3:123456789012:q", {}),
        ("sqs:DeleteMessage", "arn:aws:sqs:eu-west-3:123456789012:q", {}),
        ("sts:GetCallerIdentity", "*", {}),
        ("iam:GetRole", "arn:aws:iam::123456789012:role/EMR_DefaultRole", {}),
        ("iam:GetInstanceProfile", "arn:aws:iam::123456789012:instance-profile/EMR_EC2_DefaultRole", {}),
        ("ec2:DescribeSubnets", "*", {}),
        ("servicequotas:GetServiceQuota", "*", {}),
    ]
