"""Airflow on this machine: a home of its own, the DAG and plugins of this checkout, and AWS where the caller says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).resolve().parents[1]


class LocalAirflow:
    """Runs this project's DAG with `airflow dags test`.

    Args:
        home: AIRFLOW_HOME; the database is created there when it is first needed.
        aws: the environment variables of AWS clients: endpoint, credentials, region.
        poll_seconds: seconds between two pokes of a sensor; local clusters start in seconds.
    """

    def __init__(self, home: Path, aws: Mapping[str, str], poll_seconds: float = 1.0) -> None:
        self.home = home
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_", "FRUITS_"))
        }
        self.environment = {
            **inherited,
            **aws,
            # `airflow standalone` starts its components by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            # SQLite gives up after five seconds by itself when another part writes: a press on Trigger was answered with 500.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.absolute()}/airflow.db?timeout=60",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
            "FRUITS_POLL_SECONDS": str(poll_seconds),
            "PYTHONUNBUFFERED": "1",
        }

    def migrate(self) -> None:
        """Create the database, or migrate it after an upgrade of Airflow.

        Raises:
            RuntimeError: with the end of Airflow's output.
        """
        stamp = self.home / f"migrated-{version('apache-airflow')}"
        if stamp.exists():
            return
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            self._command("db", "migrate"), env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed in {self.home}: {done.stdout[-800:]}{done.stderr[-800:]}")
        stamp.touch()

    def test_dag(self, dag_id: str, params: Mapping[str, Any]) -> "DagTest":
        """Start `airflow dags test` with these params of the DAG."""
        self.migrate()
        command = self._command("dags", "test", dag_id, "--conf", json.dumps(params))
        return DagTest(
            subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("airflow")), *arguments]


class DagTest:
    """A running `airflow dags test`: iterate over its output lines; leaving its `with` block on an error stops it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __iter__(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.rstrip("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._process.terminate()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """Wait for the end; 0 if the run succeeded."""
        return self._process.wait()
