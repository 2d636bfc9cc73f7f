"""A step of a cluster as one task: added once, awaited without a worker, cancelled with its task."""

import time
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import ENDING_CLUSTER, IdempotentEmrHook
from emr_links import ClusterLink, SparkHistoryLink, StepLogLink
from emr_replacement import RunClusterMixin, end_of, is_lost
from emr_step_log import COPY_TIMEOUT, end_of_log, failure
from emr_triggers import OUTAGE, EmrStepTrigger

GRACE = timedelta(minutes=5)


class EmrStepOperator(RunClusterMixin, AwsBaseOperator[IdempotentEmrHook]):
    """Run one step to its end: added once, awaited without a worker, its progress and its failure in the task's log.

    If the cluster is lost, before the step or under it, the step runs on one that takes its place.

    One task adds the step and waits for it. With two, a task that is cleared alone waits on a new cluster for a step that was
    added to the old one, or adds a step whose cluster the teardown ends at once.

    Args:
        job_flow_id: of the cluster that the run has created (templated).
        cluster_request: RunJobFlow's, to replace a cluster that is lost (templated).
        step: a StepConfig whose `Name` is unique to the cluster; an empty one skips the task (templated).
        progress_uri: s3:// URI of the JSON document that the step keeps up to date, if any (templated).
        log_uri: where the cluster's logs are copied to, for the link to the step's (templated).
        poll_interval: seconds between two looks at the step.
        step_timeout_hours: how long the step may take, counted from when it was added (templated).
        cluster_timeout: how long a cluster may take to start: a step that is added meanwhile waits for that, too.
        log_timeout: how long the trigger waits for the log of a step that has failed.
        ends_cluster: whether the step's failure ends the cluster, before its log is awaited (templated: `True`).
    """

    template_fields = aws_template_fields(
        "job_flow_id", "cluster_request", "step", "progress_uri", "log_uri", "step_timeout_hours", "ends_cluster"
    )
    template_fields_renderers: ClassVar = {"step": "json", "cluster_request": "json"}
    operator_extra_links: Any = (ClusterLink(), StepLogLink(), SparkHistoryLink())
    step_id: str | None = None

    def __init__(
        self,
        *,
        job_flow_id: Any,
        step: Any,
        progress_uri: Any = None,
        log_uri: Any = None,
        poll_interval: float,
        step_timeout_hours: float | str,
        cluster_timeout: timedelta,
        log_timeout: timedelta = COPY_TIMEOUT,
        ends_cluster: bool | str = False,
        cluster_request: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_flow_id = job_flow_id
        self.cluster_request = cluster_request
        self.step = step
        self.progress_uri = progress_uri
        self.log_uri = log_uri
        self.poll_interval = poll_interval
        self.step_timeout_hours = step_timeout_hours
        self.cluster_timeout = cluster_timeout
        self.log_timeout = log_timeout
        self.ends_cluster = ends_cluster

    def execute(self, context: Context) -> None:
        """Add the step, unless the cluster has it, and hand the waiting over to the triggerer."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this step")
        self._run_on(self.current_cluster(), context)

    def _run_on(self, cluster: dict[str, Any], context: Context) -> None:
        """Add the step to the cluster, and wait for its end in the triggerer."""
        if cluster["Status"]["State"] in ENDING_CLUSTER:
            raise AirflowFailException(f"cluster {cluster['Id']} is {end_of(cluster)}{self.in_place_of(cluster)}")
        self.job_flow_id = cluster["Id"]
        self.step_id = self._add_step(context)
        if self._killed:  # Airflow calls on_kill, perhaps before there was a step to cancel, and lets this go on
            self.hook.cancel_steps(self.job_flow_id, [self.step_id])
            raise AirflowException(f"killed while step {self.step_id} was being added: it has been cancelled")
        left = self._time_left(cluster, self.step_id)
        self.defer(
            trigger=EmrStepTrigger(
                job_flow_id=self.job_flow_id,
                step_id=self.step_id,
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
            timeout=max(left, timedelta()) + self.log_timeout + OUTAGE,
        )

    def _add_step(self, context: Context) -> str:
        """Add the step, unless an earlier try of the same work has; return its id."""
        first = first_try(context, self.retries or 0)
        if context["ti"].try_number > first:
            # After a clear nobody knows whether a completed step repeats the work, or is what was to be repeated.
            return self.hook.add_step(self.job_flow_id, self.step, reuse_completed=first == 1)
        # The first try, or the first since the task was cleared: what runs already is a task's that is gone.
        others = self.hook.find_steps(self.job_flow_id).values()
        self.hook.cancel_steps(self.job_flow_id, others)
        return self.hook.add_step(self.job_flow_id, self.step, except_for=others)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Succeed; begin again elsewhere if the cluster is lost; or fail with all that is known about the step.

        Raises:
            AirflowFailException: the step has failed, was cancelled, or was not over in time, or two clusters were lost. Waiting
                again could not help.
        """
        self.job_flow_id, step_id, state = event["job_flow_id"], event["step_id"], event["state"]
        self.step_id = step_id
        if state == "COMPLETED":
            return
        if state == "TIMEOUT":
            self.hook.cancel_steps(self.job_flow_id, [step_id])
            raise AirflowFailException(
                f"step {step_id} did not finish within {float(self.step_timeout_hours):g} h, and was cancelled: see its log "
                "under LogUri, or raise the limit"
            )
        step = self._describe(step_id)
        cluster = self.hook.describe(self.job_flow_id)
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
        """Cancel the step if the task is killed while it adds it; from then on the trigger does.

        What EMR does not answer in time is left to the next try, or to the cluster's teardown.
        """
        super().on_kill()
        hook = self.hook.hurried
        try:
            if self.step and (step_id := hook.find_steps(self.job_flow_id).get(self.step["Name"])):
                self.log.warning("Cancelling step %s: its task was killed", step_id)
                hook.cancel_steps(self.job_flow_id, [step_id])
        except (BotoCoreError, ClientError) as error:
            self.log.warning("Whether cluster %s has the step is unknown: %s", self.job_flow_id, error)

    def _time_left(self, cluster: dict[str, Any], step_id: str) -> timedelta:
        """Return how much longer the step may take; a step that is added while its cluster starts waits for that, too."""
        added = self._describe(step_id)["Status"]["Timeline"]["CreationDateTime"]
        ready = cluster["Status"]["Timeline"].get("ReadyDateTime", added + self.cluster_timeout)
        # A step that keeps the limit itself says more about its end than a cancelled one: it comes first.
        limit = timedelta(hours=float(self.step_timeout_hours)) + GRACE
        return limit - timedelta(seconds=time.time() - max(added, ready).timestamp())

    def _describe(self, step_id: str) -> dict[str, Any]:
        return self.hook.conn.describe_step(ClusterId=self.job_flow_id, StepId=step_id)["Step"]


def first_try(context: Context, retries: int) -> int:
    """Return the number of the first try of the same work: clearing a task starts its `retries` anew, and its work."""
    ti: Any = context["ti"]
    return int(ti.max_tries - retries + 1)
