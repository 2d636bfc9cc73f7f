"""Bootstrap actions: scripts that prepare a node, run in a root directory of their own.

A script runs in user, mount and process namespaces whose root is a temporary directory: `/usr` is there to read, everything
else is fresh and goes with the cluster; of processes the script sees its own. Commands that would install something are
stubs (`shims/`) that write down what was asked of them. Where the system has no such namespaces (macOS, most containers) a
script is not run at all: it has to exist and to be valid shell.
"""

import gzip
import re
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from local_emr.emr.bootstrap_root import COMMANDS, ENTER, make_root
from local_emr.emr.capacity import Instance
from local_emr.emr.node import Node
from local_emr.emr.reaper import Reaper, signal_session
from local_emr.emr.s3_access import S3Access

FIELD, RECORD = "\x1f", "\x1e"
# The script's processes end with unshare, whatever sessions they have made.
ISOLATED = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True)
class Failure:
    """Why the cluster cannot start: StateChangeReason's message and the ErrorDetail."""

    message: str
    code: str

    @property
    def details(self) -> dict[str, Any]:
        """The ErrorDetail."""
        return {"ErrorCode": self.code, "ErrorMessage": self.message, "ErrorData": []}


@cache
def can_isolate() -> bool:
    """Return whether this system lets a user make namespaces, and mount the /proc of one."""
    if shutil.which("unshare") is None:
        return False
    probe = [*ISOLATED, "mount", "-t", "proc", "proc", "/proc"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


class Bootstrap:
    """Runs the bootstrap actions of one cluster, on its primary node and on one of the others.

    Args:
        instances: the nodes to prepare; those of one role are alike.
        node: where the files go.
        log_uri: where the logs go.
        port: the endpoint's, for the nodes' `aws s3`.
        reaper: told of every process.
        s3: where the scripts come from and the logs go to.
    """

    def __init__(
        self, instances: list[Instance], node: Node, *, log_uri: str | None, port: int, reaper: Reaper, s3: S3Access
    ) -> None:
        self._instances = instances
        self._node = node
        self._log_uri = log_uri
        self._port = port
        self._reaper = reaper
        self._s3 = s3
        self._lock = threading.Lock()
        self._session: int | None = None
        self._stopped = False
        self._commands: list[tuple[Instance, Path]] = []
        self._skipped: list[dict[str, Any]] = []
        self._record: list[dict[str, Any]] | None = None

    @property
    def record(self) -> list[dict[str, Any]]:
        """The commands given to the stubs so far, in order, with the node's role; also what was not run, and why."""
        return self._read_record() if self._record is None else self._record

    def _read_record(self) -> list[dict[str, Any]]:
        asked = []
        for instance, path in self._commands:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            asked += [
                {"node": instance.role, "command": command.split(FIELD)} for command in text.split(RECORD) if command
            ]
        return asked + self._skipped

    def run(self, actions: list[dict[str, Any]]) -> Failure | None:
        """Run the actions; return the first failure, or None."""
        try:
            return self._run_all(actions)
        finally:
            self._record = self._read_record()

    def _run_all(self, actions: list[dict[str, Any]]) -> Failure | None:
        for instance in self._instances:
            where, code_suffix = ("master", "PRIMARY") if instance.role == "MASTER" else ("slave", "WORKER")
            for number, action in enumerate(actions, 1):
                script = self._fetch(action["ScriptBootstrapAction"]["Path"])
                if script is None:
                    return Failure(
                        f"{where.capitalize()} instance ({instance.ec2_id}) failed attempting to download "
                        f"bootstrap action {number} file from S3",
                        f"BOOTSTRAP_FAILURE_FILE_NOT_FOUND_{code_suffix}",
                    )
                code = self._run(instance, number, action, script)
                if self._stopped:
                    return None
                if code != 0:
                    return Failure(
                        f"On the {where} instance ({instance.ec2_id}), bootstrap action {number} returned a non-zero "
                        "return code",
                        f"BOOTSTRAP_FAILURE_{code_suffix}_WITH_NON_ZERO_CODE",
                    )
        return None

    def stop(self) -> None:
        """End the running script."""
        with self._lock:
            self._stopped = True
            if self._session is not None:
                signal_session(self._session, signal.SIGKILL)

    def _fetch(self, path: str) -> bytes | None:
        return self._s3.read(path) if re.match(r"s3[an]?://", path) else None

    def _run(self, instance: Instance, number: int, action: dict[str, Any], script: bytes) -> int:
        name = action["ScriptBootstrapAction"]["Path"].rsplit("/", 1)[-1]
        arguments = action["ScriptBootstrapAction"].get("Args", [])
        logs = self._node.logs / "node" / instance.ec2_id / "bootstrap-actions" / str(number)
        logs.mkdir(parents=True)
        root = self._root(instance)
        inside = f"/emr/instance-controller/lib/bootstrap-actions/{number}/{name}"
        program = root / inside.lstrip("/")
        program.parent.mkdir(parents=True)
        program.write_bytes(script)
        program.chmod(0o755)
        if can_isolate():
            code = self._execute([*ISOLATED, "/bin/bash", str(ENTER), str(root), inside, *arguments], logs)
        else:
            code = self._execute(["/bin/bash", "-n", str(program)], logs)
            reason = "no user namespaces on this system: the script was checked, not run"
            self._skipped.append({"node": instance.role, "script": name, "skipped": reason})
        (logs / "controller").write_text(f"bootstrap action {number} ended with exit code {code}\n", encoding="utf-8")
        if self._log_uri:
            for log in ("controller", "stdout", "stderr"):
                uri = f"{self._log_uri}node/{instance.ec2_id}/bootstrap-actions/{number}/{log}.gz"
                self._s3.write(uri, gzip.compress((logs / log).read_bytes(), 1))
        return code

    def _execute(self, command: list[str], logs: Path) -> int:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        with (logs / "stdout").open("wb") as stdout, (logs / "stderr").open("wb") as stderr:
            with self._lock:
                if self._stopped:
                    return 128 + signal.SIGKILL
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,
                )
                self._session = process.pid
                self._reaper.watch(process.pid)
            code = process.wait()
            signal_session(process.pid, signal.SIGKILL)
            self._reaper.forget(process.pid)
            with self._lock:
                self._session = None
        return 128 - code if code < 0 else code

    def _root(self, instance: Instance) -> Path:
        """Return the root directory of an instance, made for its first action."""
        root = self._node.root / "nodes" / instance.ec2_id
        commands = root / COMMANDS
        if (instance, commands) not in self._commands:
            make_root(root, instance, self._port)
            self._commands.append((instance, commands))
        return root
