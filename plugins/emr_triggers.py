"""Triggers for EMR."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aws_sessions import OwnSettings
from emr_step_log import is_final_copy, log_folder

# Airflow gives `on_kill` 30 seconds.
PATIENT = Config(retries={"mode": "standard", "max_attempts": 6})
ENDED_STEP = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
ARGUMENTS = [
    "job_flow_id",
    "step_id",
    "progress_uri",
    "poll_interval",
    "deadline",
    "aws_conn_id",
    "region_name",
    "log_timeout",
    "ends_cluster",
]
LOG_POLL_SECONDS = 5
SAID_SECONDS = 8  # and the rest of a poll: at most ten seconds without a word
OUTAGE = timedelta(minutes=30)  # of AWS's API, that a watch outlasts: the step goes on without it


class PatientEmrHook(OwnSettings, EmrHook):
    """An EmrHook for `on_kill`."""

    settings = PATIENT


class EmrStepTrigger(BaseTrigger):
    """Wait until the step has ended or the deadline has passed; say how far it is, at least every ten seconds.

    What it says is in the task's log, and the task's XCom `progress`. Of a step that has failed, it awaits the log too.

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
        log_timeout: how long to wait for the log of a step that has failed, in seconds: EMR copies it within minutes.
        ends_cluster: whether the cluster of a step that has failed is ended before its log is awaited.
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
        log_timeout: float = 0,
        ends_cluster: bool = False,
    ) -> None:
        super().__init__()
        self.job_flow_id = job_flow_id
        self.step_id = step_id
        self.progress_uri = progress_uri
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.log_timeout = log_timeout
        self.ends_cluster = ends_cluster
        self._started = self._said_at = time.monotonic()
        self._said: str | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to build the trigger again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in ARGUMENTS}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll, and yield one event at the end."""
        async with (
            await EmrHook(**self._connection).get_async_conn() as emr,
            await S3Hook(**self._connection).get_async_conn() as s3,
        ):
            said = ""
            async for step in self._descriptions(emr):
                name, state = step["Name"], step["Status"]["State"]
                if state != said:
                    self.log.info("%s is %s", name, state)
                    said = state
                if state in ENDED_STEP or time.time() > self.deadline:
                    last = state if state in ENDED_STEP else "TIMEOUT"
                    await self._say(name, state, s3)
                    if last == "FAILED":
                        await self._wait_for_log(emr, s3, step)
                    yield TriggerEvent({"job_flow_id": self.job_flow_id, "step_id": self.step_id, "state": last})
                    return
                next_look = time.monotonic() + self.poll_interval
                while (left := next_look - time.monotonic()) > 0:
                    await self._say(name, state, s3)
                    await asyncio.sleep(min(left, SAID_SECONDS))

    async def _say(self, name: str, state: str, s3: Any) -> None:
        """Log how far the step is, unless that was said within the last ten seconds and is still true."""
        progress = await self._progress(s3)
        silent = time.monotonic() - self._said_at
        if progress == self._said and (silent < SAID_SECONDS or state in ENDED_STEP):
            return
        so_far = progress or f"{state}, watched for {time.monotonic() - self._started:.0f} s"
        self.log.info("%s: %s", name, so_far)
        self._said, self._said_at = progress, time.monotonic()
        await self._push(so_far)

    async def _push(self, so_far: str) -> None:
        """Show it as the task's XCom `progress` too, best effort."""
        ti = self.task_instance
        if ti is None:  # no triggerer runs this
            return
        of_task = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id}
        try:
            await asyncio.to_thread(XCom.set, "progress", so_far, **of_task)
        except Exception as error:  # noqa: BLE001 - it must never fail the wait
            self.log.debug("No XCom of the progress: %s", error)

    async def on_kill(self) -> None:
        """Cancel the step: someone has marked its task as failed or as successful, or cleared it."""
        self.log.warning("Cancelling step %s: its task was marked or cleared", self.step_id)
        async with await PatientEmrHook(**self._connection).get_async_conn() as emr:
            await emr.cancel_steps(
                ClusterId=self.job_flow_id, StepIds=[self.step_id], StepCancellationOption="SEND_INTERRUPT"
            )

    @property
    def _connection(self) -> dict[str, Any]:
        return {"aws_conn_id": self.aws_conn_id, "region_name": self.region_name}

    async def _descriptions(self, emr: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the step as DescribeStep returns it, once per poll; outlast moments in which EMR does not answer."""
        silent_since: float | None = None
        while True:
            try:
                step = (await emr.describe_step(ClusterId=self.job_flow_id, StepId=self.step_id))["Step"]
            except (BotoCoreError, ClientError) as error:
                silent_since = silent_since or time.monotonic()
                silent = time.monotonic() - silent_since
                if silent > OUTAGE.total_seconds():
                    raise
                self.log.warning("Could not read the step's state (for %.0f s now): %s", silent, error)
                await asyncio.sleep(self.poll_interval)
            else:
                silent_since = None
                yield step  # whoever takes it waits until the next poll

    async def _wait_for_log(self, emr: Any, s3: Any, step: dict[str, Any]) -> None:
        """Wait for the step's log without a worker, and without the cluster: what goes wrong costs the log, not the cause."""
        try:
            cluster = (await emr.describe_cluster(ClusterId=self.job_flow_id))["Cluster"]
            # A node that has reported how the step ended was not lost: nobody will work on this cluster any more.
            if self.ends_cluster and step["Status"].get("FailureDetails", {}).get("Message"):
                self.log.info("The step has failed: ending cluster %s", self.job_flow_id)
                await emr.terminate_job_flows(JobFlowIds=[self.job_flow_id])
            if not cluster.get("LogUri"):
                return
            bucket, folder = log_folder(cluster)
            deadline = time.monotonic() + self.log_timeout
            while time.monotonic() < deadline:
                with suppress(ClientError):  # not there yet
                    copy = await s3.head_object(Bucket=bucket, Key=f"{folder}/steps/{self.step_id}/stderr.gz")
                    if is_final_copy(copy["LastModified"], step):
                        return
                self.log.debug("waiting for the step's log")
                await asyncio.sleep(min(self.poll_interval, LOG_POLL_SECONDS))
        except (BotoCoreError, ClientError) as error:
            self.log.warning("Could not wait for the step's log: %s", error)

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
