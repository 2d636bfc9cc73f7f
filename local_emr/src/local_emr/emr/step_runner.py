"""The steps of one cluster: started in order, as many at once as its level allows."""

import threading
from collections.abc import Callable

from local_emr.emr.cluster import Cluster
from local_emr.emr.context import ServerContext
from local_emr.emr.identifiers import now
from local_emr.emr.node import Node
from local_emr.emr.step import Step
from local_emr.emr.step_faults import StepFaults
from local_emr.emr.step_process import StepProcess


class StepRunner:
    """Starts, cancels and ends the steps of a cluster.

    Args:
        cluster: whose steps they are.
        context: of the server.
        on_fatal_failure: called when a step fails that is to end its cluster, with the cluster's lock held.
    """

    def __init__(self, cluster: Cluster, context: ServerContext, on_fatal_failure: Callable[[], None]) -> None:
        self._cluster = cluster
        self._context = context
        self._on_fatal_failure = on_fatal_failure
        self._running: dict[str, tuple[StepProcess, threading.Thread]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a step runs."""
        return bool(self._running)

    @property
    def has_application(self) -> bool:
        """Whether a step has a Spark application up."""
        return any(process.has_application for process, _ in self._running.values())

    def start_pending(self, node: Node) -> bool:
        """Start what may start now; call with the cluster's lock held.

        Returns:
            Whether anything was pending.
        """
        pending = [step for step in self._cluster.steps if step.state == "PENDING"]
        for step in pending[: max(0, self._cluster.step_concurrency - len(self._running))]:
            step.state, step.started = "RUNNING", now()
            process = self._make_process(step, node)
            thread = threading.Thread(target=self._run, args=(step, process), name=f"local_emr-{step.id}")
            self._running[step.id] = (process, thread)
            thread.start()
        return bool(pending)

    def cancel(self, step: Step, *, graceful: bool) -> str | None:
        """Cancel a step; return the reason why not, if it cannot be."""
        with self._cluster.lock:
            if step.state == "PENDING":
                step.end("CANCELLED", "Cancelled by user")
                self._cluster.wake()
                return None
            if step.state == "CANCEL_PENDING":
                return None
            running = self._running.get(step.id)
            if step.state != "RUNNING" or running is None:
                return f"Cannot cancel a step that is {step.state}."
            step.state = "CANCEL_PENDING"
            process = running[0]
        threading.Thread(target=process.stop, kwargs={"graceful": graceful}, name=f"local_emr-cancel-{step.id}").start()
        return None

    def stop(self, *, graceful: bool) -> None:
        """End every running step and wait for it; call without the cluster's lock."""
        with self._cluster.lock:
            running = list(self._running.values())
        for process, _ in running:
            process.stop(graceful=graceful)
        for _, thread in running:
            thread.join()

    def _make_process(self, step: Step, node: Node) -> StepProcess:
        context = self._context
        return StepProcess(
            step,
            node,
            log_uri=self._cluster.log_uri,
            faults=StepFaults(context.faults, self._cluster.names, step, node.yarn, lambda: self._interrupt_spot(node)),
            reaper=context.reaper,
            s3=context.s3,
            kill_grace=context.timing.kill_grace,
        )

    def _interrupt_spot(self, node: Node) -> bool:
        """Take a Spot Instance away, with its node of YARN and all that runs there; the cluster replaces it as it does on EMR."""
        with self._cluster.lock:
            workers = [instance for instance in self._cluster.instances if instance.role != "MASTER"]
            for number, instance in enumerate(workers):
                at_work = instance.market == "SPOT" and instance.state == "RUNNING"
                if at_work and node.yarn and node.yarn.kill_node([number]):
                    message = f"Instance {instance.ec2_id} was terminated by Amazon EC2: Spot Instance interruption."
                    instance.terminate({"Code": "INSTANCE_FAILURE", "Message": message})
                    return True
        return False

    def _run(self, step: Step, process: StepProcess) -> None:
        try:
            code = process.run()
        except Exception as error:  # noqa: BLE001 - the step fails, the cluster lives on
            code, problem = 1, f"local_emr: {type(error).__name__}: {error}"
        else:
            problem = ""
        cluster = self._cluster
        with cluster.lock:
            if cluster.state == "TERMINATING":
                step.end("CANCELLED", "Job terminated")
            elif step.state == "CANCEL_PENDING":
                step.end("CANCELLED", "Cancelled by user")
            elif code == 0:
                step.end("COMPLETED")
            else:
                step.failure = {"Reason": problem} if problem else process.logs.failure_details(code)
                step.end("FAILED")
                self._act_on_failure(step)
            del self._running[step.id]
            cluster.wake()
        self._context.save(cluster)

    def _act_on_failure(self, step: Step) -> None:
        """Follow ActionOnFailure. With several steps at once EMR only goes on, whatever the step says."""
        if self._cluster.step_concurrency > 1:
            return
        terminates = step.action_on_failure in {"TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW"}
        if step.action_on_failure == "CANCEL_AND_WAIT" or (terminates and self._cluster.protected):
            self._cluster.cancel_pending_steps("Cancelled as an earlier step failed")
        elif terminates:
            self._on_fatal_failure()
