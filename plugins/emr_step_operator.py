"""A step of a cluster as one task: added once, awaited without a worker, cancelled with its task."""

import time
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from emr_hook import IdempotentEmrHook, hook_of
from emr_links import ClusterLink, SparkHistoryLink, StepLogLink
from emr_replacement import ENDING, RunClusterMixin, end_of, is_lost
from emr_step_log import end_of_log, failure
from emr_triggers import EmrStepTrigger

GRACE = timedelta(minutes=5)
CLUSTER_START = timedelta(minutes=40)  # at most; EMR takes 5 to 10 minutes


class EmrStepOperator(RunClusterMixin, EmrAddStepsOperator):
    """Run one step to its end: added once, awaited without a worker, its progress and its failure in the task's log.

    If the cluster is lost, before the step or under it, the step runs on one that takes its place.

    One task adds the step and waits for it. With two, a task that is cleared alone waits on a new cluster for a step that was
    added to the old one, or adds a step whose cluster the teardown ends at once.

    Args:
        cluster_request: RunJobFlow's, to replace a cluster that is lost (templated).
        step: a StepConfig whose `Name` is unique to the cluster; an empty one skips the task (templated).
        progress_uri: s3:// URI of the JSON document that the step keeps up to date, if any (templated).
        log_uri: where the cluster's logs are copied to, for the link to the step's (templated).
        poll_interval: seconds between two looks at the step.
        step_timeout_hours: how long the step may take, counted from when it was added (templated).
        log_timeout: EMR copies a step's log to S3 within minutes of its end; how long the trigger waits for it.
        ends_cluster: whether the step's failure ends the cluster, before its log is awaited (templated: `True`).
    """

    aws_hook_class = IdempotentEmrHook
    job_flow_id: str
    template_fields = (
        *EmrAddStepsOperator.template_fields,
        *("step", "progress_uri", "log_uri", "step_timeout_hours", "ends_cluster", "cluster_request"),
    )
    template_fields_renderers: ClassVar = {"step": "json", "cluster_request": "json"}
    operator_extra_links: Any = (ClusterLink(), StepLogLink(), SparkHistoryLink())
    step_id: str | None = None

    def __init__(
        self,
        *,
        step: Any,
        progress_uri: Any = None,
        log_uri: Any = None,
        poll_interval: float,
        step_timeout_hours: float | str,
        log_timeout: timedelta = timedelta(minutes=6),
        ends_cluster: bool | str = False,
        cluster_request: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=False, **kwargs)
        self.cluster_request = cluster_request
        self.step = step
        self.progress_uri = progress_uri
        self.log_uri = log_uri
        self.poll_interval = poll_interval
        self.step_timeout_hours = step_timeout_hours
        self.log_timeout = log_timeout
        self.ends_cluster = ends_cluster

    def execute(self, context: Context) -> None:  # type: ignore[override]
        """Add the step, unless the cluster has it, and hand the waiting over to the triggerer."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this step")
        self._run_on(self.current_cluster(), context)

    def _run_on(self, cluster: dict[str, Any], context: Context) -> None:
        """Add the step to the cluster, and wait for its end in the triggerer."""
        if cluster["Status"]["State"] in ENDING:
            raise AirflowFailException(f"cluster {cluster['Id']} is {end_of(cluster)}{self.in_place_of(cluster)}")
        self.job_flow_id = cluster["Id"]
        self.steps = [self.step]
        hook = hook_of(self)
        first = first_try(context, self.retries or 0)
        if context["ti"].try_number > first:
            # After a clear nobody knows whether a completed step repeats the work, or is what was to be repeated.
            hook.reuse_completed_steps = first == 1
        else:  # the first try, or the first since the task was cleared: what runs already is a task's that is gone
            hook.disregarded_steps = set(hook.find_steps(self.job_flow_id).values())
            hook.cancel_steps(self.job_flow_id, hook.disregarded_steps)
        (step_id,) = super().execute(context)
        self.step_id = step_id
        if self._killed:  # Airflow calls on_kill, perhaps before there was a step to cancel, and lets this go on
            hook.cancel_steps(self.job_flow_id, [step_id])
            raise AirflowException(f"killed while step {step_id} was being added: it has been cancelled")
        left = self._time_left(cluster, step_id)
        self.defer(
            trigger=EmrStepTrigger(
                job_flow_id=self.job_flow_id,
                step_id=step_id,
                progress_uri=self.progress_uri,
                poll_interval=self.poll_interval,
                deadline=time.time() + left.total_seconds(),
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                log_timeout=self.log_timeout.total_seconds(),
                ends_cluster=str(self.ends_cluster) == "True",
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline; this one is for a triggerer that never comes back.
            timeout=max(left, timedelta()) + self.log_timeout + timedelta(minutes=10),
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:  # type: ignore[override]
        """Succeed; begin again elsewhere if the cluster is lost; or fail with all that is known about the step.

        Raises:
            AirflowFailException: the step has failed, was cancelled, or was not over in time, or two clusters were lost. Waiting
                again could not help.
        """
        assert event is not None, "the trigger yields one event"
        self.job_flow_id, step_id, state = event["job_flow_id"], event["step_id"], event["state"]
        self.step_id = step_id
        if state == "COMPLETED":
            return
        if state == "TIMEOUT":
            hook_of(self).cancel_steps(self.job_flow_id, [step_id])
            raise AirflowFailException(
                f"step {step_id} did not finish within {float(self.step_timeout_hours):g} h, and was cancelled: see its log "
                "under LogUri, or raise the limit"
            )
        step = self._describe(step_id)
        cluster = hook_of(self).describe(self.job_flow_id)
        log: list[str] = []
        if state == "FAILED" and not is_lost(cluster):
            s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
            log = end_of_log(s3, cluster, step, self.log.warning)
        if self.cluster_request and is_lost(cluster):
            self._run_on(self.current_cluster(), context)
        if log:
            self.log.error("The end of the step's log:\n%s", "\n".join(log))
        raise AirflowFailException(failure(cluster, step, log) + self.in_place_of(cluster))

    def on_kill(self) -> None:
        """Cancel the step if the task is killed while it adds it; from then on the trigger does."""
        super().on_kill()
        hook = hook_of(self)
        if self.step and (step_id := hook.find_steps(self.job_flow_id).get(self.step["Name"])):
            self.log.warning("Cancelling step %s: its task was killed", step_id)
            hook.cancel_steps(self.job_flow_id, [step_id])

    def _time_left(self, cluster: dict[str, Any], step_id: str) -> timedelta:
        """Return how much longer the step may take; a step that is added while its cluster starts waits for that, too."""
        added = self._describe(step_id)["Status"]["Timeline"]["CreationDateTime"]
        ready = cluster["Status"]["Timeline"].get("ReadyDateTime", added + CLUSTER_START)
        # A step that keeps the limit itself says more about its end than a cancelled one: it comes first.
        limit = timedelta(hours=float(self.step_timeout_hours)) + GRACE
        return limit - timedelta(seconds=time.time() - max(added, ready).timestamp())

    def _describe(self, step_id: str) -> dict[str, Any]:
        return self.hook.conn.describe_step(ClusterId=self.job_flow_id, StepId=step_id)["Step"]


def first_try(context: Context, retries: int) -> int:
    """Return the number of the first try of the same work: clearing a task starts its `retries` anew, and its work."""
    ti: Any = context["ti"]
    return int(ti.max_tries - retries + 1)
