"""A trigger that wakes a DAG up when S3 reports new objects: at least once, and without carrying S3's messages.

The provider's own trigger for SQS deletes messages before their event is stored, yields every message into Airflow's database,
and is created again without a pause while its queue is missing. This one deletes messages after the event is stored (Airflow's
shared streams call `advance` then), yields a count, and waits longer and longer while the queue does not answer.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from airflow.providers.amazon.aws.hooks.sqs import SqsHook
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger(__name__)

MESSAGES_PER_REQUEST = 10  # SQS's limit, for receiving and for deleting
MESSAGES_PER_EVENT = 10_000
LONGEST_PAUSE = 300.0  # seconds between two attempts at a queue that does not answer
# SQS's codes that are about who asks, not about what for.
CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}
)
HIDDEN_SECONDS = 120  # messages come back this long after their triggerer died; storing an event takes seconds


@dataclass(frozen=True)
class NewObject:
    """An object that S3 says was created; `time` as S3 wrote it."""

    bucket: str
    key: str
    time: str


def new_objects(body: str) -> list[NewObject]:
    """Return the created objects of one message: S3's own, S3's through SNS, or EventBridge's; of any other message, none.

    Raises:
        ValueError: the message is none that S3 sends.
    """
    try:
        message = json.loads(body)
        if message.get("Type") == "Notification":  # SNS puts S3's message into its own
            message = json.loads(message["Message"])
        if message.get("source") == "aws.s3":  # EventBridge does not encode keys
            created = message["detail-type"] == "Object Created"
            bucket, key = message["detail"]["bucket"]["name"], message["detail"]["object"]["key"]
            return [NewObject(bucket, key, str(message["time"]))] if created else []
        if message.get("Event") == "s3:TestEvent":  # what S3 sends when the notification is set up
            return []
        return [
            NewObject(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]), record["eventTime"])
            for record in message["Records"]
            if record["eventName"].startswith("ObjectCreated:")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no notification of S3's: {body[:200]!r} ({error!r})") from None


class S3EventTrigger(BaseEventTrigger):
    """Fire when S3 has reported new objects below a prefix; the event holds how many, and the time of the first.

    An event says "look", not "these": S3 delivers notifications at least once and in no order, and Airflow merges events. The
    queue must be this DAG's own: what is in it is deleted, whether it concerns the prefix or not.

    Args:
        queue_url: of the SQS queue that the bucket notifies.
        bucket: whose objects count.
        prefix: of the keys that count.
        pattern: a regular expression that they match from their start, if not all of them count.
        settle_seconds: a burst of objects ends when none was reported for so long; one event is made of it.
        longest_burst_seconds: after so long, an event is made of a burst that does not end.
        aws_conn_id: Airflow connection.
        region_name: AWS region.
    """

    def __init__(
        self,
        *,
        queue_url: str,
        bucket: str,
        prefix: str,
        pattern: str = "",
        settle_seconds: float = 5,
        longest_burst_seconds: float = 60,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
    ) -> None:
        super().__init__()
        self.queue_url = queue_url
        self.bucket = bucket
        self.prefix = prefix
        self.pattern = pattern
        self.settle_seconds = settle_seconds
        self.longest_burst_seconds = longest_burst_seconds
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to build the trigger again."""
        names = (
            "queue_url",
            "bucket",
            "prefix",
            "pattern",
            "settle_seconds",
            "longest_burst_seconds",
            "aws_conn_id",
            "region_name",
        )
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        """Return what triggers must have in common to share one poll of the queue."""
        return (self.queue_url, self.settle_seconds, self.longest_burst_seconds, self.aws_conn_id, self.region_name)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> "QueueProducer":
        """Return what reads the queue, and deletes messages whose event is stored."""
        return QueueProducer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[list[NewObject]]) -> AsyncIterator[TriggerEvent]:
        """Yield one event per burst that has objects below the prefix."""
        counts = re.compile(self.pattern).match
        async for objects in shared_stream:
            times = [
                found.time
                for found in objects
                if found.bucket == self.bucket and found.key.startswith(self.prefix) and counts(found.key)
            ]
            if times:
                self.log.info("%d new object(s) under s3://%s/%s", len(times), self.bucket, self.prefix)
                yield TriggerEvent({"messages": len(times), "first": min(times)})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Refuse to work where messages could be lost.

        Raises:
            RuntimeError: the triggerer does not know shared streams.
        """
        raise RuntimeError("S3EventTrigger needs Airflow 3.3 or later, whose triggerer confirms what it has stored")
        yield TriggerEvent(None)  # an async generator, as Airflow expects


class QueueProducer(SharedStreamProducer):
    """Reads a queue burst by burst; deletes a burst's messages when Airflow has stored what came of it."""

    def __init__(self, settings: S3EventTrigger) -> None:
        self.settings = settings
        self.hook = self._hook()

    async def open_stream(self) -> AsyncIterator[tuple[list[NewObject], list[str]]]:
        """Yield the objects of a burst and the receipts of its messages, for ever."""
        pause = 1.0
        while True:
            try:
                async with await self.hook.get_async_conn() as sqs:
                    while True:
                        burst = await self._burst(sqs)
                        pause = 1.0
                        if burst:
                            yield self._objects(burst), [message["ReceiptHandle"] for message in burst]
            except (BotoCoreError, ClientError, OSError) as error:
                log.error("%s; next attempt in %.0f s", self._explain(error), pause)  # noqa: TRY400 - the cause is named
                await asyncio.sleep(pause)
                self.hook = self._hook()  # it reads the connection anew, whose keys may have been changed
                pause = min(2 * pause, LONGEST_PAUSE)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Delete the messages of the bursts whose events are stored; the others come back by themselves."""
        receipts = [receipt for item in batch if item.outcome.is_clean for receipt in item.broker_payload]
        try:
            async with await self.hook.get_async_conn() as sqs:
                for start in range(0, len(receipts), MESSAGES_PER_REQUEST):
                    some = receipts[start : start + MESSAGES_PER_REQUEST]
                    entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(some)]
                    answer = await sqs.delete_message_batch(QueueUrl=self.settings.queue_url, Entries=entries)
                    for failed in answer.get("Failed", []):
                        log.warning("A message stays in the queue and will wake the DAG again: %s", failed)
        except (BotoCoreError, ClientError, OSError) as error:
            log.error("%s; its messages will wake the DAG again", self._explain(error))  # noqa: TRY400

    async def _burst(self, sqs: Any) -> list[dict[str, Any]]:
        """Wait for messages, at most as long as one request may; then take all that follow soon."""
        messages = await self._receive(sqs, wait_seconds=20)
        end = time.monotonic() + self.settings.longest_burst_seconds
        quiet = self.settings.settle_seconds
        while messages and len(messages) < MESSAGES_PER_EVENT and time.monotonic() < end:
            more = await self._receive(sqs, wait_seconds=round(quiet))
            if not more:
                break
            messages += more
        return messages

    async def _receive(self, sqs: Any, *, wait_seconds: int) -> list[dict[str, Any]]:
        answer = await sqs.receive_message(
            QueueUrl=self.settings.queue_url,
            MaxNumberOfMessages=MESSAGES_PER_REQUEST,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=HIDDEN_SECONDS,
        )
        return list(answer.get("Messages", []))

    def _objects(self, burst: list[dict[str, Any]]) -> list[NewObject]:
        found: list[NewObject] = []
        for message in burst:
            try:
                found += new_objects(message["Body"])
            except ValueError as error:
                log.warning("Message %s is deleted: %s", message["MessageId"], error)
        return found

    def _hook(self) -> SqsHook:
        return SqsHook(aws_conn_id=self.settings.aws_conn_id, region_name=self.settings.region_name)

    def _explain(self, error: Exception) -> str:
        """Say what is wrong with the queue, and what to do."""
        url = self.settings.queue_url
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        if code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return f"queue {url} does not exist: create it, or change FRUITS_QUEUE_URL; until then only the scheduled scan finds images"
        if "AccessDenied" in code:
            return (
                f"Airflow's credentials may not read queue {url}: allow sqs:ReceiveMessage and sqs:DeleteMessage on it"
            )
        if code in CREDENTIALS:
            return (
                f"AWS refuses Airflow's credentials for queue {url} ({code}): renew or correct those of the connection "
                f"{self.settings.aws_conn_id} or, if it is empty, of the triggerer"
            )
        return f"queue {url} does not answer: {error}"
