"""Sensors for EMR."""

from typing import Any

from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from emr_hook import IdempotentEmrHook

READY = ["WAITING", "RUNNING"]
ENDING = ["TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"]


class EmrClusterReadySensor(EmrJobFlowSensor):
    """Wait until the cluster accepts steps, giving up its worker between two looks.

    The provider's sensor ignores `target_states` when it is deferrable and waits for the cluster's end.
    """

    aws_hook_class = IdempotentEmrHook

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target_states=READY, failed_states=ENDING, deferrable=False, mode="reschedule", **kwargs)

    def poke(self, context: Context) -> bool:
        """Look once.

        Raises:
            AirflowFailException: the cluster is ending; waiting for it again cannot help.
        """
        response = self.get_emr_response(context)
        state = self.state_from_response(response)
        self.log.info("Cluster %s is %s", self.job_flow_id, state)
        if state in ENDING:
            raise AirflowFailException(
                f"cluster {self.job_flow_id} is {state} {self.failure_message_from_response(response) or ''}".rstrip()
            )
        return state in READY
