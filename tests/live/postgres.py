"""A PostgreSQL server for one test module: Debian's binaries, a folder that is gone afterwards, a free port on 127.0.0.1."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from local_emr.emr.reaper import Reaper
from tests.live.ports import free_port

START_SECONDS = 60
DEBIAN = "/usr/lib/postgresql"  # where the package puts what is not on the PATH


def postgres_binaries() -> Path:
    """Return the folder of `initdb` and `postgres`; skip the test where there is none."""
    found = sorted(Path(DEBIAN).glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    name = str(found[-1]) if found else shutil.which("initdb")
    if not name:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return Path(name).resolve().parent


class Postgres:
    """An empty database `airflow`, owned by a user `airflow` who needs no password."""

    def __init__(self) -> None:
        self._binaries = postgres_binaries()
        # The server refuses to run as root; the package has made this user.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._port = free_port()

    @property
    def uri(self) -> str:
        """Where SQLAlchemy finds the database."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self._port}/airflow"

    def query(self, statement: str) -> str:
        """Return what psql prints for a statement, without headers, `|` between columns."""
        program = [self._binaries / "psql", "-qtAX", "-h", "127.0.0.1", "-p", str(self._port), "-U", "airflow"]
        done = subprocess.run([*program, "-c", statement, "airflow"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def __enter__(self) -> Self:
        # Not below pytest's folders, which are root's alone.
        self._folder = Path(tempfile.mkdtemp(prefix="fruits-postgres-"))
        if self._user:
            shutil.chown(self._folder, self._user, self._user)
        data = self._folder / "data"
        self._run("initdb", "--auth=trust", "--username=airflow", "--encoding=UTF8", "--no-sync", "-D", str(data))
        self._reaper = Reaper()  # ends the server even if this process is killed
        self._reaper.start()
        command = [self._binaries / "postgres", "-D", data, "-p", str(self._port), "-k", self._folder]
        settings = ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=200")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *(word for setting in settings for word in ("-c", setting))],
                **self._identity(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._reaper.watch(self._process.pid)
        self._wait_until_ready()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "airflow", "airflow")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGQUIT)  # at once: nobody needs the data any more
        self._process.wait(30)
        self._reaper.stop()
        shutil.rmtree(self._folder)

    def _identity(self) -> dict:
        return {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            **self._identity(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        ready = [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while subprocess.run(ready, check=False).returncode:
            log = (self._folder / "log").read_text(encoding="utf-8")
            assert self._process.poll() is None, f"PostgreSQL ended: {log}"
            assert time.monotonic() < deadline, f"PostgreSQL was not ready within {START_SECONDS} s: {log}"
            time.sleep(0.1)
