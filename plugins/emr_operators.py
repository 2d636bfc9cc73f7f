"""A cluster's beginning and end: a retry reuses what the previous attempt created, and a failure leaves no cluster behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from botocore.exceptions import ClientError

from emr_hook import ACTIVE_CLUSTER, ENDED_CLUSTER, IN_PLACE_OF, IdempotentEmrHook, hook_of
from emr_links import ClusterLink

ENDED_TASK = {"success", "failed", "skipped", "upstream_failed", "removed"}


class EmrCreateClusterOperator(EmrCreateJobFlowOperator):
    """Create the cluster that `job_flow_overrides` describes, or reuse the one that an earlier attempt created.

    The cluster is recognized by its `Name`, which must be unique to the DAG run. A killed task terminates what it has created:
    without its XCom nothing downstream could.

    Args:
        refuse: called before a cluster is asked for, with the task's context; raises where there must be none.
    """

    aws_hook_class = IdempotentEmrHook
    operator_extra_links: Any = (ClusterLink(),)
    job_flow_id: str | None = None  # for the link
    _killed = False

    def __init__(self, *, refuse: Callable[[Context], None] | None = None, **kwargs: Any) -> None:
        super().__init__(emr_conn_id=None, deferrable=False, **kwargs)
        self.refuse = refuse

    def execute(self, context: Context) -> str:
        """Return the cluster's id.

        Raises:
            AirflowSkipException: the run has no step left to do, so that a cluster would be paid for nothing.
        """
        self._skip_without_work(context)
        if self.refuse:
            self.refuse(context)
        try:
            cluster_id = super().execute(context)
            assert cluster_id is not None
        except Exception:
            # After RunJobFlow the provider asks EMR for its links to the console. What fails there must not cost the cluster.
            cluster_id = hook_of(self).find_cluster(self._name)
            if cluster_id is None:
                raise
            self.log.warning("Cluster %s was created, but something failed afterwards", cluster_id, exc_info=True)
        except BaseException:  # a timeout of the task, the end of the worker
            self.on_kill()
            raise
        if self._killed:  # Airflow calls on_kill and lets execute go on
            self.on_kill()
            raise AirflowException("killed while the cluster was being created")
        self.job_flow_id = cluster_id
        return cluster_id

    def on_kill(self) -> None:
        """Terminate what a killed task has created, or is about to create."""
        self._killed = True
        hook_of(self).end_clusters(self._name, "its task was killed")

    @property
    def _name(self) -> str:
        overrides: Any = self.job_flow_overrides
        return overrides["Name"]

    def _skip_without_work(self, context: Context) -> None:
        """Skip if every step of the run has ended: someone has cleared a task that comes with this setup, but no step."""
        tasks = self.dag.tasks if self.has_dag() else []
        # By the provider's class: Airflow loads plugins a second time, so that this module and the DAG may know two of ours.
        steps = [task.task_id for task in tasks if isinstance(task, EmrAddStepsOperator)]
        if not steps:
            return
        ti, run_id = context["ti"], context["run_id"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=steps, run_ids=[run_id]).get(run_id, {})
        if all(states.get(step) in ENDED_TASK for step in steps):
            raise AirflowSkipException("no step of this run remains to be done: clear one of them too, or the whole run")


class EmrTerminateClusterOperator(EmrTerminateJobFlowOperator):
    """Make sure that a run's clusters have terminated, with or without errors: the one it has created, and any in its place.

    The provider's operator fails on TERMINATED_WITH_ERRORS, the state of a cluster that was lost or could not start. That is for
    the tasks that needed the cluster to report; here it only matters that nothing runs on.

    Args:
        waiter_delay: seconds between two looks at the cluster.
        termination_timeout: how long it may take to terminate.
        reason_to_keep: why the cluster is left as it is, with `{cluster_id}` for its id; none or empty to end it.
    """

    aws_hook_class = IdempotentEmrHook
    template_fields = (*EmrTerminateJobFlowOperator.template_fields, "reason_to_keep")
    operator_extra_links: Any = (ClusterLink(),)

    def __init__(
        self, *, waiter_delay: float, termination_timeout: timedelta, reason_to_keep: str | None = None, **kwargs: Any
    ) -> None:
        attempts = max(1, int(termination_timeout.total_seconds() / waiter_delay))
        super().__init__(waiter_delay=int(waiter_delay), waiter_max_attempts=attempts, deferrable=True, **kwargs)
        self.reason_to_keep = reason_to_keep

    def execute(self, context: Context) -> None:
        """Ask EMR to terminate what has not ended, and wait for it.

        Raises:
            AirflowSkipException: the cluster is to be kept.
        """
        alive = self._alive()
        if not alive:
            self.log.info(
                "Cluster %s is gone already, and so is what took its place, if anything did", self.job_flow_id
            )
            return
        if self.reason_to_keep:
            raise AirflowSkipException(self.reason_to_keep.format(cluster_id=", ".join(alive)))
        self.job_flow_id, *others = alive
        if others:
            self.log.info("Terminating %s too", ", ".join(others))
            self.hook.conn.terminate_job_flows(JobFlowIds=others)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Judge by the clusters' states rather than by the event."""
        if self._alive():
            super().execute_complete(context, event)  # fails unless the one that was waited for has ended
            self.execute(context)

    def _alive(self) -> list[str]:
        """Return the ids of the run's clusters that have not ended."""
        hook = hook_of(self)
        try:
            first = hook.describe(self.job_flow_id)
        except ClientError as error:
            # EMR forgets clusters after two months, a local endpoint when it is reset.
            if error.response["Error"]["Code"] == "InvalidRequestException" and "not valid" in str(error):
                return []
            raise
        name = first["Name"].partition(IN_PLACE_OF)[0]
        others = hook.find_clusters(name, [*ACTIVE_CLUSTER, "TERMINATING"])
        own = [] if first["Status"]["State"] in ENDED_CLUSTER else [first["Id"]]
        return own + [cluster["Id"] for cluster in others if cluster["Id"] != first["Id"]]
