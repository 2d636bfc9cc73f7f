"""Why and when a cluster terminates."""

import time
from dataclasses import dataclass
from typing import Any

from local_emr.emr.cluster import Cluster
from local_emr.emr.faults import Faults
from local_emr.emr.validation import with_default_idle_time


@dataclass(frozen=True)
class TerminationReason:
    """The StateChangeReason of a cluster's end; `code` is one of ClusterStateChangeReasonCode."""

    code: str
    message: str
    with_errors: bool = False
    details: tuple[dict[str, Any], ...] = ()

    def state_change_reason(self) -> dict[str, str]:
        """Return the StateChangeReason."""
        return {"Code": self.code, "Message": self.message}


BY_USER = TerminationReason("USER_REQUEST", "Terminated by user request")
IDLE = TerminationReason(
    "ALL_STEPS_COMPLETED", "Cluster terminated: it was idle for longer than its auto-termination policy allows."
)
STEP_FAILED = TerminationReason("STEP_FAILURE", "Shut down as step failed", with_errors=True)
LOST = TerminationReason(
    "INSTANCE_FAILURE",
    "The master node was terminated: its Spot Instance was reclaimed.",
    with_errors=True,
    details=(
        {
            "ErrorCode": "INSTANCE_FAILURE_SPOT_INTERRUPTION",
            "ErrorMessage": "Spot Instance interrupted.",
            "ErrorData": [],
        },
    ),
)


def all_steps_done(cluster: Cluster) -> TerminationReason:
    """Return why a cluster ends that does not wait for more steps."""
    failed = any(step.state == "FAILED" for step in cluster.steps)
    return TerminationReason("ALL_STEPS_COMPLETED", "Steps completed with errors" if failed else "Steps completed")


def no_capacity(cluster: Cluster) -> TerminationReason:
    """Return why a cluster ends for which EC2 has no instances."""
    kind = next((wanted[0][0] for collection in cluster.collections if (wanted := collection.wanted())), "m5.xlarge")
    message = (
        f"The requested instance type {kind} is not available: "
        "EC2 is out of capacity in the requested Availability Zone."
    )
    details = {"ErrorCode": "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "ErrorMessage": message, "ErrorData": []}
    return TerminationReason("INTERNAL_ERROR", message, with_errors=True, details=(details,))


class TerminationTimers:
    """What may end a cluster at any time: the cluster-lost fault, and too long an idle time.

    Call every method with the cluster's lock held.
    """

    def __init__(self, cluster: Cluster, faults: Faults, idle_scale: float) -> None:
        self._cluster = cluster
        self._faults = faults
        self._idle_scale = idle_scale
        self._idle_since: float | None = None
        self._lost_at: float | None = None

    def set_idle(self, *, idle: bool) -> None:
        """Start the idle clock, let it run on, or reset it."""
        if not idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()

    def due(self) -> TerminationReason | None:
        """Return the reason to end the cluster now, if there is one."""
        cluster, present = self._cluster, time.monotonic()
        if self._lost_at is None:
            running = tuple(step.name for step in cluster.steps if step.state in {"RUNNING", "CANCEL_PENDING"})
            fault = self._faults.match("cluster-lost", {"cluster": cluster.names, "step": running})
            if fault:
                self._lost_at = present + fault.fields["after_seconds"]
        if self._lost_at is not None and present >= self._lost_at:
            return LOST
        if self._idle_since is not None and cluster.auto_termination is not None and not cluster.protected:
            timeout = with_default_idle_time(cluster.auto_termination)["IdleTimeout"] * self._idle_scale
            if present - self._idle_since >= timeout:
                return IDLE
        return None
