"""Sensors for EMR."""

from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from emr_bootstrap_log import BootstrapLog, cause, failed_action
from emr_hook import IdempotentEmrHook
from emr_links import ClusterLink
from emr_replacement import ENDING, RunClusterMixin

READY = ["WAITING", "RUNNING"]


class EmrClusterReadySensor(RunClusterMixin, EmrJobFlowSensor):
    """Wait until the run's cluster accepts steps, giving up its worker between two looks; replace it once if it is lost.

    The provider's sensor ignores `target_states` when it is deferrable and waits for the cluster's end.

    Args:
        cluster_request: RunJobFlow's, to replace a cluster that is lost (templated).
    """

    aws_hook_class = IdempotentEmrHook
    template_fields = (*EmrJobFlowSensor.template_fields, "cluster_request")
    template_fields_renderers: ClassVar = {"cluster_request": "json"}
    operator_extra_links: Any = (ClusterLink(),)

    def __init__(self, *, cluster_request: Any = None, **kwargs: Any) -> None:
        super().__init__(target_states=READY, failed_states=[*ENDING], deferrable=False, mode="reschedule", **kwargs)
        self.cluster_request = cluster_request

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Look once.

        Raises:
            AirflowFailException: the cluster is ending, or two were lost; waiting again cannot help.
        """
        cluster = self.current_cluster()
        state = cluster["Status"]["State"]
        self.log.info("Cluster %s is %s", cluster["Id"], state)
        if state in ENDING:
            return self._fail(cluster)
        return state in READY

    def _fail(self, cluster: dict[str, Any]) -> bool:
        """Fail with EMR's reason, and with what the node has said if it could not be set up; False while its log is awaited."""
        reason = self.failure_message_from_response({"Cluster": cluster}) or ""
        state = f"{cluster['Status']['State']} {reason}".rstrip()
        message = f"cluster {cluster['Id']} is {state}{self.in_place_of(cluster)}"
        if not failed_action(cluster) or not cluster.get("LogUri"):
            raise AirflowFailException(message)
        log = BootstrapLog(S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name), cluster)
        if log.is_awaited():
            self.log.info("A node could not be set up: waiting for its log at s3://%s/%s", log.bucket, log.key)
            return False
        lines = log.read()
        self.log.error("The end of the node's log:\n%s", "\n".join(lines))
        raise AirflowFailException(f"{message}\n  the node says: {cause(lines)}\n  log: s3://{log.bucket}/{log.key}")
