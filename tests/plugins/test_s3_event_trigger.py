"""An image in S3 wakes the DAG up, through S3's own notifications and Airflow's own shared streams."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest
import structlog
from airflow.triggers.shared_stream import SharedStreamManager

import s3_event_trigger
from local_emr import LocalEmr
from s3_event_trigger import NewObject, QueueProducer, S3EventTrigger, new_objects

BUCKET = "orchard"
S3_RECORD = {
    "eventVersion": "2.6",
    "eventName": "ObjectCreated:Put",
    "eventTime": "2026-11-22T10:00:00.000Z",
    "s3": {"bucket": {"name": BUCKET}, "object": {"key": "images/Apple+Pink/%C3%BC%2B1.jpg"}},
}
FOUND = NewObject(BUCKET, "images/Apple Pink/ü+1.jpg", "2026-11-22T10:00:00.000Z")


@pytest.fixture
def queue_url(aws: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue that the bucket notifies of all new objects; it holds S3's test event."""
    monkeypatch.setattr(s3_event_trigger, "HIDDEN_SECONDS", 1)
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="new-images")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    notification = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [notification]}
    )
    return url


def trigger(queue_url: str, **arguments: Any) -> S3EventTrigger:
    return S3EventTrigger(
        **{"queue_url": queue_url, "bucket": BUCKET, "prefix": "images/", "settle_seconds": 0, **arguments}
    )


def put(*keys: str) -> None:
    for key in keys:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"image")


def messages(queue_url: str) -> int:
    """How many there are, those that somebody is working on included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = boto3.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


async def until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what S3 and SQS do sets no event
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def triggerer(
    *triggers: S3EventTrigger,
) -> AsyncIterator[tuple[SharedStreamManager, list[dict[str, Any]], list[int]]]:
    """Run triggers as Airflow's triggerer does; yield what stores events, the events, and the number of each."""
    manager = SharedStreamManager(log=structlog.get_logger())
    events: list[dict[str, Any]] = []
    numbers: list[int] = []

    async def follow(number: int, one: S3EventTrigger) -> None:
        key = one.shared_stream_key()
        async for event in one.filter_shared_stream(manager.subscribe(trigger_id=number, trigger=one, key=key)):
            events.append(event.payload)
            bound = manager.bind_pending_event(trigger_id=number, key=key)
            assert bound is not None
            numbers.append(bound)

    tasks = [asyncio.create_task(follow(number, one)) for number, one in enumerate(triggers)]
    try:
        yield manager, events, numbers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop_all()


def test_messages_are_deleted_when_their_event_is_stored_and_not_before(queue_url: str) -> None:
    async def scenario() -> None:
        async with triggerer(trigger(queue_url)) as (manager, events, numbers):
            put("images/A/1.jpg", "images/A/2.jpg", "features/run=1/part-0.parquet")
            await until(lambda: sum(event["messages"] for event in events) >= 2)
            assert messages(queue_url) >= 2, "no event is stored yet"
            while messages(queue_url):
                manager.confirm_persisted(numbers)
                await asyncio.sleep(0.1)
        assert set(events[0]) == {"messages", "first"}, "S3's messages stay out of Airflow's database"

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_what_a_killed_triggerer_has_read_comes_back(queue_url: str) -> None:
    async def scenario() -> list[dict[str, Any]]:
        put("images/A/1.jpg")
        async with triggerer(trigger(queue_url)) as (_, events, _):
            await until(lambda: events)
        async with triggerer(trigger(queue_url)) as (_, events, _):
            await until(lambda: events)
            return events

    assert asyncio.run(asyncio.wait_for(scenario(), 120))[0]["messages"] >= 1


def test_a_burst_is_one_event(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_event_trigger, "HIDDEN_SECONDS", 120)  # on a slow machine too, each message comes once
    put(*(f"images/A/{number}.jpg" for number in range(35)))  # four requests to SQS

    async def scenario() -> list[dict[str, Any]]:
        async with triggerer(trigger(queue_url)) as (_, events, _):
            await until(lambda: events)
            return events[:1]

    (event,) = asyncio.run(asyncio.wait_for(scenario(), 120))
    assert event["messages"] == 35


def test_messages_that_concern_nobody_are_deleted_and_wake_nobody(
    queue_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    put("features/run=1/part-0.parquet", "results/latest.json", "other/A/1.jpg")
    boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody="hello")

    async def scenario() -> list[dict[str, Any]]:
        async with triggerer(trigger(queue_url)) as (_, events, _):
            await until(lambda: not messages(queue_url))
            return events

    assert asyncio.run(asyncio.wait_for(scenario(), 120)) == []
    assert "is deleted: no notification of S3's: 'hello'" in caplog.text


def test_only_keys_of_the_pattern_wake_anybody(queue_url: str) -> None:
    put("images/logs/A/1.jpg", "images/B/1.jpg", "images/A/1.jpg", "images/A/2.jpg")

    async def scenario() -> list[dict[str, Any]]:
        async with triggerer(trigger(queue_url, pattern=r"images/(?!logs/)A")) as (_, events, _):
            await until(lambda: sum(event["messages"] for event in events) >= 2, 300)
            return events

    assert sum(event["messages"] for event in asyncio.run(asyncio.wait_for(scenario(), 310))) == 2


def test_a_queue_that_is_missing_is_named_and_waited_for(
    aws: LocalEmr, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(s3_event_trigger, "LONGEST_PAUSE", 2.0)
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="late")["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)

    async def scenario() -> list[dict[str, Any]]:
        async with triggerer(trigger(url)) as (_, events, _):
            await until(lambda: "next attempt in 2 s" in caplog.text)
            sqs.create_queue(QueueName="late")
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [S3_RECORD]}))
            await until(lambda: events)
            return events

    assert asyncio.run(asyncio.wait_for(scenario(), 120)) == [{"messages": 1, "first": FOUND.time}]
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[0].startswith(f"queue {url} does not exist: create it, or change FRUITS_QUEUE_URL")
    assert errors[0].endswith("next attempt in 1 s")
    assert len(errors) <= 10, "it must not fill the log"


def test_keys_that_were_changed_in_the_connection_are_picked_up(
    aws: LocalEmr, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[str] = []

    def connect(key: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "login": key, "password": "-"}))

    async def receive(_: QueueProducer, sqs: Any, **__: Any) -> list[dict[str, Any]]:
        used.append(sqs._request_signer._credentials.access_key)
        connect("new")
        if used == ["old"]:
            raise s3_event_trigger.ClientError({"Error": {"Code": "InvalidClientTokenId"}}, "ReceiveMessage")
        return [{"MessageId": "m", "ReceiptHandle": "r", "Body": json.dumps({"Records": [S3_RECORD]})}]

    async def first() -> Any:
        async for found, _ in QueueProducer(trigger("q", region_name="eu-west-3")).open_stream():
            return found
        raise AssertionError("the stream has ended")

    monkeypatch.setattr(QueueProducer, "_receive", receive)
    monkeypatch.setattr(s3_event_trigger, "MESSAGES_PER_EVENT", 1)
    connect("old")
    assert asyncio.run(asyncio.wait_for(first(), 60)) == [FOUND]
    assert used == ["old", "new"]
    assert "renew or correct those of the connection aws_default" in caplog.text


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "InvalidClientTokenId",
            "AWS refuses Airflow's credentials for queue q (InvalidClientTokenId): renew or correct",
        ),
        (
            "ExpiredToken",
            "AWS refuses Airflow's credentials for queue q (ExpiredToken): renew or correct those of the co",
        ),
        (
            "AccessDenied",
            "Airflow's credentials may not read queue q: allow sqs:ReceiveMessage and sqs:DeleteMessage on it",
        ),
        ("InternalError", "queue q does not answer: An error occurred"),
    ],
)
def test_a_queue_that_refuses_is_named(code: str, message: str) -> None:
    error = s3_event_trigger.ClientError({"Error": {"Code": code, "Message": "no"}}, "ReceiveMessage")
    assert QueueProducer(trigger("q"))._explain(error).startswith(message)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"Records": [S3_RECORD]}, [FOUND]),
        ({"Records": [{**S3_RECORD, "eventName": "ObjectRemoved:Delete"}]}, []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}, []),
        ({"Type": "Notification", "Message": json.dumps({"Records": [S3_RECORD]})}, [FOUND]),
        (
            {
                "source": "aws.s3",
                "detail-type": "Object Created",
                "time": FOUND.time,
                "detail": {"bucket": {"name": BUCKET}, "object": {"key": FOUND.key}},
            },
            [FOUND],
        ),
    ],
)
def test_each_way_by_which_s3_reports_is_understood(body: dict[str, Any], found: list[NewObject]) -> None:
    assert new_objects(json.dumps(body)) == found


@pytest.mark.parametrize("body", ["", "[]", "null", "{}", '{"Records": [{}]}', '{"Records": 1}'])
def test_other_messages_are_refused_by_name(body: str) -> None:
    with pytest.raises(ValueError, match=r"^no notification of S3's"):
        new_objects(body)


def test_the_triggerer_can_build_it_again() -> None:
    path, arguments = trigger("q", settle_seconds=3).serialize()
    assert path == "s3_event_trigger.S3EventTrigger"
    assert S3EventTrigger(**arguments).serialize() == (path, arguments)
