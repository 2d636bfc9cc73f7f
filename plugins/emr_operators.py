"""EMR operators that a retry cannot fool.

RunJobFlow and AddJobFlowSteps have no idempotency token: when the answer is lost, or the task dies before it could note the
answer, the provider's operators create a second cluster or add the step a second time, and the first cluster is nobody's.
"""

from collections.abc import Iterator
from typing import Any

from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException

ACTIVE_CLUSTER = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
ENDED_CLUSTER = ["TERMINATED", "TERMINATED_WITH_ERRORS"]
ACTIVE_STEP = ["PENDING", "RUNNING"]

# botocore sends a request again when its answer is lost; Airflow's retry looks first whether the first one was obeyed.
ASK_ONCE = {"retries": {"total_max_attempts": 1}}


class EmrCreateClusterOnceOperator(EmrCreateJobFlowOperator):
    """Create the cluster that ``job_flow_overrides`` describes, or take the one that an earlier try has created.

    The cluster is recognized by its ``Name``, which must be unique to the DAG run. Whatever goes wrong after RunJobFlow, the
    task being killed included, no cluster is left behind: without the XCom of this task nothing downstream could end it.
    """

    _killed = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"botocore_config": ASK_ONCE, **kwargs})

    def execute(self, context: Context) -> str | None:
        """Return the cluster's id."""
        for cluster_id in self._active_clusters():
            self.log.info("Cluster %s of this run exists already: an earlier try created it", cluster_id)
            return cluster_id
        try:
            created = super().execute(context)
            if self._killed:  # Airflow calls on_kill and lets execute go on
                raise AirflowException("killed while the cluster was being created")
            return created
        except BaseException:
            self._terminate()
            raise

    def on_kill(self) -> None:
        """Terminate what a killed task has created, or is about to create."""
        self._killed = True
        self._terminate()

    def _terminate(self) -> None:
        for cluster_id in self._active_clusters():
            self.log.warning("Terminating cluster %s: its creation did not finish", cluster_id)
            self.hook.conn.terminate_job_flows(JobFlowIds=[cluster_id])

    def _active_clusters(self) -> Iterator[str]:
        overrides: Any = self.job_flow_overrides
        for page in self.hook.conn.get_paginator("list_clusters").paginate(ClusterStates=ACTIVE_CLUSTER):
            yield from (cluster["Id"] for cluster in page["Clusters"] if cluster["Name"] == overrides["Name"])


class EmrAddStepOnceOperator(EmrAddStepsOperator):
    """Add one step and return its id, or that of the same step where an earlier try has added it and it is not over yet.

    ``steps`` is a list with the one step; it is recognized by its ``Name``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"botocore_config": ASK_ONCE, **kwargs})

    def execute(self, context: Context) -> str:  # type: ignore[override]
        """Return the step's id."""
        steps: Any = self.steps
        (step,) = steps
        pages = self.hook.conn.get_paginator("list_steps").paginate(ClusterId=self.job_flow_id, StepStates=ACTIVE_STEP)
        for page in pages:
            for summary in page["Steps"]:
                if summary["Name"] == step["Name"]:
                    self.log.info("Step %s is there already: an earlier try added it", summary["Id"])
                    return summary["Id"]
        (step_id,) = super().execute(context)
        return step_id


class EmrEndClusterOperator(EmrTerminateJobFlowOperator):
    """Terminate a cluster and wait until it is gone, however it went.

    The provider's operator fails when the cluster ends as TERMINATED_WITH_ERRORS, as it does when it was lost or could not
    start. That is for the tasks that needed the cluster to report; here it only matters that nothing runs on.
    """

    def execute(self, context: Context) -> None:
        """Ask EMR to terminate it, unless it is gone already."""
        if self._ended():
            self.log.info("Cluster %s is gone already", self.job_flow_id)
        else:
            super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Judge by the cluster's state rather than by the event."""
        if not self._ended():
            super().execute_complete(context, event)

    def _ended(self) -> bool:
        state = self.hook.conn.describe_cluster(ClusterId=self.job_flow_id)["Cluster"]["Status"]["State"]
        return state in ENDED_CLUSTER
