"""Triggers for EMR."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Airflow gives `on_kill` 30 seconds.
PATIENT = Config(retries={"mode": "standard", "max_attempts": 6})
ENDED_STEP = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
MAX_ERRORS = 20  # consecutive, of DescribeStep: ten minutes without AWS's API at a poll every 30 s


class EmrStepTrigger(BaseTrigger):
    """Wait until the step has ended or the deadline has passed; log every change.

    The event holds `job_flow_id`, `step_id` and `state`: the step's last one, or `TIMEOUT`.

    Args:
        job_flow_id: of the cluster.
        step_id: of the step.
        progress_uri: s3:// URI of a JSON document that the step keeps up to date, whose `message` is logged; None or empty for
            a step that has none.
        poll_interval: seconds between two looks.
        deadline: Unix time, in seconds.
        aws_conn_id: Airflow connection.
        region_name: AWS region.
    """

    def __init__(
        self,
        *,
        job_flow_id: str,
        step_id: str,
        progress_uri: str | None,
        poll_interval: float,
        deadline: float,
        aws_conn_id: str | None,
        region_name: str | None,
    ) -> None:
        super().__init__()
        self.job_flow_id = job_flow_id
        self.step_id = step_id
        self.progress_uri = progress_uri
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to build the trigger again."""
        names = ("job_flow_id", "step_id", "progress_uri", "poll_interval", "deadline", "aws_conn_id", "region_name")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll, and yield one event at the end."""
        async with (
            await EmrHook(**self._connection).get_async_conn() as emr,
            await S3Hook(**self._connection).get_async_conn() as s3,
        ):
            logged: set[str] = set()
            async for step in self._descriptions(emr):
                state = step["Status"]["State"]
                messages = [f"{step['Name']} is {state}"]
                if progress := await self._progress(s3):
                    messages.append(f"{step['Name']}: {progress}")
                for message in messages:
                    if message not in logged:
                        self.log.info(message)
                        logged.add(message)
                if state in ENDED_STEP or time.time() > self.deadline:
                    last = state if state in ENDED_STEP else "TIMEOUT"
                    yield TriggerEvent({"job_flow_id": self.job_flow_id, "step_id": self.step_id, "state": last})
                    return

    async def on_kill(self) -> None:
        """Cancel the step: someone has marked its task as failed or as successful, or cleared it."""
        self.log.warning("Cancelling step %s: its task was marked or cleared", self.step_id)
        async with await EmrHook(**self._connection, config=PATIENT).get_async_conn() as emr:
            await emr.cancel_steps(
                ClusterId=self.job_flow_id, StepIds=[self.step_id], StepCancellationOption="SEND_INTERRUPT"
            )

    @property
    def _connection(self) -> dict[str, Any]:
        return {"aws_conn_id": self.aws_conn_id, "region_name": self.region_name}

    async def _descriptions(self, emr: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the step as DescribeStep returns it, once per poll; outlast moments in which EMR does not answer."""
        errors = 0
        while True:
            try:
                step = (await emr.describe_step(ClusterId=self.job_flow_id, StepId=self.step_id))["Step"]
            except (BotoCoreError, ClientError) as error:
                errors += 1
                if errors > MAX_ERRORS:
                    raise
                self.log.warning("Could not read the step's state (%d consecutive errors): %s", errors, error)
            else:
                errors = 0
                yield step
            await asyncio.sleep(self.poll_interval)

    async def _progress(self, s3: Any) -> str | None:
        """Return the progress document's message, best effort: it must never fail the wait."""
        if not self.progress_uri:
            return None
        bucket, key = S3Hook.parse_s3_url(self.progress_uri)
        try:
            response = await s3.get_object(Bucket=bucket, Key=key)
            return json.loads(await response["Body"].read())["message"]
        except Exception as error:  # noqa: BLE001 - best effort
            self.log.debug("No progress at %s: %s", self.progress_uri, error)
            return None
