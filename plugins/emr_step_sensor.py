"""A deferrable EMR step sensor that shows how far the step is, and why it failed."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.emr import EmrStepSensor
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

TERMINAL = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
LOG_LINES = 40
MAX_ERRORS = 20  # in a row, while asking how a step is: with a poll every 30 s, ten minutes without AWS's API
LOG_TOLERANCE = timedelta(seconds=5)  # between the clocks of S3 and EMR


class EmrStepTrigger(BaseTrigger):
    """Wait until the step is over or ``deadline`` (Unix time, seconds) has passed; log each news about it.

    ``progress_uri`` names a JSON document that the step keeps up to date, whose ``message`` is logged when it changes; there
    may be none. The event holds ``state``: the step's last one, or ``TIMEOUT``.
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
        """What the triggerer needs to build the trigger again."""
        names = ("job_flow_id", "step_id", "progress_uri", "poll_interval", "deadline", "aws_conn_id", "region_name")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll; one event at the end."""
        connection: dict[str, Any] = {"aws_conn_id": self.aws_conn_id, "region_name": self.region_name}
        async with (
            await EmrHook(**connection).get_async_conn() as emr,
            await S3Hook(**connection).get_async_conn() as s3,
        ):
            state, message, errors = None, None, 0
            while True:
                try:
                    step = (await emr.describe_step(ClusterId=self.job_flow_id, StepId=self.step_id))["Step"]
                    errors = 0
                except (BotoCoreError, ClientError) as error:
                    errors += 1
                    if errors > MAX_ERRORS:
                        raise
                    self.log.warning("The step's state is not to be had (%d in a row): %s", errors, error)
                    await asyncio.sleep(self.poll_interval)
                    continue
                state, previous = step["Status"]["State"], state
                if state != previous:
                    self.log.info("%s is %s", step["Name"], state)
                message, previous = await self._progress(s3) or message, message
                if message != previous:
                    self.log.info("%s: %s", step["Name"], message)
                if state in TERMINAL or time.time() > self.deadline:
                    yield TriggerEvent({"state": state if state in TERMINAL else "TIMEOUT"})
                    return
                await asyncio.sleep(self.poll_interval)

    async def _progress(self, s3: Any) -> str | None:
        """Whatever is wrong with the progress is no reason to stop watching the step."""
        if not self.progress_uri:
            return None
        bucket, key = S3Hook.parse_s3_url(self.progress_uri)
        try:
            response = await s3.get_object(Bucket=bucket, Key=key)
            return json.loads(await response["Body"].read())["message"]
        except Exception as error:  # noqa: BLE001
            self.log.debug("No progress at %s: %s", self.progress_uri, error)
            return None


class EmrStepProgressSensor(EmrStepSensor):
    """Wait for a step without holding a worker; log its progress, and the end of its log when it fails.

    A failed step fails the task at once, since waiting for it again cannot help. Errors of the AWS API itself are retried as
    the task's ``retries`` say.

    Args:
        progress_uri: s3:// URI of the JSON document that the step keeps up to date (templated).
        step_timeout: how long the step may take.
        log_timeout: EMR copies a step's log to S3 within a few minutes of its end; how long to wait for it.
    """

    template_fields = (*EmrStepSensor.template_fields, "progress_uri")

    def __init__(
        self,
        *,
        progress_uri: str | None = None,
        step_timeout: timedelta,
        log_timeout: timedelta = timedelta(minutes=6),
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=True, **kwargs)
        self.progress_uri = progress_uri
        self.step_timeout = step_timeout
        self.log_timeout = log_timeout

    def execute(self, context: Context) -> None:
        """Hand the waiting over to the triggerer."""
        try:
            self.get_emr_response(context)  # makes the links to the cluster and to its logs
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"InvalidRequestException", "ValidationException"}:
                raise
            raise AirflowFailException(
                f"cluster {self.job_flow_id} has no step {self.step_id}: a cleared wait_for_… needs its add_… cleared too"
            ) from None
        self.defer(
            trigger=EmrStepTrigger(
                job_flow_id=self.job_flow_id,
                step_id=self.step_id,
                progress_uri=self.progress_uri,
                poll_interval=self.poke_interval,
                deadline=time.time() + self.step_timeout.total_seconds(),
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
            ),
            method_name="execute_complete",
            # The trigger keeps its own deadline; this one is for a triggerer that never comes back.
            timeout=self.step_timeout + timedelta(minutes=10),
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Succeed, or fail with all that is known about the step."""
        state = (event or {}).get("state")
        if state == "COMPLETED":
            return
        if state == "TIMEOUT":
            raise AirflowFailException(
                f"step {self.step_id} was not over after {self.step_timeout}: see its log under LogUri"
            )
        step = self.hook.conn.describe_step(ClusterId=self.job_flow_id, StepId=self.step_id)["Step"]
        cluster = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]
        details = step["Status"].get("FailureDetails", {})
        reason = step["Status"].get("StateChangeReason", {}).get("Message")
        causes = [cause for cause in (details.get("Reason"), details.get("Message"), reason) if cause]
        if cluster["Status"]["State"] in {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}:
            change = cluster["Status"].get("StateChangeReason", {})
            causes.append(f"the cluster is {cluster['Status']['State']}: {change.get('Message', 'no reason given')}")
        log = []
        if state == "FAILED":
            try:
                log = self._end_of_log(cluster.get("LogUri"), step["Status"]["Timeline"]["EndDateTime"])
            except (
                BotoCoreError,
                ClientError,
                OSError,
            ) as error:  # the cause is known, its details are not worth losing it
                self.log.warning("The step's log cannot be read: %s", error)
        if log:
            self.log.error("The end of the step's log:\n%s", "\n".join(log))
        errors = [line for line in log if re.match(r"error: |[\w.]*(Error|Exception)\b", line)]
        raise AirflowFailException(
            f"step {step['Name']} ({self.step_id}) is {state}: {'; '.join([*causes, *errors[-1:]]) or 'no reason given'}"
        )

    def _end_of_log(self, log_uri: str | None, ended: datetime) -> list[str]:
        """The last lines of what Spark (stderr) and, in client deploy mode, the Python driver (stdout) have written.

        EMR copies a log every few minutes, while the step runs too: only a copy made after its end has the cause.
        """
        if not log_uri:
            return []
        bucket, prefix = S3Hook.parse_s3_url(log_uri.replace("s3n://", "s3://"))
        folder = f"{prefix.rstrip('/')}/{self.job_flow_id}/steps/{self.step_id}".lstrip("/")
        s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
        deadline = time.monotonic() + self.log_timeout.total_seconds()
        while True:
            copy = s3.head_object(f"{folder}/stderr.gz", bucket)
            if copy and copy["LastModified"] >= ended - LOG_TOLERANCE:
                break
            if time.monotonic() > deadline:
                self.log.warning("No complete log at s3://%s/%s yet: look there, or in the EMR console", bucket, folder)
                break
            time.sleep(min(self.poke_interval, 15))
        lines = []
        for name in ("stderr.gz", "stdout.gz"):
            if s3.check_for_key(f"{folder}/{name}", bucket):
                content = s3.get_key(f"{folder}/{name}", bucket).get()["Body"].read()
                lines += gzip.decompress(content).decode(errors="replace").splitlines()[-LOG_LINES:]
        return lines
