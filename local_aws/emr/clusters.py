"""One cluster: its record, and the thread that lives its life."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.emr import bootstrap, releases
from local_aws.emr.capacity import Collection, Instance, collections
from local_aws.emr.node import Node
from local_aws.emr.steps import Step, StepProcess, identifier, now
from local_aws.faults import Fault, Faults
from local_aws.objects import Objects
from local_aws.reaper import Reaper
from local_aws.settings import Timing

FINAL_STATES = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
CLOSING_STATES = FINAL_STATES | {"TERMINATING"}
# How often a cluster looks at its faults and clocks.
TICK_SECONDS = 0.2
DEFAULT_IDLE_SECONDS = 3600


@dataclass(frozen=True)
class Ending:
    """Why a cluster ends; `code` is one of ClusterStateChangeReasonCode."""

    code: str
    message: str
    with_errors: bool = False
    details: tuple[dict[str, Any], ...] = ()


BY_USER = Ending("USER_REQUEST", "Terminated by user request")
LOST = Ending(
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


@dataclass
class Surroundings:
    """What every cluster of a server shares."""

    timing: Timing
    faults: Faults
    reaper: Reaper
    objects: Objects
    port: Callable[[], int]
    make_node: Callable[[str, list[dict[str, Any]], str, str], Node]
    changed: Callable[[Cluster], None] = lambda _: None


@dataclass
class Cluster:
    """What DescribeCluster tells, and the life behind it.

    `lock` guards every field; whoever changes one calls `wake`.
    """

    request: dict[str, Any]
    region: str
    account: str
    surroundings: Surroundings = field(repr=False)
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
    collections: list[Collection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._ending: Ending | None = None
        self._ended_abruptly = False
        self._running: dict[str, tuple[StepProcess, threading.Thread]] = {}
        self._idle_since: float | None = None
        self._lost_at: float | None = None
        self._struck: set[str] = set()
        self._node: Node | None = None
        self._bootstrap: bootstrap.Bootstrap | None = None
        self._thread = threading.Thread(target=self._live, name=f"local_aws-{self.id}")

    @classmethod
    def from_request(cls, request: dict[str, Any], region: str, account: str, surroundings: Surroundings) -> Cluster:
        """The cluster that a RunJobFlow request asks for."""
        instances = request["Instances"]
        return cls(
            request=request,
            region=region,
            account=account,
            surroundings=surroundings,
            steps=[Step.from_request(step, request.get("StepExecutionRoleArn")) for step in request.get("Steps", [])],
            tags={tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", [])},
            step_concurrency=request.get("StepConcurrencyLevel", 1),
            keep_alive=instances.get("KeepJobFlowAliveWhenNoSteps", False),
            protected=instances.get("TerminationProtected", False),
            unhealthy_node_replacement=instances.get("UnhealthyNodeReplacement", False),
            auto_termination=request.get("AutoTerminationPolicy"),
            managed_scaling=request.get("ManagedScalingPolicy"),
            collections=collections(instances),
        )

    # ------------------------------------------------------------------ the record

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
    def is_final(self) -> bool:
        """Whether it is gone."""
        return self.state in FINAL_STATES

    @property
    def master(self) -> Instance | None:
        """The primary node's instance."""
        for collection in self.collections:
            if collection.role == "MASTER" and collection.instances:
                return collection.instances[0]
        return None

    @property
    def node(self) -> Node | None:
        """The primary node's files, from BOOTSTRAPPING on."""
        return self._node

    @property
    def bootstrap_record(self) -> list[dict[str, Any]]:
        """What the bootstrap actions asked of the node."""
        return self._bootstrap.record if self._bootstrap else []

    def step(self, step_id: str) -> Step | None:
        """The step of that id."""
        return next((step for step in self.steps if step.id == step_id), None)

    def status(self) -> dict[str, Any]:
        """The ClusterStatus."""
        return {
            "State": self.state,
            "StateChangeReason": self.reason,
            "Timeline": {"CreationDateTime": self.created, "ReadyDateTime": self.ready, "EndDateTime": self.ended},
            "ErrorDetails": self.error_details or None,
        }

    def summary(self) -> dict[str, Any]:
        """The ClusterSummary of ListClusters."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Status": self.status(),
            "NormalizedInstanceHours": 0,
            "ClusterArn": self.arn,
        }

    def description(self) -> dict[str, Any]:
        """The Cluster of DescribeCluster."""
        request, instances = self.request, self.request["Instances"]
        placement = instances.get("Placement", {})
        zones = placement.get("AvailabilityZones") or []
        zone = placement.get("AvailabilityZone") or (zones[0] if zones else f"{self.region}a")
        subnets = instances.get("Ec2SubnetIds") or []
        fleet = any(collection.fleet for collection in self.collections)
        master = self.master
        log_uri = request.get("LogUri")
        return self.summary() | {
            "Ec2InstanceAttributes": {
                "Ec2KeyName": instances.get("Ec2KeyName"),
                "Ec2SubnetId": instances.get("Ec2SubnetId") or (subnets[0] if subnets else None),
                "RequestedEc2SubnetIds": subnets or [instances[key] for key in ("Ec2SubnetId",) if key in instances],
                "Ec2AvailabilityZone": zone,
                "RequestedEc2AvailabilityZones": zones,
                "IamInstanceProfile": request.get("JobFlowRole"),
                "EmrManagedMasterSecurityGroup": instances.get("EmrManagedMasterSecurityGroup", "sg-primary"),
                "EmrManagedSlaveSecurityGroup": instances.get("EmrManagedSlaveSecurityGroup", "sg-core"),
                "ServiceAccessSecurityGroup": instances.get("ServiceAccessSecurityGroup"),
                "AdditionalMasterSecurityGroups": instances.get("AdditionalMasterSecurityGroups", []),
                "AdditionalSlaveSecurityGroups": instances.get("AdditionalSlaveSecurityGroups", []),
            },
            "InstanceCollectionType": "INSTANCE_FLEET" if fleet else "INSTANCE_GROUP",
            # EMR answers with the scheme of its first file system, and a slash.
            "LogUri": "s3n://" + log_uri.split("://", 1)[1].rstrip("/") + "/" if log_uri else None,
            "LogEncryptionKmsKeyId": request.get("LogEncryptionKmsKeyId"),
            "ReleaseLabel": request.get("ReleaseLabel"),
            "OSReleaseLabel": request.get("OSReleaseLabel"),
            "AutoTerminate": not self.keep_alive,
            "TerminationProtected": self.protected,
            "UnhealthyNodeReplacement": self.unhealthy_node_replacement,
            "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
            "Applications": releases.applications(request.get("ReleaseLabel", ""), request.get("Applications", [])),
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            "ServiceRole": request.get("ServiceRole"),
            "MasterPublicDnsName": master.private_dns_name(self.region) if master and self._node else None,
            "Configurations": request.get("Configurations", []),
            "SecurityConfiguration": request.get("SecurityConfiguration"),
            "AutoScalingRole": request.get("AutoScalingRole"),
            "ScaleDownBehavior": request.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
            "CustomAmiId": request.get("CustomAmiId"),
            "EbsRootVolumeSize": request.get("EbsRootVolumeSize"),
            "RepoUpgradeOnBoot": request.get("RepoUpgradeOnBoot"),
            "KerberosAttributes": request.get("KerberosAttributes"),
            "StepConcurrencyLevel": self.step_concurrency,
            "PlacementGroups": request.get("PlacementGroupConfigs", []),
        }

    # ------------------------------------------------------------------ what others ask of it

    def start(self) -> None:
        """Begins its life."""
        self._thread.start()

    def wake(self) -> None:
        """Makes the life look at what has changed; call with `lock` held."""
        self._changed.notify_all()

    def terminate(self, ending: Ending = BY_USER, *, abruptly: bool = False) -> None:
        """Asks it to end; the first reason given counts. Abruptly: its processes are gone at once, logs unsaved."""
        with self.lock:
            if self._ending is None and self.state not in CLOSING_STATES:
                self._ending = ending
                self._ended_abruptly = abruptly
                if self._bootstrap:
                    self._bootstrap.stop()
                self.wake()

    def cancel(self, step: Step, *, gently: bool) -> str | None:
        """Cancels a step; the reason why not, if it cannot be."""
        with self.lock:
            if step.state == "PENDING":
                step.end("CANCELLED", "Cancelled by user")
                self.wake()
                return None
            if step.state == "CANCEL_PENDING":
                return None
            running = self._running.get(step.id)
            if step.state != "RUNNING" or running is None:
                return f"Cannot cancel a step that is {step.state}."
            step.state = "CANCEL_PENDING"
            process = running[0]
        threading.Thread(target=process.stop, kwargs={"gently": gently}, name=f"local_aws-cancel-{step.id}").start()
        return None

    def bury(self, message: str) -> None:
        """Makes a restored cluster that never ended a terminated one."""
        if self.is_final:
            return
        for step in self.steps:
            if not step.is_final:
                step.end("CANCELLED", "Job terminated")
        reason = {"Code": "INTERNAL_ERROR", "Message": message}
        self.state, self.reason, self.ended = "TERMINATED_WITH_ERRORS", reason, now()
        self._close_collections(message)

    def join(self) -> None:
        """Waits until it is gone."""
        if self._thread.ident is not None:
            self._thread.join()

    def discard(self) -> None:
        """Removes what is left of the node's files."""
        if self._node:
            self._node.discard(keep_logs=False)

    # ------------------------------------------------------------------ its life, in its own thread

    def _live(self) -> None:
        try:
            ending = self._begin() or self._work()
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the cluster must end
            ending = Ending("INTERNAL_ERROR", f"local_aws: {type(error).__name__}: {error}", with_errors=True)
        self._end(ending)

    def _begin(self) -> Ending | None:
        """STARTING and BOOTSTRAPPING."""
        self._provision()
        timing = self.surroundings.timing
        if self.surroundings.faults.hit("no-capacity", {"cluster": self.names}):
            self._pause(timing.starting)
            return _no_capacity(self)
        if ending := self._pause(timing.starting):
            return ending
        self._node = self.surroundings.make_node(
            self.id, self.request.get("Configurations", []), self.region, self.request.get("ReleaseLabel", "")
        )
        self._enter("BOOTSTRAPPING")
        actions = self.request.get("BootstrapActions", [])
        if actions:
            with self.lock:
                if self._ending:
                    return self._ending
                self._bootstrap = bootstrap.Bootstrap(
                    self._instances_to_prepare(),
                    self._node,
                    log_uri=self.log_uri,
                    port=self.surroundings.port(),
                    reaper=self.surroundings.reaper,
                    objects=self.surroundings.objects,
                )
            failure = self._bootstrap.run(actions)
            with self.lock:
                if self._ending:
                    return self._ending
            if failure:
                return Ending("BOOTSTRAP_FAILURE", failure.message, with_errors=True, details=(failure.details,))
        if ending := self._pause(timing.bootstrapping):
            return ending
        with self.lock:
            self.ready = now()
            for collection in self.collections:
                collection.state, collection.ready = "RUNNING", self.ready
                for instance in collection.instances:
                    instance.state, instance.ready = "RUNNING", self.ready
        return None

    def _work(self) -> Ending:
        """RUNNING and WAITING, until something ends it."""
        with self.lock:
            while True:
                if ending := self._ending or self._clocks():
                    return ending
                self._provision()
                self._start_steps()
                if self._running:
                    self._idle_since = None
                    self._enter("RUNNING", {"Message": "Running step"})
                elif not self.keep_alive:
                    return self._all_done()
                else:
                    if self._idle_since is None:
                        self._idle_since = time.monotonic()
                    ran = any(step.is_final for step in self.steps)
                    message = "Cluster ready after last step completed." if ran else "Cluster ready to run steps."
                    self._enter("WAITING", {"Message": message})
                self._changed.wait(TICK_SECONDS)

    def _end(self, ending: Ending) -> None:
        """TERMINATING and what comes after."""
        reason = {"Code": ending.code, "Message": ending.message}
        with self.lock:
            self._ending = ending
            self.error_details = list(ending.details)
            self._enter("TERMINATING", reason)
            running = list(self._running.values())
            for step in self.steps:
                if step.state == "PENDING":
                    step.end("CANCELLED", "Job terminated")
        for process, _ in running:
            process.stop(gently=not self._ended_abruptly)
        for _, thread in running:
            thread.join()
        time.sleep(0 if self._ended_abruptly else self.surroundings.timing.terminating)
        if self._node:
            self._node.discard(keep_logs=True)
        with self.lock:
            self.ended = now()
            self._close_collections(ending.message)
            self._enter("TERMINATED_WITH_ERRORS" if ending.with_errors else "TERMINATED", reason)

    def _close_collections(self, message: str) -> None:
        gone = {"Code": "CLUSTER_TERMINATED", "Message": message}
        for collection in self.collections:
            collection.state, collection.reason, collection.ended = "TERMINATED", gone, self.ended
            for instance in collection.instances:
                if instance.state != "TERMINATED":
                    instance.state, instance.reason, instance.ended = "TERMINATED", gone, self.ended

    def _enter(self, state: str, reason: dict[str, str] | None = None) -> None:
        with self.lock:
            if (state, reason or {}) == (self.state, self.reason):
                return
            self.state, self.reason = state, reason or {}
        self.surroundings.changed(self)

    def _pause(self, seconds: float) -> Ending | None:
        """Stays in the present state for a while; the reason to leave it early, if one comes."""
        deadline = time.monotonic() + seconds
        with self.lock:
            while (left := deadline - time.monotonic()) > 0:
                if ending := self._ending or self._clocks():
                    return ending
                self._changed.wait(min(left, TICK_SECONDS))
            return self._ending

    def _provision(self) -> None:
        """Brings the number of instances to what is asked for."""
        with self.lock:
            number = sum(len(collection.instances) for collection in self.collections)
            for collection in self.collections:
                alive = [instance for instance in collection.instances if instance.state != "TERMINATED"]
                wanted = collection.wanted()
                for instance_type, market in wanted[len(alive) :]:
                    fresh = Instance(instance_type, market, collection.role, collection.id, number)
                    if self.ready:
                        fresh.state, fresh.ready = "RUNNING", now()
                    collection.instances.append(fresh)
                    number += 1
                for surplus in alive[len(wanted) :]:
                    surplus.state, surplus.ended = "TERMINATED", now()

    def _instances_to_prepare(self) -> list[Instance]:
        """The primary node and one of the others: more would only repeat it."""
        everyone = [instance for collection in self.collections for instance in collection.instances]
        primary = [instance for instance in everyone if instance.role == "MASTER"]
        others = [instance for instance in everyone if instance.role != "MASTER"]
        return primary[:1] + others[:1]

    def _all_done(self) -> Ending:
        failed = any(step.state == "FAILED" for step in self.steps)
        return Ending("ALL_STEPS_COMPLETED", "Steps completed with errors" if failed else "Steps completed")

    def _clocks(self) -> Ending | None:
        """Looks at the faults and at the idle clock."""
        ticking = time.monotonic()
        if self._lost_at is None:
            fault = self._loss()
            if fault:
                self._lost_at = ticking + float(fault.fields["after_seconds"])
        if self._lost_at is not None and ticking >= self._lost_at:
            self._ended_abruptly = True
            return LOST
        if self._idle_since is not None and self.auto_termination is not None and not self.protected:
            seconds = (
                self.auto_termination.get("IdleTimeout", DEFAULT_IDLE_SECONDS) * self.surroundings.timing.idle_scale
            )
            if ticking - self._idle_since >= seconds:
                return Ending(
                    "ALL_STEPS_COMPLETED",
                    "Cluster terminated: it was idle for longer than its auto-termination policy allows.",
                )
        return None

    def _loss(self) -> Fault | None:
        steps = tuple(step.name for step in self.steps if step.id in self._running)
        return self.surroundings.faults.hit("cluster-lost", {"cluster": self.names, "step": steps})

    def _start_steps(self) -> None:
        for step in self.steps:
            if self._ending or len(self._running) >= self.step_concurrency:
                return
            if step.state == "PENDING":
                step.state, step.started = "RUNNING", now()
                assert self._node
                process = StepProcess(
                    step,
                    self._node,
                    log_uri=self.log_uri,
                    cluster=self.names,
                    faults=self.surroundings.faults,
                    reaper=self.surroundings.reaper,
                    objects=self.surroundings.objects,
                    kill_grace=self.surroundings.timing.kill_grace,
                )
                thread = threading.Thread(target=self._run_step, args=(step, process), name=f"local_aws-{step.id}")
                self._running[step.id] = (process, thread)
                thread.start()

    def _run_step(self, step: Step, process: StepProcess) -> None:
        try:
            code = process.run()
        except Exception as error:  # noqa: BLE001 - the step fails, the cluster lives on
            code, problem = 1, f"local_aws: {type(error).__name__}: {error}"
        else:
            problem = ""
        with self.lock:
            if self.state == "TERMINATING":
                step.end("CANCELLED", "Job terminated")
            elif step.state == "CANCEL_PENDING":
                step.end("CANCELLED", "Cancelled by user")
            elif code == 0:
                step.end("COMPLETED")
            else:
                step.failure = {"Reason": problem} if problem else process.failure_details(code)
                step.end("FAILED")
                self._after_failure(step)
            del self._running[step.id]
            self.wake()
        self.surroundings.changed(self)

    def _after_failure(self, step: Step) -> None:
        """ActionOnFailure. With several steps at once EMR only goes on, whatever the step says."""
        if self.step_concurrency > 1:
            return
        terminates = step.action_on_failure in {"TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW"}
        if step.action_on_failure == "CANCEL_AND_WAIT" or (terminates and self.protected):
            for other in self.steps:
                if other.state == "PENDING":
                    other.end("CANCELLED", "Cancelled as an earlier step failed")
        elif terminates and self._ending is None:
            self._ending = Ending("STEP_FAILURE", "Shut down as step failed", with_errors=True)


def _no_capacity(cluster: Cluster) -> Ending:
    kind = next((c.wanted()[0][0] for c in cluster.collections if c.wanted()), "m5.xlarge")
    message = f"The requested instance type {kind} is not available: EC2 is out of capacity in the requested Availability Zone."
    details = {"ErrorCode": "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "ErrorMessage": message, "ErrorData": []}
    return Ending("INTERNAL_ERROR", message, with_errors=True, details=(details,))
