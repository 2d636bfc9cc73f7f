"""The process of one running step."""

import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

from local_emr.emr.node import Node
from local_emr.emr.reaper import Reaper, session_members, signal_session
from local_emr.emr.s3_access import S3Access
from local_emr.emr.settings import TICK_SECONDS
from local_emr.emr.step import Step
from local_emr.emr.step_faults import StepFaults
from local_emr.emr.step_logs import StepLogs


class StepProcess:
    """Runs a step on a node and pushes its logs to S3 when it ends.

    Args:
        step: what to run.
        node: where to run it.
        log_uri: the cluster's, with a slash; None without one.
        faults: what may go wrong.
        reaper: kills the process if this one is killed.
        s3: where scripts come from and the logs go.
        kill_grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        step: Step,
        node: Node,
        *,
        log_uri: str | None,
        faults: StepFaults,
        reaper: Reaper,
        s3: S3Access,
        kill_grace: float,
    ) -> None:
        self._step = step
        self._node = node
        self._faults = faults
        self._reaper = reaper
        self._s3 = s3
        self._kill_grace = kill_grace
        self.logs = StepLogs(node.logs / "steps" / step.id, f"{log_uri}steps/{step.id}/" if log_uri else None)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = threading.Event()
        self._lock = threading.Lock()

    @property
    def has_application(self) -> bool:
        """Whether a Spark application of the step is up, which on EMR is a YARN application."""
        return self._node.has_application(self._step.id)

    def run(self) -> int:
        """Run the step to its end.

        Returns:
            The exit code as a shell counts them: 128 + n after signal n, 127 where there is no such command.
        """
        self._step.log_directory = self.logs.directory
        began = time.monotonic()
        command = self._command()
        self.logs.control(f"INFO startExec 'hadoop jar {shlex.join([self._step.jar, *self._step.arguments])}'")
        environment = self._node.environment() | {"EMR_STEP_ID": self._step.id}
        self.logs.control("INFO Environment:\n" + "".join(f"  {name}={value}\n" for name, value in environment.items()))
        code = self._execute(command, environment)
        level, outcome = ("INFO", "succeeded") if code == 0 else ("WARN", "failed")
        seconds = time.monotonic() - began
        self.logs.control(f"{level} Step {outcome} with exitCode {code} and took {seconds:.0f} seconds")
        self.logs.push(self._s3)
        return code

    def stop(self, *, graceful: bool) -> None:
        """End every process of the step: SIGTERM and some seconds of grace, or SIGKILL at once."""
        self._killed.set()
        with self._lock:
            if self._process is None:
                return
            session = self._process.pid
        if graceful:
            signal_session(session, signal.SIGTERM)
            deadline = time.monotonic() + self._kill_grace
            while session_members(session) and time.monotonic() < deadline:
                time.sleep(0.05)
        signal_session(session, signal.SIGKILL)

    def _command(self) -> list[str]:
        jar = self._step.jar.rsplit("/", 1)[-1]
        if jar == "command-runner.jar":
            return self._step.arguments
        # script-runner.jar: the first argument is a script in S3 or on the node
        script, *arguments = self._step.arguments
        if "://" in script:
            body = self._s3.read(script)
            local = self._node.scratch / f"{self._step.id}-{script.rsplit('/', 1)[-1]}"
            if body is None:
                return ["/bin/bash", "-c", f"echo {shlex.quote(f'no such script: {script}')} >&2; exit 1"]
            local.write_bytes(body)
            return ["/bin/bash", str(local), *arguments]
        return ["/bin/bash", script, *arguments]

    def _execute(self, command: list[str], environment: dict[str, str]) -> int:
        logs = self.logs.directory
        with (logs / "stdout").open("wb") as stdout, (logs / "stderr").open("ab") as stderr:
            with self._lock:
                if self._killed.is_set():
                    return 128 + signal.SIGTERM
                try:
                    process = self._process = subprocess.Popen(
                        [_find_program(command[0], environment["PATH"]), *command[1:]],
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
                self._reaper.watch(process.pid)
            try:
                status = self._wait(process)
            finally:
                # Whatever the step has left running ends with it here, as it would on YARN; so does the step itself where
                # watching it has failed.
                signal_session(process.pid, signal.SIGKILL)
                process.wait()
                self._reaper.forget(process.pid)
            code = 128 - status if status < 0 else status
            stderr.write(f"Command exiting with ret '{code}'\n".encode())
            return code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until the process ends, by itself or by a fault."""
        while True:
            try:
                return process.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                forced = self._faults.apply(process.pid)
                if forced is not None:
                    signal_session(process.pid, signal.SIGKILL)
                    process.wait()
                    return forced


def _find_program(command: str, path: str) -> str:
    """Return the program to run; Popen would look it up in the server's PATH."""
    if "/" in command:
        return command
    for directory in path.split(":"):
        candidate = Path(directory, command)
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return f"/nonexistent/{command}"
