"""The faults that a running step meets."""

import contextlib
import time
from collections.abc import Callable

import psutil

from local_emr.emr.faults import Fault, Faults
from local_emr.emr.reaper import session_members
from local_emr.emr.step import Step
from local_emr.emr.yarn.daemons import Yarn
from local_emr.emr.yarn.worker import Worker

# A worker that has just been forked has no task yet, and Spark replaces it without a word when it dies.
_WORKER_AT_WORK = 2.0  # s


class StepFaults:
    """The fault rules as one running step meets them; each rule applies once at most.

    Args:
        faults: the rules.
        cluster: what a rule may call the cluster.
        step: the step.
        yarn: where the step's containers run; None in local mode, where there are none.
        interrupt_spot: takes a Spot Instance from the cluster; returns whether there was one.
    """

    def __init__(
        self,
        faults: Faults,
        cluster: tuple[str, ...],
        step: Step,
        yarn: Yarn | None = None,
        interrupt_spot: Callable[[], bool] = lambda: False,
    ) -> None:
        self._yarn = yarn
        self._kills: dict[str, Callable[[int], bool]] = {"worker-kill": self._kill_python_worker}
        if yarn:
            self._kills |= {
                "kill-node": lambda _: yarn.kill_node(),
                "spot-interruption": lambda _: interrupt_spot(),
                "kill-executor": lambda _: yarn.kill_executor(),
                "kill-application-master": lambda _: yarn.kill_application_master(),
                "node-without-credentials": lambda _: yarn.harm_node(Worker.lose_credentials),
                "node-without-packages": lambda _: yarn.harm_node(Worker.lose_packages),
            }
        self._faults = faults
        self._attributes: dict[str, str | tuple[str, ...]] = {"cluster": cluster, "step": (step.id, step.name)}
        self._began = time.monotonic()
        self._due: list[Fault] = []
        self._met: set[str] = set()

    def apply(self, session: int) -> int | None:
        """Do what is due; return the exit code to end with, if a fault ends the step."""
        for kind in ("step-exit", "step-kill", *self._kills):
            fault = self._faults.match(kind, self._attributes, self._met)
            if fault:
                self._met.add(fault.id)
                self._due.append(fault)
        elapsed = time.monotonic() - self._began
        for fault in [due for due in self._due if elapsed >= due.fields["after_seconds"]]:
            if fault.kind == "step-exit":
                return fault.fields["exit_code"]
            if fault.kind == "step-kill":
                return 128 + fault.fields["signal"]
            if self._kills[fault.kind](session):
                self._due.remove(fault)
        return None

    def _kill_python_worker(self, session: int) -> bool:
        """Kill one Python worker of the step, if one is at work: Spark's daemon forks them."""
        pids = [process.pid for process in self._yarn.containers()] if self._yarn else session_members(session)
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                worker = psutil.Process(pid)
                parent = worker.parent()
                forked = parent and all("pyspark.daemon" in process.cmdline() for process in (worker, parent))
                if forked and time.time() - worker.create_time() >= _WORKER_AT_WORK:
                    worker.kill()
                    return True
        return False
