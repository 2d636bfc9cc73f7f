"""Sensors for EMR."""

from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.sensors.base_aws import AwsBaseSensor
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from emr_bootstrap_log import BootstrapLog, cause, failed_action
from emr_hook import ENDING_CLUSTER, IdempotentEmrHook
from emr_links import ClusterLink
from emr_replacement import RunClusterMixin, end_of

READY = ["WAITING", "RUNNING"]


class EmrClusterReadySensor(RunClusterMixin, AwsBaseSensor[IdempotentEmrHook]):
    """Wait until the run's cluster accepts steps, giving up its worker between two looks; replace it once if it is lost.

    Args:
        job_flow_id: of the cluster that the run has created (templated).
        cluster_request: RunJobFlow's, to replace a cluster that is lost (templated).
    """

    template_fields = aws_template_fields("job_flow_id", "cluster_request")
    template_fields_renderers: ClassVar = {"cluster_request": "json"}
    operator_extra_links: Any = (ClusterLink(),)

    def __init__(self, *, job_flow_id: Any, cluster_request: Any = None, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.job_flow_id = job_flow_id
        self.cluster_request = cluster_request

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Look once.

        Raises:
            AirflowFailException: the cluster is ending, or two were lost; waiting again cannot help.
        """
        cluster = self.current_cluster()
        state = cluster["Status"]["State"]
        self.log.info("Cluster %s is %s", cluster["Id"], state)
        if state in ENDING_CLUSTER:
            return self._fail(cluster)
        return state in READY

    def _fail(self, cluster: dict[str, Any]) -> bool:
        """Fail with EMR's reason, and with what the node has said if it could not be set up; False while its log is awaited."""
        message = f"cluster {cluster['Id']} is {end_of(cluster)}{self.in_place_of(cluster)}"
        if not failed_action(cluster) or not cluster.get("LogUri"):
            raise AirflowFailException(message)
        log = BootstrapLog(S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name), cluster)
        if log.is_awaited():
            self.log.info("A node could not be set up: waiting for its log at s3://%s/%s", log.bucket, log.key)
            return False
        lines = log.read()
        self.log.error("The end of the node's log:\n%s", "\n".join(lines))
        raise AirflowFailException(f"{message}\n  the node says: {cause(lines)}\n  log: s3://{log.bucket}/{log.key}")
