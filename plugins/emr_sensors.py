"""Sensors for EMR."""

from typing import Any, ClassVar

from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from emr_hook import IdempotentEmrHook
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
            reason = self.failure_message_from_response({"Cluster": cluster}) or ""
            raise AirflowFailException(f"cluster {cluster['Id']} is {state} {reason}".rstrip())
        return state in READY
