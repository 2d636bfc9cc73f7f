"""A cluster's beginning and end: a retry reuses what the previous attempt created, and a failure leaves no cluster behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.triggers.emr import EmrTerminateJobFlowTrigger
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import ACTIVE_CLUSTER, ENDED_CLUSTER, IN_PLACE_OF, IdempotentEmrHook
from emr_links import ClusterLink

ENDED_TASK = {"success", "failed", "skipped", "upstream_failed", "removed"}


class EmrCreateClusterOperator(AwsBaseOperator[IdempotentEmrHook]):
    """Create the cluster that `job_flow_overrides` describes, or reuse the one that an earlier attempt created.

    The cluster is recognized by its `Name`, which must be unique to the DAG run. A killed task terminates what it has created:
    without its XCom nothing downstream could.

    Args:
        job_flow_overrides: RunJobFlow's request (templated).
        refuse: called before a cluster is asked for, with the task's context; raises where there must be none.
    """

    aws_hook_class = IdempotentEmrHook
    template_fields = aws_template_fields("job_flow_overrides")
    template_fields_renderers: ClassVar = {"job_flow_overrides": "json"}
    operator_extra_links: Any = (ClusterLink(),)
    job_flow_id: str | None = None  # for the link
    _killed = False

    def __init__(
        self, *, job_flow_overrides: Any, refuse: Callable[[Context], None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.job_flow_overrides = job_flow_overrides
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
            self.job_flow_id = self.hook.create_cluster(self.job_flow_overrides)
        except (KeyboardInterrupt, SystemExit):  # after any other error a retry finds what may have been created
            self.on_kill()
            raise
        if self._killed:  # Airflow calls on_kill and lets execute go on
            self.hook.conn.terminate_job_flows(JobFlowIds=[self.job_flow_id])
            raise AirflowException(f"killed while cluster {self.job_flow_id} was being created: it has been ended")
        self.log.info("The run works on cluster %s", self.job_flow_id)
        return self.job_flow_id

    def on_kill(self) -> None:
        """Terminate what a killed task has created; what EMR does not answer in time is left to the run's last task."""
        self._killed = True
        name = self.job_flow_overrides["Name"]
        try:
            self.hook.hurried.end_clusters(name, "its task was killed")
        except (BotoCoreError, ClientError) as error:  # it would end what execute does meanwhile: creating a cluster
            self.log.warning("Whether there is a cluster called %r is unknown: %s", name, error)

    def _skip_without_work(self, context: Context) -> None:
        """Skip if every step of the run has ended: someone has cleared a task that comes with this setup, but no step."""
        tasks = self.dag.tasks if self.has_dag() else []
        # By its name: Airflow loads plugins a second time, so that this module and the DAG may know two classes of it.
        steps = [task.task_id for task in tasks if task.task_type == "EmrStepOperator"]
        if not steps:
            return
        ti, run_id = context["ti"], context["run_id"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=steps, run_ids=[run_id]).get(run_id, {})
        if all(states.get(step) in ENDED_TASK for step in steps):
            raise AirflowSkipException(
                "no step of this run remains to be done: clear one of them too, or the whole run"
            )


class EmrTerminateClusterOperator(AwsBaseOperator[IdempotentEmrHook]):
    """Make sure that a run's clusters have terminated, with or without errors: the one it has created, and any in its place.

    That one was lost or could not start is for the tasks to report that needed it; here it only matters that nothing runs on.

    Args:
        job_flow_id: of the cluster that the run has created (templated).
        waiter_delay: seconds between two looks at the cluster.
        termination_timeout: how long it may take to terminate.
        reason_to_keep: why the cluster is left as it is, with `{cluster_id}` for its id; none or empty to end it (templated).
    """

    aws_hook_class = IdempotentEmrHook
    template_fields = aws_template_fields("job_flow_id", "reason_to_keep")
    operator_extra_links: Any = (ClusterLink(),)

    def __init__(
        self,
        *,
        job_flow_id: Any,
        waiter_delay: float,
        termination_timeout: timedelta,
        reason_to_keep: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_flow_id = job_flow_id
        self.waiter_delay = waiter_delay
        self.termination_timeout = termination_timeout
        self.reason_to_keep = reason_to_keep

    def execute(self, context: Context) -> None:  # noqa: ARG002
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
        self.log.info("Terminating %s", ", ".join(alive))
        self.hook.conn.terminate_job_flows(JobFlowIds=alive)
        self.job_flow_id = alive[0]
        attempts = max(1, int(self.termination_timeout.total_seconds() / self.waiter_delay))
        self.defer(
            trigger=EmrTerminateJobFlowTrigger(
                job_flow_id=self.job_flow_id,
                waiter_delay=int(self.waiter_delay),
                waiter_max_attempts=attempts,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
            ),
            method_name="execute_complete",
            # The trigger counts its looks; this one is for a triggerer that never comes back.
            timeout=self.termination_timeout + timedelta(minutes=1),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Judge by the clusters' states rather than by the event; end what is left, one after the other.

        Raises:
            AirflowException: the cluster that was waited for is there still.
        """
        if not self._alive():
            return
        if event["status"] != "success":
            raise AirflowException(f"cluster {self.job_flow_id} has not ended: {event['message']}")
        self.execute(context)

    def _alive(self) -> list[str]:
        """Return the ids of the run's clusters that have not ended."""
        try:
            first = self.hook.describe(self.job_flow_id)
        except ClientError as error:
            # EMR forgets clusters after two months, a local endpoint when it is reset.
            if error.response["Error"]["Code"] == "InvalidRequestException" and "not valid" in str(error):
                return []
            raise
        name = first["Name"].partition(IN_PLACE_OF)[0]
        others = self.hook.find_clusters(name, [*ACTIVE_CLUSTER, "TERMINATING"])
        own = [] if first["Status"]["State"] in ENDED_CLUSTER else [first["Id"]]
        return own + [cluster["Id"] for cluster in others if cluster["Id"] != first["Id"]]
