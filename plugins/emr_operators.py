"""Idempotent EMR operators: a retry reuses what the previous attempt created, and a failure leaves no cluster behind."""

import time
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.exceptions import ClientError

from emr_hook import IdempotentEmrHook
from emr_step_log import causes, end_of_log, error_lines
from emr_triggers import EmrStepTrigger

ENDED_CLUSTER = {"TERMINATED", "TERMINATED_WITH_ERRORS"}
ENDED_TASK = {"success", "failed", "skipped", "upstream_failed", "removed"}


class EmrCreateClusterOperator(EmrCreateJobFlowOperator):
    """Create the cluster that `job_flow_overrides` describes, or reuse the one that an earlier attempt created.

    The cluster is recognized by its `Name`, which must be unique to the DAG run. A killed task terminates what it has created:
    without its XCom nothing downstream could.
    """

    aws_hook_class = IdempotentEmrHook
    _killed = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(emr_conn_id=None, deferrable=False, **kwargs)

    def execute(self, context: Context) -> str:
        """Return the cluster's id.

        Raises:
            AirflowSkipException: the run has no step left to do, so that a cluster would be paid for nothing.
        """
        self._skip_without_work(context)
        try:
            cluster_id = super().execute(context)
            assert cluster_id is not None
        except Exception:
            # After RunJobFlow the provider asks EMR for its links to the console. What fails there must not cost the cluster.
            cluster_id = _hook(self).find_cluster(self._name)
            if cluster_id is None:
                raise
            self.log.warning("Cluster %s was created, but something failed afterwards", cluster_id, exc_info=True)
        except BaseException:  # a timeout of the task, the end of the worker
            self.on_kill()
            raise
        if self._killed:  # Airflow calls on_kill and lets execute go on
            self.on_kill()
            raise AirflowException("killed while the cluster was being created")
        return cluster_id

    def on_kill(self) -> None:
        """Terminate what a killed task has created, or is about to create."""
        self._killed = True
        if cluster_id := _hook(self).find_cluster(self._name):
            self.log.warning("Terminating cluster %s: its task was killed", cluster_id)
            self.hook.conn.terminate_job_flows(JobFlowIds=[cluster_id])

    @property
    def _name(self) -> str:
        overrides: Any = self.job_flow_overrides
        return overrides["Name"]

    def _skip_without_work(self, context: Context) -> None:
        """Skip if every step of the run has ended: someone has cleared a task that comes with this setup, but no step."""
        tasks = self.dag.tasks if self.has_dag() else []
        steps = [task.task_id for task in tasks if isinstance(task, EmrStepOperator)]
        if not steps:
            return
        ti, run_id = context["ti"], context["run_id"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=steps, run_ids=[run_id]).get(run_id, {})
        if all(states.get(step) in ENDED_TASK for step in steps):
            raise AirflowSkipException("no step of this run is left to do: clear one of them too, or the whole run")


class EmrStepOperator(EmrAddStepsOperator):
    """Run one step to its end: added once, awaited without a worker, its progress and its failure in the task's log.

    One task adds the step and waits for it. With two, a task that is cleared alone waits on a new cluster for a step that was
    added to the old one, or adds a step whose cluster the teardown ends at once.

    Args:
        step: a StepConfig whose `Name` is unique to the cluster; an empty one skips the task (templated).
        progress_uri: s3:// URI of the JSON document that the step keeps up to date, if any (templated).
        poll_interval: seconds between two looks at the step.
        step_timeout: how long the step may take, counted from when it was added.
        log_timeout: EMR copies a step's log to S3 within minutes of its end; how long to wait for it.
    """

    aws_hook_class = IdempotentEmrHook
    job_flow_id: str
    template_fields = (*EmrAddStepsOperator.template_fields, "step", "progress_uri")
    template_fields_renderers: ClassVar = {"step": "json"}

    def __init__(
        self,
        *,
        step: Any,
        progress_uri: Any = None,
        poll_interval: float,
        step_timeout: timedelta,
        log_timeout: timedelta = timedelta(minutes=6),
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=False, **kwargs)
        self.step = step
        self.progress_uri = progress_uri
        self.poll_interval = poll_interval
        self.step_timeout = step_timeout
        self.log_timeout = log_timeout

    def execute(self, context: Context) -> None:  # type: ignore[override]
        """Add the step, unless the cluster has it, and hand the waiting over to the triggerer."""
        if not self.step:
            raise AirflowSkipException("there is nothing to do for this step")
        self.steps = [self.step]
        _hook(self).reuse_completed_steps = is_retry(context, self.retries or 0)
        (step_id,) = super().execute(context)
        added = self._describe(step_id)["Status"]["Timeline"]["CreationDateTime"]
        left = self.step_timeout - timedelta(seconds=time.time() - added.timestamp())
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
            raise AirflowFailException(
                f"step {step_id} was not over after {self.step_timeout}: see its log under LogUri"
            )
        step = self._describe(step_id)
        cluster = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]
        log: list[str] = []
        if state == "FAILED":
            s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
            log = end_of_log(s3, cluster, step, self.log_timeout, self.log.warning)
        if log:
            self.log.error("The end of the step's log:\n%s", "\n".join(log))
        reasons = "; ".join([*causes(cluster, step), *error_lines(log)[-1:]])
        raise AirflowFailException(f"step {step['Name']} ({step_id}) is {state}: {reasons or 'no reason given'}")

    def _describe(self, step_id: str) -> dict[str, Any]:
        return self.hook.conn.describe_step(ClusterId=self.job_flow_id, StepId=step_id)["Step"]


class EmrTerminateClusterOperator(EmrTerminateJobFlowOperator):
    """Make sure that a cluster has terminated, with or without errors.

    The provider's operator fails on TERMINATED_WITH_ERRORS, the state of a cluster that was lost or could not start. That is for
    the tasks that needed the cluster to report; here it only matters that nothing runs on.

    Args:
        waiter_delay: seconds between two looks at the cluster.
        termination_timeout: how long it may take to terminate.
    """

    aws_hook_class = IdempotentEmrHook

    def __init__(self, *, waiter_delay: float, termination_timeout: timedelta, **kwargs: Any) -> None:
        attempts = max(1, int(termination_timeout.total_seconds() / waiter_delay))
        super().__init__(waiter_delay=int(waiter_delay), waiter_max_attempts=attempts, deferrable=True, **kwargs)

    def execute(self, context: Context) -> None:
        """Ask EMR to terminate the cluster, unless it is gone already."""
        if self._is_gone():
            self.log.info("Cluster %s is gone already", self.job_flow_id)
        else:
            super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Judge by the cluster's state rather than by the event."""
        if not self._is_gone():
            super().execute_complete(context, event)

    def _is_gone(self) -> bool:
        try:
            cluster = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]
        except ClientError as error:
            # EMR forgets clusters after two months, a local endpoint when it is reset.
            if error.response["Error"]["Code"] == "InvalidRequestException" and "not valid" in str(error):
                return True
            raise
        return cluster["Status"]["State"] in ENDED_CLUSTER


def _hook(operator: Any) -> IdempotentEmrHook:
    """Return the operator's hook by its type, which the provider's declaration does not know."""
    return operator.hook


def is_retry(context: Context, retries: int) -> bool:
    """Say whether an earlier attempt of the same work has run: clearing a task starts its `retries` anew, and its work."""
    ti: Any = context["ti"]
    return bool(ti.try_number > ti.max_tries - retries + 1)
