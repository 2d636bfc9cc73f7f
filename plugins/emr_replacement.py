"""The cluster that a run works on: the one that it has created or, if that was lost, the one that takes its place.

A lost cluster is replaced once. Its replacement has the lost cluster's id in its name: whoever looks for it, after a retry or in
the next task, finds it at EMR, whatever Airflow remembers.
"""

from typing import Any, NoReturn

from airflow.providers.amazon.aws.utils.mixins import AwsBaseHookMixin
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import ENDING_CLUSTER, IN_PLACE_OF, IdempotentEmrHook


def is_lost(cluster: dict[str, Any]) -> bool:
    """Say whether AWS has taken the cluster away: Spot reclaimed it, its zone or its primary node failed.

    What somebody has ended, what could not start, or what a step has brought down, would come to the same end again.

    Args:
        cluster: as DescribeCluster returns it.
    """
    status = cluster["Status"]
    if status["State"] not in ENDING_CLUSTER:
        return False
    code = status.get("StateChangeReason", {}).get("Code")
    # EC2 without capacity is an INTERNAL_ERROR too, of a cluster that was never ready.
    return code == "INSTANCE_FAILURE" or (code == "INTERNAL_ERROR" and "ReadyDateTime" in status["Timeline"])


def replaced_by(cluster: dict[str, Any]) -> str:
    """Return the id of the lost cluster in whose place this one is; empty for a first one."""
    _, _, lost = cluster["Name"].partition(IN_PLACE_OF)
    return str(lost)


def end_of(cluster: dict[str, Any]) -> str:
    """Return the state of a cluster that is ending, and EMR's reason with its code."""
    status = cluster["Status"]
    reason = status.get("StateChangeReason", {})
    state = ", ".join(filter(None, (status["State"], reason.get("Code"))))
    return f"{state}: {reason.get('Message') or 'no reason given'}"


class RunClusterMixin(AwsBaseHookMixin[IdempotentEmrHook]):
    """A task of a run whose cluster may be lost: it works on the cluster that is there, and replaces a lost one.

    Attributes:
        job_flow_id: of the cluster that the run has created.
        cluster_request: RunJobFlow's, of that cluster; without it a lost cluster is not replaced.
    """

    aws_hook_class = IdempotentEmrHook
    job_flow_id: str
    cluster_request: dict[str, Any] | None
    log: Any
    _killed = False

    def current_cluster(self) -> dict[str, Any]:
        """Return the cluster to work on, as DescribeCluster does; create one in place of a lost one.

        Raises:
            AirflowFailException: a second cluster was lost; the message has both causes.
            AirflowException: the task was killed while the cluster was being created, which has been ended.
        """
        hook = self.hook
        first = hook.describe(self.job_flow_id)
        if not self.cluster_request or not is_lost(first):
            return first
        if lost := replaced_by(first):  # a cleared task goes on where the replacement was
            self._give_up(hook.describe(lost), first)
        name = f"{first['Name']}{IN_PLACE_OF}{first['Id']}"
        # As old as a step may take: days.
        found = next(hook.find_clusters(name, since=first["Status"]["Timeline"]["CreationDateTime"]), None)
        second = hook.describe(found["Id"] if found else self._replace(first, name))
        if is_lost(second):
            self._give_up(first, second)
        return second

    def in_place_of(self, cluster: dict[str, Any]) -> str:
        """Return, for the message of a cluster's failure, what became of the one in whose place it is; nothing of a first one."""
        lost = replaced_by(cluster)
        if not lost:
            return ""
        try:
            return f"; it replaced {lost} ({end_of(self.hook.describe(lost))})"
        except (BotoCoreError, ClientError) as error:
            self.log.warning("How cluster %s has ended is unknown: %s", lost, error)
            return f"; it replaced {lost}"

    def on_kill(self) -> None:
        """Remember that the task was killed: Airflow lets it go on."""
        self._killed = True

    def _replace(self, lost: dict[str, Any], name: str) -> str:
        self.log.warning("Cluster %s is lost, %s", lost["Id"], end_of(lost))
        cluster_id = self.hook.create_cluster({**(self.cluster_request or {}), "Name": name})
        if self._killed:
            self.hook.conn.terminate_job_flows(JobFlowIds=[cluster_id])
            raise AirflowException(f"killed while cluster {cluster_id} was being created: it has been ended")
        self.log.warning(
            "Cluster %s replaces it: the run continues there, with what is already in S3. There will be no third cluster",
            cluster_id,
        )
        return cluster_id

    def _give_up(self, first: dict[str, Any], second: dict[str, Any]) -> NoReturn:
        raise AirflowFailException(
            f"two clusters were lost: {first['Id']} ({end_of(first)}), and {second['Id']} that replaced it ({end_of(second)}). "
            "Finished work is in S3: clear the task, or trigger the DAG again"
        )
