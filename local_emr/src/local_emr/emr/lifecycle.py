"""The thread that takes one cluster through its states."""

import threading
import time
from typing import Any

from local_emr.emr.bootstrap import Bootstrap
from local_emr.emr.capacity import Instance, provision
from local_emr.emr.cluster import CLOSING_STATES, Cluster
from local_emr.emr.context import ServerContext
from local_emr.emr.node import Node
from local_emr.emr.settings import TICK_SECONDS
from local_emr.emr.step_runner import StepRunner
from local_emr.emr.termination import (
    BY_USER,
    LOST,
    STEP_FAILED,
    TerminationReason,
    TerminationTimers,
    all_steps_done,
    no_capacity,
)


class Lifecycle:
    """Moves one cluster from STARTING to TERMINATED, in a thread of its own."""

    def __init__(self, cluster: Cluster, context: ServerContext) -> None:
        self.cluster = cluster
        self.steps = StepRunner(cluster, context, lambda: self.terminate(STEP_FAILED))
        self._context = context
        self._timers = TerminationTimers(cluster, context.faults, context.timing.idle_scale)
        self._termination: TerminationReason | None = None
        self._force = False
        self._node: Node | None = None
        self._bootstrap: Bootstrap | None = None
        self._thread = threading.Thread(target=self._run, name=f"local_emr-{cluster.id}")

    @property
    def bootstrap_record(self) -> list[dict[str, Any]]:
        """What the bootstrap actions asked of the node."""
        return self._bootstrap.record if self._bootstrap else []

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def terminate(self, reason: TerminationReason = BY_USER, *, force: bool = False) -> None:
        """Ask the cluster to end; the first reason given counts. By force: without grace for its steps."""
        cluster = self.cluster
        with cluster.lock:
            if self._termination is None and cluster.state not in CLOSING_STATES:
                self._termination, self._force = reason, force
                if self._bootstrap:
                    self._bootstrap.stop()
                cluster.wake()

    def join(self) -> None:
        """Wait until the cluster has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def remove_files(self) -> None:
        """Remove what is left of the node's files."""
        if self._node:
            self._node.remove_files(keep_logs=False)

    # ------------------------------------------------------------------ in its thread

    def _run(self) -> None:
        try:
            reason = self._start() or self._run_steps()
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the cluster must end
            reason = TerminationReason(
                "INTERNAL_ERROR", f"local_emr: {type(error).__name__}: {error}", with_errors=True
            )
        self._shut_down(reason)

    def _start(self) -> TerminationReason | None:
        """Go through STARTING and BOOTSTRAPPING; return the reason to go no further, if there is one."""
        cluster, timing = self.cluster, self._context.timing
        if self._context.faults.match("no-capacity", {"cluster": cluster.names}):
            self._pause(timing.starting)
            return no_capacity(cluster)
        with cluster.lock:
            provision(cluster.collections, running=False)
        if reason := self._pause(timing.starting):
            return reason
        self._node = self._context.make_node(cluster)
        if self._node.yarn:
            self._node.yarn.start()
        self._enter("BOOTSTRAPPING")
        if reason := (
            self._run_bootstrap_actions(self._node)
            or self._pause(timing.bootstrapping)
            or self._wait_for_yarn(self._node)
        ):
            return reason
        with cluster.lock:
            cluster.run_instances()
        return None

    def _run_bootstrap_actions(self, node: Node) -> TerminationReason | None:
        actions = self.cluster.request.get("BootstrapActions", [])
        if not actions:
            return None
        context = self._context
        with self.cluster.lock:
            if self._termination:
                return self._termination
            self._bootstrap = Bootstrap(
                self._instances_to_bootstrap(),
                node,
                log_uri=self.cluster.log_uri,
                port=context.port(),
                reaper=context.reaper,
                s3=context.s3,
            )
        failure = self._bootstrap.run(actions)
        with self.cluster.lock:
            if self._termination:
                return self._termination
        if failure:
            return TerminationReason("BOOTSTRAP_FAILURE", failure.message, with_errors=True, details=(failure.details,))
        return None

    def _wait_for_yarn(self, node: Node) -> TerminationReason | None:
        while node.yarn and not node.yarn.ready():
            if reason := self._pause(TICK_SECONDS):
                return reason
        return None

    def _instances_to_bootstrap(self) -> list[Instance]:
        """Return the primary node and one of the others: more would only repeat it."""
        primary = [instance for instance in self.cluster.instances if instance.role == "MASTER"]
        others = [instance for instance in self.cluster.instances if instance.role != "MASTER"]
        return primary[:1] + others[:1]

    def _run_steps(self) -> TerminationReason:
        """Go between RUNNING and WAITING; return what ends that."""
        cluster = self.cluster
        assert self._node
        with cluster.lock:
            while True:
                if reason := self._termination or self._timers.due():
                    return reason
                provision(cluster.collections, running=True)
                # As EMR defines it: a step whose process is no YARN application does not keep the cluster alive.
                had_pending = self.steps.start_pending(self._node)
                self._timers.set_idle(idle=not had_pending and not self.steps.has_application)
                if self.steps.is_busy:
                    self._enter("RUNNING", {"Message": "Running step"})
                elif not cluster.keep_alive:
                    return all_steps_done(cluster)
                else:
                    ran = any(step.is_final for step in cluster.steps)
                    message = "Cluster ready after last step completed." if ran else "Cluster ready to run steps."
                    self._enter("WAITING", {"Message": message})
                cluster.changed.wait(TICK_SECONDS)

    def _shut_down(self, reason: TerminationReason) -> None:
        """Go through TERMINATING to the final state."""
        cluster = self.cluster
        force = self._force or reason is LOST
        with cluster.lock:
            self._termination = reason
            cluster.error_details = list(reason.details)
            self._enter("TERMINATING", reason.state_change_reason())
            cluster.cancel_pending_steps("Job terminated")
        self.steps.stop(graceful=not force)
        time.sleep(0 if force else self._context.timing.terminating)
        if self._node:
            if self._node.yarn:
                self._node.yarn.stop()
            self._node.remove_files(keep_logs=True)
        with cluster.lock:
            cluster.terminate_instances(reason.message)
            self._enter("TERMINATED_WITH_ERRORS" if reason.with_errors else "TERMINATED", reason.state_change_reason())

    def _enter(self, state: str, reason: dict[str, str] | None = None) -> None:
        cluster = self.cluster
        with cluster.lock:
            if (state, reason or {}) == (cluster.state, cluster.reason):
                return
            cluster.state, cluster.reason = state, reason or {}
        self._context.save(cluster)

    def _pause(self, seconds: float) -> TerminationReason | None:
        """Stay in the present state for a while; return the reason to leave it early, if one comes."""
        deadline = time.monotonic() + seconds
        with self.cluster.lock:
            while (left := deadline - time.monotonic()) > 0:
                if reason := self._termination or self._timers.due():
                    return reason
                self.cluster.changed.wait(min(left, TICK_SECONDS))
            return self._termination
