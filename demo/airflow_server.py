"""`airflow standalone` as one thing that starts, serves and ends as a whole."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import requests

from demo.bucket import DemoError
from local_emr.emr.reaper import Reaper, signal_session

START_SECONDS = 180
GRACE_SECONDS = 12  # of a stop; whatever is left then is killed


class AirflowServer:
    """API server, scheduler, DAG processor and triggerer, in a process session of their own.

    In the terminal's process group each of them would get the terminal's SIGINT and, a moment later, SIGTERM from `airflow
    standalone`; the second signal interrupts the handler of the first while it holds a lock, and the component never ends.

    Args:
        environment: of Airflow.
        port: of the API server, on this machine.
        log: file that gets all of Airflow's output.
    """

    def __init__(self, environment: Mapping[str, str], port: int, log: Path) -> None:
        self.url = f"http://localhost:{port}"
        self._environment = environment
        self._log = log
        self._reaper = Reaper()  # ends the session even if this process is killed

    def __enter__(self) -> Self:
        self._reaper.start()
        command = [str(Path(sys.executable).with_name("airflow")), "standalone"]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        self._reaper.watch(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # another one must not interrupt this
            signal.signal(number, signal.SIG_IGN)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        signal_session(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reaper.stop()  # kills what else the session has

    def wait_until_ready(self, dag_id: str) -> None:
        """Wait until every component is healthy and the DAG can be triggered.

        Raises:
            DemoError: it has ended, or takes too long; the message ends with the last lines of the log.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._serves(dag_id):
            if self._process.poll() is not None:
                raise DemoError(f"Airflow ended while it was starting:\n{self._end_of_log()}")
            if time.monotonic() > deadline:
                raise DemoError(f"Airflow was not ready within {START_SECONDS} s:\n{self._end_of_log()}")
            time.sleep(0.5)

    def wait_until_it_ends(self, sleep: Callable[[float], None] = time.sleep) -> str:
        """Watch the components; return the name of the first that has ended. One without the others is of no use."""
        parts = psutil.Process(self._process.pid).children()
        names = {part: _component(part) for part in parts}
        while True:
            if self._process.poll() is not None:
                return "airflow standalone"
            for part, name in names.items():
                if not part.is_running() or part.status() == psutil.STATUS_ZOMBIE:
                    return name
            sleep(1)

    def _serves(self, dag_id: str) -> bool:
        try:
            health = self._get("/api/v2/monitor/health")
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            if any((health.get(part) or {}).get("status") != "healthy" for part in parts):
                return False
            token = self._get("/auth/token")["access_token"]
            self._get(f"/api/v2/dags/{dag_id}/details", token)
        except (OSError, ValueError):  # not there yet, or not all of it
            return False
        return True

    def _get(self, path: str, token: str = "") -> Any:
        answer = requests.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def _end_of_log(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([*lines[-10:], f"all of it: {self._log}"])


def _component(process: psutil.Process) -> str:
    """Return the name of a component: its processes are titled by it."""
    with contextlib.suppress(psutil.Error):
        command = " ".join(process.cmdline())
        for name in ("api_server", "scheduler", "dag-processor", "triggerer"):
            if name in command:
                return f"the {name}"
    return f"process {process.pid}"
