"""What the plugins ask of AWS outside a task's run, against the policies of the stack that serves it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome
from fastapi.testclient import TestClient

import results_plugin
from local_emr import LocalEmr
from policies import Call, allows, grants, used_grants
from results_page import pages
from s3_event_trigger import QueueProducer, S3EventTrigger
from tests.infra.stack import Stack, deploy, document, recorded_calls

PHOTO = b"\xff\xd8\xff a photo"


class Account:
    """An endpoint whose calls are recorded, and what a person does there.

    Args:
        aws: the endpoint.
        calls: its access log.
        patch: sets the environment of Airflow.
    """

    def __init__(self, aws: LocalEmr, calls: Path, patch: pytest.MonkeyPatch) -> None:
        self.aws, self._calls, self._patch = aws, calls, patch
        session = boto3.Session(aws_access_key_id="person", aws_secret_access_key="-", region_name="eu-west-3")
        self.client = lambda service: session.client(service, endpoint_url=aws.endpoint_url)
        aws.reset()  # buckets are shared by all endpoints of a process

    def deploy(self, **parameters: str) -> Stack:
        """Create the stack, and be the Airflow that has its settings."""
        stack = deploy(self.client("cloudformation"), self.client("iam"), BucketName="orchard", **parameters)
        for name, value in {**self.aws.environment(), **stack.dot_env, "AWS_ACCESS_KEY_ID": "airflow"}.items():
            self._patch.setenv(name, value)
        return stack

    def calls(self, service: str) -> list[Call]:
        """Return what Airflow has asked of a service."""
        calls = recorded_calls(self._calls.read_text(encoding="utf-8"), "airflow")
        return [call for call in calls if call.action.startswith(f"{service}:")]


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    calls = tmp_path / "calls.jsonl"
    with LocalEmr(port=0, access_log=calls) as aws:
        yield Account(aws, calls, monkeypatch)
        aws.reset()


@pytest.mark.parametrize("images_bucket", ["", "photos"])
def test_the_results_page_shows_pictures(account: Account, images_bucket: str) -> None:
    stack = account.deploy(ImagesBucket=images_bucket)
    policies = [stack.airflow]
    if images_bucket:
        location = {"LocationConstraint": "eu-west-3"}
        account.client("s3").create_bucket(Bucket=images_bucket, CreateBucketConfiguration=location)
        policies.append(document(account.client("iam"), stack.outputs["ImagesPolicyArn"]))
    account.client("s3").put_object(Bucket=images_bucket or "orchard", Key="images/Kiwi/1.jpg", Body=PHOTO)
    results_plugin._results.cache_clear()  # of another test's endpoint
    app = pages.create_app(lambda _: results_plugin.open_results(None), lambda _: {})  # without Airflow's database
    app.dependency_overrides[pages.may_see_runs] = lambda: None

    with TestClient(app) as browser:
        assert "images/Kiwi/1.jpg" in browser.get("/runs/r/varieties?label=Kiwi").text.replace("%2F", "/")
        assert browser.get("/runs/r/image?key=images/Kiwi/1.jpg").content == PHOTO
        assert browser.get("/").status_code == 200
        assert browser.get("/runs/r/rejects").status_code == 200

    calls = account.calls("s3")
    assert calls
    assert [str(call) for call in calls if not allows(policies, call)] == []
    own = Call("s3:GetObject", "arn:aws:s3:::orchard/images/Kiwi/1.jpg")
    assert allows(policies, own) is not bool(images_bucket), "no more than where the images are"


def test_the_watcher_reads_and_empties_the_queue_and_may_do_no_more(account: Account) -> None:
    stack = account.deploy()
    queue_url = stack.dot_env["FRUITS_QUEUE_URL"]
    sqs = account.client("sqs")
    sqs.send_message(QueueUrl=queue_url, MessageBody='{"Event": "s3:TestEvent"}')

    async def scenario() -> None:
        trigger = S3EventTrigger(queue_url=queue_url, bucket="orchard", prefix="images/", settle_seconds=0)
        producer = QueueProducer(trigger)
        stream = producer.open_stream()
        _, receipts = await anext(stream)
        await producer.advance([AdvanceItem(receipts, AdvanceOutcome(acked=1, failed=0))])
        await stream.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 60))

    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    assert [left[name] for name in names] == ["0", "0"]
    calls = account.calls("sqs")
    assert [str(call) for call in calls if not allows([stack.airflow], call)] == []
    allowed = {grant for grant in grants(stack.airflow) if grant.action.startswith("sqs:")}
    assert used_grants(stack.airflow, calls) == allowed
