"""A step of a cluster as one task: added once, awaited without a worker, cancelled with its task."""

import time
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from emr_hook import IdempotentEmrHook, hook_of
from emr_step_log import causes, end_of_log, error_lines, exit_code_meaning
from emr_triggers import EmrStepTrigger

GRACE = timedelta(minutes=5)


class EmrStepOperator(EmrAddStepsOperator):
    """Run one step to its end: added once, awaited without a worker, its progress and its failure in the task's log.

    One task adds the step and waits for it. With two, a task that is cleared alone waits on a new cluster for a step that was
    added to the old one, or adds a step whose cluster the teardown ends at once.

    Args:
        step: a StepConfig whose `Name` is unique to the cluster; an empty one skips the task (templated).
        progress_uri: s3:// URI of the JSON document that the step keeps up to date, if any (templated).
        poll_interval: seconds between two looks at the step.
        step_timeout_hours: how long the step may take, counted from when it was added (templated).
        log_timeout: EMR copies a step's log to S3 within minutes of its end; how long to wait for it.
    """

    aws_hook_class = IdempotentEmrHook
    job_flow_id: str
    template_fields = (*EmrAddStepsOperator.template_fields, "step", "progress_uri", "step_timeout_hours")
    template_fields_renderers: ClassVar = {"step": "json"}

    def __init__(
        self,
        *,
        step: Any,
        progress_uri: Any = None,
        poll_interval: float,
        step_timeout_hours: float | str,
        log_timeout: timedelta = timedelta(minutes=6),
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=False, **kwargs)
        self.step = step
        self.progress_uri = progress_uri
        self.poll_interval = poll_interval
        self.step_timeout_hours = step_timeout_hours
        self.log_timeout = log_timeout

    def execute(self, context: Context) -> None:  # type: ignore[override]
        """Add the step, unless the cluster has it, and hand the waiting over to the triggerer."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this step")
        self.steps = [self.step]
        hook = hook_of(self)
        if is_retry(context, self.retries or 0):
            hook.reuse_completed_steps = True
        else:  # the first try, or the first since the task was cleared: what runs already is a task's that is gone
            hook.disregarded_steps = set(hook.find_steps(self.job_flow_id).values())
            hook.cancel_steps(self.job_flow_id, hook.disregarded_steps)
        (step_id,) = super().execute(context)
        added = self._describe(step_id)["Status"]["Timeline"]["CreationDateTime"]
        # A step that keeps the limit itself says more about its end than a cancelled one: it comes first.
        limit = timedelta(hours=float(self.step_timeout_hours)) + GRACE
        left = limit - timedelta(seconds=time.time() - added.timestamp())
        self.defer(
            trigger=EmrStepTrigger(
                job_flow_id=self.job_flow_id,
                step_id=step_id,
                progress_uri=self.progress_uri,
                poll_interval=self.poll_interval,
                deadline=time.time() + left.total_seconds(),
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline; this one is for a triggerer that never comes back.
            timeout=max(left, timedelta()) + timedelta(minutes=10),
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:  # type: ignore[override] # noqa: ARG002
        """Succeed, or fail with all that is known about the step; waiting for it again could not help.

        Raises:
            AirflowFailException: the step has failed, was cancelled, or was not over in time.
        """
        assert event is not None, "the trigger yields one event"
        step_id, state = event["step_id"], event["state"]
        if state == "COMPLETED":
            return
        if state == "TIMEOUT":
            hook_of(self).cancel_steps(self.job_flow_id, [step_id])
            raise AirflowFailException(
                f"step {step_id} was not over after {float(self.step_timeout_hours):g} h, and has been cancelled: see its log "
                "under LogUri, or raise the limit"
            )
        step = self._describe(step_id)
        cluster = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]
        log: list[str] = []
        if state == "FAILED":
            s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
            log = end_of_log(s3, cluster, step, self.log_timeout, self.log.warning)
        if log:
            self.log.error("The end of the step's log:\n%s", "\n".join(log))
        known = causes(cluster, step)
        reasons = "; ".join([*known, *error_lines(log)[-1:], *exit_code_meaning([*known, *log])])
        raise AirflowFailException(f"step {step['Name']} ({step_id}) is {state}: {reasons or 'no reason given'}")

    def on_kill(self) -> None:
        """Cancel the step if the task is killed while it adds it; from then on the trigger does."""
        hook = hook_of(self)
        if self.step and (step_id := hook.find_steps(self.job_flow_id).get(self.step["Name"])):
            self.log.warning("Cancelling step %s: its task was killed", step_id)
            hook.cancel_steps(self.job_flow_id, [step_id])

    def _describe(self, step_id: str) -> dict[str, Any]:
        return self.hook.conn.describe_step(ClusterId=self.job_flow_id, StepId=step_id)["Step"]


def is_retry(context: Context, retries: int) -> bool:
    """Say whether an earlier attempt of the same work has run: clearing a task starts its `retries` anew, and its work."""
    ti: Any = context["ti"]
    return bool(ti.try_number > ti.max_tries - retries + 1)
