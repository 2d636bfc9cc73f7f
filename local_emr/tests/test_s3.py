"""S3 and its neighbors: moto's, through our door."""

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from emr_client import client, error, job_flow

from local_emr import LocalEmr, gateway

MOTO_ONLY = {"date", "server", "x-amzn-requestid", "x-amz-request-id", "access-control-allow-origin"}
NAME = "images/Apple Pink Lady/r_1 100% é+=&'\"#?.jpg"


def test_names_survive_the_way_there_and_back(s3: Any) -> None:
    s3.put_object(Bucket="data", Key=NAME, Body=b"x", Metadata={"under_score": "a", "dash-ed": "b"})
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="data")["Contents"]] == [NAME]
    found = s3.get_object(Bucket="data", Key=NAME)
    assert (found["Body"].read(), found["Metadata"]) == (b"x", {"under_score": "a", "dash-ed": "b"})
    s3.copy_object(Bucket="data", Key="copy", CopySource={"Bucket": "data", "Key": NAME})
    s3.delete_object(Bucket="data", Key=NAME)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="data")["Contents"]] == ["copy"]


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
def test_objects_of_any_size(s3: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    s3.put_object(Bucket="data", Key="k", Body=body)
    assert s3.get_object(Bucket="data", Key="k")["Body"].read() == body
    assert s3.head_object(Bucket="data", Key="k")["ContentLength"] == size


def test_ranges_and_multipart(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="data", Key="big")["UploadId"]
    parts = []
    for number, body in enumerate((b"a" * 5_242_880, b"b" * 10), 1):
        sent = s3.upload_part(Bucket="data", Key="big", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    s3.complete_multipart_upload(Bucket="data", Key="big", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="data", Key="big", Range="bytes=5242878-5242881")["Body"].read() == b"aabb"


def test_a_missing_bucket_and_a_missing_key(s3: Any) -> None:
    with pytest.raises(ClientError) as raised:
        s3.list_objects_v2(Bucket="nobody")
    assert error(raised)[0] == "NoSuchBucket"
    with pytest.raises(ClientError) as raised:
        s3.get_object(Bucket="data", Key="nothing")
    assert error(raised)[0] == "NoSuchKey"


def test_a_plain_read_is_what_moto_would_answer(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way past moto gives the same headers and body as the long one."""
    s3.put_object(Bucket="data", Key=NAME, Body=b"xyz", ContentType="image/jpeg", Metadata={"a_b": "c"}, Tagging="x=y")
    s3.put_object(Bucket="data", Key="no checksum", Body=b"")

    def answers() -> list[tuple[dict[str, str], bytes]]:
        found = [s3.get_object(Bucket="data", Key=key) for key in (NAME, "no checksum")]
        return [
            (
                {k: v for k, v in one["ResponseMetadata"]["HTTPHeaders"].items() if k not in MOTO_ONLY},
                one["Body"].read(),
            )
            for one in found
        ]

    short = answers()
    monkeypatch.setattr(gateway, "plain_object", lambda *_: None)
    assert short == answers()


def test_one_connection_serves_many_requests(local_emr: LocalEmr, s3: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local_emr.port)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-3/s3/aws4_request, Signature=0"}
    connection.connect()
    socket = connection.sock
    for method, path, body in (("PUT", "/data/k", b"xyz"), ("GET", "/data/none", None), ("HEAD", "/data/k", None)) * 20:
        connection.request(method, path, body, signed)
        connection.getresponse().read()
    connection.request("GET", "/data/k", headers=signed)
    assert connection.getresponse().read() == b"xyz"
    assert connection.sock is socket


def test_many_clients_at_once(local_emr: LocalEmr, s3: Any) -> None:
    """Overwritten while it is read, removed while it is listed: nobody notices."""
    shared = client(local_emr, "s3", max_pool_connections=16)
    shared.put_object(Bucket="data", Key="one", Body=b"0" * 10_000)

    def work(number: int) -> int:
        shared.put_object(Bucket="data", Key="one", Body=str(number % 10).encode() * 10_000)
        shared.put_object(Bucket="data", Key=f"many/{number}", Body=b"x")
        shared.list_objects_v2(Bucket="data", Prefix="many/")
        shared.delete_object(Bucket="data", Key=f"many/{number}")
        body = shared.get_object(Bucket="data", Key="one")["Body"].read()
        return len(body) if len(set(body)) == 1 else 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the server's threads interleave as on a busy day
    try:
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(work, range(300))) == {10_000}
    finally:
        sys.setswitchinterval(interval)


def test_virtual_host_style_is_not_needed(local_emr: LocalEmr, s3: Any) -> None:
    """Clients that call the endpoint by a name get path style too, when asked; the container's name is such a one."""
    by_name = boto3.client(
        "s3",
        region_name="eu-west-3",
        endpoint_url=f"http://localhost:{local_emr.port}",
        config=Config(s3={"addressing_style": "path"}),
    )
    by_name.put_object(Bucket="data", Key="k", Body=b"x")
    assert s3.get_object(Bucket="data", Key="k")["Body"].read() == b"x"


def test_bucket_events_reach_sqs(local_emr: LocalEmr, s3: Any) -> None:
    sqs = client(local_emr, "sqs")
    queue = sqs.create_queue(QueueName="images")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == "arn:aws:sqs:eu-west-3:123456789012:images"
    assert queue.startswith(local_emr.endpoint_url)
    s3.put_bucket_notification_configuration(
        Bucket="data",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    s3.put_object(Bucket="data", Key="images/a.jpg", Body=b"x")
    bodies = []
    deadline = time.monotonic() + 10
    while not any("Records" in body for body in bodies) and time.monotonic() < deadline:
        bodies += [json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=queue).get("Messages", [])]
    (record,) = [record for body in bodies for record in body.get("Records", [])]
    assert unquote_plus(record["s3"]["object"]["key"]) == "images/a.jpg"


def test_iam_and_sts_answer(local_emr: LocalEmr, s3: Any) -> None:
    assert client(local_emr, "sts").get_caller_identity()["Account"] == "123456789012"
    iam = client(local_emr, "iam", "us-east-1")
    iam.create_role(RoleName="orchard", AssumeRolePolicyDocument="{}")
    assert iam.get_role(RoleName="orchard")["Role"]["Arn"] == "arn:aws:iam::123456789012:role/orchard"


def test_emrs_default_roles_are_there_and_come_back(local_emr: LocalEmr) -> None:
    local_emr.reset()
    iam = client(local_emr, "iam", "us-east-1")

    assert iam.get_role(RoleName="EMR_DefaultRole")["Role"]["RoleName"] == "EMR_DefaultRole"
    profile = iam.get_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["EMR_EC2_DefaultRole"]


def test_quotas_of_vcpus_are_answered_and_can_be_set(local_emr: LocalEmr) -> None:
    quotas = client(local_emr, "service-quotas")
    standard = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    assert quotas.get_service_quota(**standard)["Quota"]["Value"] == 1152

    local_emr.quotas["L-1216C47A"] = 5
    assert quotas.get_service_quota(**standard)["Quota"]["Value"] == 5
    vpcs = quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-F678F1CE")
    assert vpcs["Quota"]["ServiceCode"] == "vpc", "moto's"


def test_what_moto_cannot_do_is_an_error_of_the_service(local_emr: LocalEmr, s3: Any) -> None:
    sns = client(local_emr, "sns")
    with pytest.raises(ClientError) as raised:
        sns.verify_sms_sandbox_phone_number(PhoneNumber="+33", OneTimePassword="12345")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    glue = client(local_emr, "glue")
    with pytest.raises(ClientError) as raised:
        glue.list_blueprints()
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    assert "does not emulate" in error(raised)[1]
    nonsense = requests.post(local_emr.endpoint_url, headers={"X-Amz-Target": "ElasticMapReduce.Nonsense"}, timeout=5)
    assert (nonsense.status_code, nonsense.json()["__type"]) == (400, "UnknownOperationException")
    garbled = requests.post(
        local_emr.endpoint_url, b"{", headers={"X-Amz-Target": "ElasticMapReduce.ListClusters"}, timeout=5
    )
    assert (garbled.status_code, garbled.json()["__type"]) == (400, "SerializationException")
    wrong = requests.post(
        local_emr.endpoint_url, b'{"Name": 3}', headers={"X-Amz-Target": "ElasticMapReduce.RunJobFlow"}, timeout=5
    )
    assert (wrong.status_code, wrong.json()["__type"]) == (400, "ValidationException")
    assert 'Missing required parameter in input: "Instances"' in wrong.json()["message"]


def test_reset_forgets_everything(local_emr: LocalEmr, s3: Any) -> None:
    local_emr.faults.add(fault="no-capacity")
    client(local_emr, "sqs").create_queue(QueueName="q")
    requests.post(f"{local_emr.endpoint_url}/_local_emr/reset", timeout=5).raise_for_status()
    assert s3.list_buckets()["Buckets"] == []
    assert "QueueUrls" not in client(local_emr, "sqs").list_queues()
    assert local_emr.faults.list() == []


@pytest.mark.parametrize("route", ["moto-api/reset", "_local_emr/reset"])
def test_a_reset_forgets_buckets_and_clusters(local_emr: LocalEmr, s3: Any, route: str) -> None:
    s3.put_object(Bucket="data", Key="a", Body=b"")
    emr = client(local_emr, "emr")
    emr.run_job_flow(**job_flow())
    assert requests.post(f"{local_emr.endpoint_url}/{route}", timeout=20).status_code == 200
    assert s3.list_buckets()["Buckets"] == []
    assert emr.list_clusters()["Clusters"] == []


def test_the_rest_of_motos_own_api_is_motos(local_emr: LocalEmr) -> None:
    answer = requests.get(f"{local_emr.endpoint_url}/moto-api/data.json", timeout=20)
    assert answer.status_code == 200
    assert isinstance(answer.json(), dict)
