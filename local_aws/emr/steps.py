"""One step: its record, and the process that runs it."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import secrets
import shlex
import signal
import string
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from local_aws.emr.node import Node
from local_aws.faults import Fault, Faults
from local_aws.objects import Objects
from local_aws.reaper import Reaper, session_members, signal_session

FINAL_STATES = frozenset({"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"})
TICK_SECONDS = 0.2
LOG_NAMES = ("controller", "stdout", "stderr")
LOG_LINE = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (TRACE|DEBUG|INFO|WARN|ERROR) ", re.MULTILINE)
ERROR_LINE = re.compile(r"(Exception in thread .*|Caused by: .*|(?:\w+\.)*\w+(?:Error|Exception)\b.*)")


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def identifier(prefix: str) -> str:
    """An identifier as EMR makes them: `j-2AXXXXXXGAPLF`."""
    alphabet = string.ascii_uppercase + string.digits
    return f"{prefix}-{''.join(secrets.choice(alphabet) for _ in range(13))}"


@dataclass
class Step:
    """What DescribeStep tells, and where the logs are."""

    name: str
    jar: str
    arguments: list[str]
    action_on_failure: str
    main_class: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    execution_role: str | None = None
    id: str = field(default_factory=lambda: identifier("s"))
    state: str = "PENDING"
    reason: str | None = None
    failure: dict[str, str] | None = None
    created: datetime = field(default_factory=now)
    started: datetime | None = None
    ended: datetime | None = None
    log_directory: Path | None = None

    @classmethod
    def from_request(cls, request: dict[str, Any], execution_role: str | None = None) -> Step:
        """The step of a StepConfig."""
        jar_step = request["HadoopJarStep"]
        return cls(
            name=request["Name"],
            jar=jar_step["Jar"],
            arguments=list(jar_step.get("Args", [])),
            action_on_failure=request.get("ActionOnFailure", "CONTINUE"),
            main_class=jar_step.get("MainClass"),
            properties={pair["Key"]: pair.get("Value", "") for pair in jar_step.get("Properties", [])},
            execution_role=execution_role,
        )

    @property
    def is_final(self) -> bool:
        """Whether the state can still change."""
        return self.state in FINAL_STATES

    def end(self, state: str, reason: str | None = None) -> None:
        """Enters a final state."""
        self.state, self.reason, self.ended = state, reason, now()

    def summary(self) -> dict[str, Any]:
        """The StepSummary of ListSteps."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Config": {
                "Jar": self.jar,
                "Properties": self.properties,
                "MainClass": self.main_class,
                "Args": self.arguments,
            },
            "ActionOnFailure": self.action_on_failure,
            "Status": {
                "State": self.state,
                "StateChangeReason": {"Message": self.reason} if self.reason else {},
                "FailureDetails": self.failure,
                "Timeline": {
                    "CreationDateTime": self.created,
                    "StartDateTime": self.started,
                    "EndDateTime": self.ended,
                },
            },
        }

    def description(self) -> dict[str, Any]:
        """The Step of DescribeStep."""
        return self.summary() | {"ExecutionRoleArn": self.execution_role}


class StepFaults:
    """The faults that a running step meets; each rule strikes it once at most."""

    def __init__(self, faults: Faults, cluster: tuple[str, ...], step: Step) -> None:
        self._faults = faults
        self._circumstances: dict[str, str | tuple[str, ...]] = {"cluster": cluster, "step": (step.id, step.name)}
        self._began = time.monotonic()
        self._due: list[Fault] = []
        self._met: set[str] = set()

    def strike(self, session: int) -> int | None:
        """Does what is due; the exit code to end with, if a fault ends the step."""
        for kind in ("step-exit", "step-kill", "worker-kill"):
            fault = self._faults.hit(kind, self._circumstances, self._met)
            if fault:
                self._met.add(fault.id)
                self._due.append(fault)
        elapsed = time.monotonic() - self._began
        for fault in [due for due in self._due if elapsed >= float(due.fields["after_seconds"])]:
            if fault.kind == "step-exit":
                return int(fault.fields["exit_code"])
            if fault.kind == "step-kill":
                return 128 + int(fault.fields["signal"])
            if kill_python_worker(session):
                self._due.remove(fault)
        return None


def kill_python_worker(session: int) -> bool:
    """Kills one of the step's Python workers, if there is one: Spark's daemon forks them."""
    for pid in session_members(session):
        with contextlib.suppress(psutil.Error):
            worker = psutil.Process(pid)
            parent = worker.parent()
            if parent and all("pyspark.daemon" in process.cmdline() for process in (worker, parent)):
                worker.kill()
                return True
    return False


class StepProcess:
    """Runs a step on a node and pushes its logs to S3 when it ends.

    `run` returns the exit code as a shell counts them: 128 + n after signal n, 127 where there is no such command.
    """

    def __init__(
        self,
        step: Step,
        node: Node,
        *,
        log_uri: str | None,
        cluster: tuple[str, ...],
        faults: Faults,
        reaper: Reaper,
        objects: Objects,
        kill_grace: float,
    ) -> None:
        self._step = step
        self._node = node
        self._log_uri = log_uri
        self._faults = StepFaults(faults, cluster, step)
        self._reaper = reaper
        self._objects = objects
        self._kill_grace = kill_grace
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = threading.Event()
        self._lock = threading.Lock()

    @property
    def session(self) -> int | None:
        """The process session of the running step."""
        return self._process.pid if self._process else None

    def run(self) -> int:
        """Runs the step to its end."""
        logs = self._node.logs / "steps" / self._step.id
        logs.mkdir(parents=True)
        self._step.log_directory = logs
        began = time.monotonic()
        command = self._command()
        self._log(f"INFO startExec 'hadoop jar {shlex.join([self._step.jar, *self._step.arguments])}'")
        environment = self._node.environment() | {"EMR_STEP_ID": self._step.id}
        self._log("INFO Environment:\n" + "".join(f"  {name}={value}\n" for name, value in environment.items()))
        code = self._execute(command, environment, logs)
        seconds = time.monotonic() - began
        outcome = "succeeded" if code == 0 else "failed"
        self._log(
            f"{'INFO' if code == 0 else 'WARN'} Step {outcome} with exitCode {code} and took {seconds:.0f} seconds"
        )
        self._push_logs(logs)
        return code

    def stop(self, *, gently: bool) -> None:
        """Ends every process of the step: SIGTERM and some seconds of grace, or SIGKILL at once."""
        self._killed.set()
        with self._lock:
            session = self.session
        if session is None:
            return
        if gently:
            signal_session(session, signal.SIGTERM)
            deadline = time.monotonic() + self._kill_grace
            while session_members(session) and time.monotonic() < deadline:
                time.sleep(0.05)
        signal_session(session, signal.SIGKILL)

    def failure_details(self, code: int) -> dict[str, str]:
        """What DescribeStep says of a failed step: EMR names the reason only where it recognizes it."""
        assert self._step.log_directory
        text = (self._step.log_directory / "stderr").read_bytes()[-65536:].decode(errors="replace")
        details = {"Reason": "Unknown Error.", "Message": _last_words(text) or f"Command exiting with ret '{code}'"}
        if self._log_uri:
            details["LogFile"] = f"{self._log_uri}steps/{self._step.id}/stderr.gz"
        return details

    def _command(self) -> list[str]:
        jar = self._step.jar.rsplit("/", 1)[-1]
        if jar == "command-runner.jar":
            return self._step.arguments
        # script-runner.jar: the first argument is a script in S3 or on the node
        script, *arguments = self._step.arguments
        if "://" in script:
            body = self._objects.read(script)
            local = self._node.scratch / f"{self._step.id}-{script.rsplit('/', 1)[-1]}"
            if body is None:
                return ["/bin/bash", "-c", f"echo {shlex.quote(f'no such script: {script}')} >&2; exit 1"]
            local.write_bytes(body)
            return ["/bin/bash", str(local), *arguments]
        return ["/bin/bash", script, *arguments]

    def _execute(self, command: list[str], environment: dict[str, str], logs: Path) -> int:
        with open(logs / "stdout", "wb") as stdout, open(logs / "stderr", "ab") as stderr:
            with self._lock:
                if self._killed.is_set():
                    return 128 + signal.SIGTERM
                try:
                    self._process = subprocess.Popen(
                        [_which(command[0], environment["PATH"]), *command[1:]],
                        stdin=subprocess.DEVNULL,
                        stdout=stdout,
                        stderr=stderr,
                        env=environment,
                        cwd=self._node.home,
                        start_new_session=True,
                    )
                except OSError as error:
                    stderr.write(f'Cannot run program "{command[0]}": {error.strerror}\n'.encode())
                    stderr.write(b"Command exiting with ret '127'\n")
                    return 127
                self._reaper.watch(self._process.pid)
            status = self._wait(self._process)
            code = 128 - status if status < 0 else status
            # What a step leaves behind it does not outlive it here, as it would on YARN.
            signal_session(self._process.pid, signal.SIGKILL)
            self._reaper.forget(self._process.pid)
            stderr.write(f"Command exiting with ret '{code}'\n".encode())
            return code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """The process's end, by itself or by a fault."""
        while True:
            try:
                return process.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                forced = self._faults.strike(process.pid)
                if forced is not None:
                    signal_session(process.pid, signal.SIGKILL)
                    process.wait()
                    return forced

    def _log(self, line: str) -> None:
        with open(self._node.logs / "steps" / self._step.id / "controller", "a", encoding="utf-8") as controller:
            controller.write(f"{now():%Y-%m-%dT%H:%M:%S.000Z} {line}\n")

    def _push_logs(self, logs: Path) -> None:
        if not self._log_uri:
            return
        for name in LOG_NAMES:
            self._objects.write(
                f"{self._log_uri}steps/{self._step.id}/{name}.gz", gzip.compress((logs / name).read_bytes(), 1)
            )


def _last_words(stderr: str) -> str:
    """The line of a log that says what went wrong, or nothing.

    Where Spark has logged, only a line that looks like an error counts: its messages run over several lines.
    """
    lines = stderr.rstrip().splitlines()[:-1]  # the last one is command-runner's own
    if LOG_LINE.search(stderr):
        lines = [line for line in lines if ERROR_LINE.match(line)]
    return lines[-1].strip()[:1000] if lines else ""


def _which(command: str, path: str) -> str:
    """The program to run; Popen would look it up in the server's PATH."""
    if "/" in command:
        return command
    for directory in path.split(":"):
        candidate = os.path.join(directory, command)
        if os.access(candidate, os.X_OK):
            return candidate
    return f"/nonexistent/{command}"
