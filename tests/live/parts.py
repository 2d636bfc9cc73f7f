"""Airflow's parts as processes of their own, on PostgreSQL: each can be killed and started again while the others run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from demo.local_airflow import LocalAirflow
from local_emr.emr.reaper import Reaper, session_members, signal_session
from tests.dags.test_live_airflow import Airflow
from tests.live.ports import free_port

COMMANDS = {
    "api-server": ["api-server", "--host", "127.0.0.1", "--port", "{port}"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
START_SECONDS = 300

# A dead part is noticed in seconds rather than minutes, for the tests' sake.
SOON_NOTICED = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__DAG_PROCESSOR__HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 300, pause: float = 0.5) -> Any:
    """Wait until a condition holds; return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)
    return found


class AirflowParts:
    """API server, scheduler with a LocalExecutor, DAG processor and triggerer; each has a process session of its own.

    Args:
        home: AIRFLOW_HOME; each part's output is there, as `<part>.log`.
        database: URI of an empty database.
        aws: environment variables of AWS clients.
        settings: further environment variables.
    """

    def __init__(self, home: Path, database: str, aws: Mapping[str, str], settings: Mapping[str, str]) -> None:
        self._home = home
        self._port = free_port()
        url = f"http://127.0.0.1:{self._port}"
        self.airflow = LocalAirflow(home, aws, poll_seconds=1)
        self.airflow.environment |= {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__SECRET_KEY": "of-a-test",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of-a-test" * 8,
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # of 5 s, on a machine that does other things too
            **SOON_NOTICED,
            **settings,
        }
        self.url = url
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *parts: str, **settings: str) -> None:
        """Start parts and wait until they work.

        Args:
            parts: their names; all if none is given.
            settings: environment variables of these parts alone.
        """
        started = datetime.now(UTC)
        for part in parts or COMMANDS:
            self._start(part, settings)
        for part in parts or COMMANDS:
            wait_for(lambda part=part: self._works(part, started), f"the {part} works", START_SECONDS)

    def kill(self, part: str, *, alone: bool = False) -> None:
        """Send SIGKILL to a part with all that it has started, as when its machine is gone.

        Args:
            part: its name.
            alone: to the part's own process only, as when it runs out of memory; what it has started lives on for a while.
        """
        process = self._processes.pop(part)
        if alone:
            process.kill()
        else:
            signal_session(process.pid, signal.SIGKILL)
        process.wait()

    def processes(self, part: str) -> list[int]:
        """Return the process ids of a part, its own first: of the scheduler, those of tasks too."""
        session = self._processes[part].pid
        return sorted(session_members(session), key=lambda pid: (pid != session, pid))

    def kill_busy_workers(self) -> None:
        """Send SIGKILL to the workers that have a task, and to the task's own process.

        Not to idle ones: while such a process waits for work it holds the lock of the queue that all share, and LocalExecutor
        would hang.
        """
        workers = [psutil.Process(pid) for pid in self.processes("scheduler")[1:]]
        busy = [worker for worker in workers if _is_busy(worker)]
        assert busy, workers
        for worker in busy:
            for process in [*worker.children(recursive=True), worker]:
                process.kill()

    def client(self, emr: Any) -> Airflow:
        """Return a client of the REST API."""
        return Airflow(self.url, emr)

    def log(self, part: str) -> str:
        """Return what a part has said since its first start."""
        return (self._home / f"{part}.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        self._reaper = Reaper()  # ends the parts even if this process is killed
        self._reaper.start()
        try:
            self.airflow.migrate()
            self.start()
        except BaseException:
            self._reaper.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reaper.stop()  # SIGTERM, then SIGKILL to every session
        for process in self._processes.values():
            process.wait()

    def _start(self, part: str, settings: Mapping[str, str]) -> None:
        assert part not in self._processes, f"the {part} runs already"
        command = [str(Path(sys.executable).with_name("airflow")), *COMMANDS[part]]
        with (self._home / f"{part}.log").open("ab") as output:
            self._processes[part] = subprocess.Popen(
                [word.format(port=self._port) for word in command],
                env=self.airflow.environment | settings,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._reaper.watch(self._processes[part].pid)

    def _works(self, part: str, since: datetime) -> bool:
        """Say whether a part has shown signs of life since then; fail if it has ended."""
        exit_code = self._processes[part].poll()
        assert exit_code is None, f"the {part} has ended ({exit_code}): {self.log(part)[-3000:]}"
        try:
            client = self.client(None)
            if part == "api-server":
                # The first request to it takes many seconds, more than tasks wait for an answer.
                return bool(client.request("GET", "/execution/health"))
            health = client.request("GET", "/api/v2/monitor/health")
            if part == "dag-processor":
                client.request("GET", "/api/v2/dags/fruit_features/details")
        except OSError:  # the API server is not there yet, or the DAG
            return False
        name = part.replace("-", "_")
        beat = health[name][f"latest_{name}_heartbeat"]
        return bool(beat) and datetime.fromisoformat(beat) > since


def _is_busy(worker: psutil.Process) -> bool:
    """Whether it is a worker of LocalExecutor that has a task; one that has ended since it was listed is not."""
    try:
        return "LocalExecutor" in worker.name() + " ".join(worker.cmdline()) and bool(worker.children())
    except psutil.NoSuchProcess:
        return False
