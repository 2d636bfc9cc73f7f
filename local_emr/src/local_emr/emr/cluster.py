"""One cluster: its record. `lifecycle` moves it through its states, `cluster_description` shows it."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from local_emr.emr import primary_nodes
from local_emr.emr.capacity import Instance, InstanceCollection, instance_collections
from local_emr.emr.identifiers import identifier, now
from local_emr.emr.step import Step

FINAL_STATES = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
CLOSING_STATES = FINAL_STATES | {"TERMINATING"}


@dataclass
class Cluster:
    """The record of a cluster. `lock` guards every field; whoever changes one calls `wake`."""

    request: dict[str, Any]
    region: str
    account: str
    id: str = field(default_factory=lambda: identifier("j"))
    state: str = "STARTING"
    reason: dict[str, str] = field(default_factory=dict)
    error_details: list[dict[str, Any]] = field(default_factory=list)
    created: datetime = field(default_factory=now)
    ready: datetime | None = None
    ended: datetime | None = None
    steps: list[Step] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    step_concurrency: int = 1
    keep_alive: bool = False
    protected: bool = False
    unhealthy_node_replacement: bool = False
    auto_termination: dict[str, Any] | None = None
    managed_scaling: dict[str, Any] | None = None
    collections: list[InstanceCollection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)

    @classmethod
    def from_request(cls, request: dict[str, Any], region: str, account: str) -> Self:
        """Return the cluster that a RunJobFlow request asks for."""
        instances = request["Instances"]
        # Three primary nodes are protected from termination, and stay, whatever the request says.
        lasting = primary_nodes.are_three(instances)
        return cls(
            request=request,
            region=region,
            account=account,
            steps=[Step.from_request(step, request.get("StepExecutionRoleArn")) for step in request.get("Steps", [])],
            tags={tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", [])},
            step_concurrency=request.get("StepConcurrencyLevel", 1),
            keep_alive=lasting or instances.get("KeepJobFlowAliveWhenNoSteps", False),
            protected=lasting or instances.get("TerminationProtected", False),
            unhealthy_node_replacement=instances.get("UnhealthyNodeReplacement", False),
            auto_termination=None if lasting else request.get("AutoTerminationPolicy"),
            managed_scaling=request.get("ManagedScalingPolicy"),
            collections=instance_collections(instances),
        )

    @property
    def name(self) -> str:
        """As given to RunJobFlow."""
        return self.request["Name"]

    @property
    def names(self) -> tuple[str, ...]:
        """What a fault may call it."""
        return (self.id, self.name)

    @property
    def arn(self) -> str:
        """The cluster's ARN."""
        return f"arn:aws:elasticmapreduce:{self.region}:{self.account}:cluster/{self.id}"

    @property
    def log_uri(self) -> str | None:
        """Where its logs go, with the cluster's id and a slash at the end."""
        uri = self.request.get("LogUri")
        return f"{uri.rstrip('/')}/{self.id}/" if uri else None

    @property
    def availability_zone(self) -> str:
        """The zone of all its instances."""
        placement = self.request["Instances"].get("Placement", {})
        zones = placement.get("AvailabilityZones") or []
        return placement.get("AvailabilityZone") or (zones[0] if zones else f"{self.region}a")

    @property
    def is_fleet(self) -> bool:
        """Whether it has instance fleets rather than instance groups."""
        return any(collection.fleet for collection in self.collections)

    @property
    def instances(self) -> list[Instance]:
        """The instances of every group or fleet."""
        return [instance for collection in self.collections for instance in collection.instances]

    @property
    def primary(self) -> Instance | None:
        """The primary node's instance, from when it is provisioned; the first of several."""
        return next((instance for instance in self.instances if instance.role == "MASTER"), None)

    def step(self, step_id: str) -> Step | None:
        """Return the step of that id, or None."""
        return next((step for step in self.steps if step.id == step_id), None)

    def wake(self) -> None:
        """Make the lifecycle look at what has changed; call with `lock` held."""
        self.changed.notify_all()

    def run_instances(self) -> None:
        """Enter RUNNING with every group, fleet and instance: the cluster is ready."""
        self.ready = now()
        for provisioned in (*self.collections, *self.instances):
            provisioned.run()

    def terminate_instances(self, message: str) -> None:
        """Terminate every group, fleet and instance: the cluster has ended."""
        self.ended = now()
        for provisioned in (*self.collections, *self.instances):
            provisioned.terminate({"Code": "CLUSTER_TERMINATED", "Message": message})

    def cancel_pending_steps(self, reason: str) -> None:
        """Cancel the steps that have not started."""
        for step in self.steps:
            if step.state == "PENDING":
                step.end("CANCELLED", reason)

    def mark_lost(self, message: str) -> None:
        """Terminate a restored cluster that was alive when its server stopped."""
        if self.state in FINAL_STATES:
            return
        for step in self.steps:
            if not step.is_final:
                step.end("CANCELLED", "Job terminated")
        self.state, self.reason = "TERMINATED_WITH_ERRORS", {"Code": "INTERNAL_ERROR", "Message": message}
        self.terminate_instances(message)
