"""Spark's own history server as a process: it shows what is in a folder of event logs."""

import http.client
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from local_emr.emr.node_files import LOG4J, last_problem
from local_emr.emr.reaper import Reaper, signal_session
from local_emr.emr.settings import SYSTEM_PATH, Spark, SparkNotFoundError

MAIN_CLASS = "org.apache.spark.deploy.history.HistoryServer"
START_SECONDS = 120  # it takes four; more only on a machine that does much else
ANSWER_SECONDS = 120  # the first page of an application is there when its whole event log is read
PORT = re.compile(r"Successfully started service 'HistoryServerUI' on port (\d+)")

Response = tuple[int, dict[str, str], bytes]  # status, headers in lower case, body


class HistoryServerError(Exception):
    """The history server cannot run; the message says what to do."""


class HistoryServer:
    """The process, on a free port of 127.0.0.1; it dies with this one.

    Args:
        spark: the installation whose history server it is.
        folder: for its own files.
        events: the folder of event logs.
        base: what the paths of its pages begin with where people see them.
        reaper: kills the process if this one is killed.

    Raises:
        HistoryServerError: there is no Spark, or no Java.
    """

    def __init__(self, spark: Spark, folder: Path, events: Path, base: str, reaper: Reaper) -> None:
        self.log = folder / "history-server.log"
        self._reaper = reaper
        self._began = time.monotonic()
        self._port: int | None = None
        self._listed = False
        (folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(spark.home / "bin/spark-class"), MAIN_CLASS],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=_environment(spark, folder, events, base),
                    start_new_session=True,
                )
        except (SparkNotFoundError, OSError) as error:
            raise HistoryServerError(f"it cannot start: {error}") from None
        reaper.watch(self._process.pid)

    def ready(self) -> bool:
        """Return whether it answers, and lists an application.

        Raises:
            HistoryServerError: it has ended, or does not answer after `START_SECONDS`.
        """
        if (code := self._process.poll()) is not None:
            raise HistoryServerError(f"it has ended with exit code {code}: {last_problem(self.log)}")
        if self._port is None and (found := PORT.search(self.log.read_text(encoding="utf-8", errors="replace"))):
            self._port = int(found[1])
        if self._port and not self._listed:
            status, _, body = self.get("/api/v1/applications?limit=1")
            self._listed = status == http.HTTPStatus.OK and bool(json.loads(body))
        if self._port is None and time.monotonic() - self._began > START_SECONDS:
            raise HistoryServerError(f"it does not answer after {START_SECONDS} s: {last_problem(self.log)}")
        return self._listed

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return status, headers and body of its answer; call when it is ready.

        Args:
            path: with the query.
            headers: of the request.

        Raises:
            HistoryServerError: it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise HistoryServerError(f"it does not answer: {error} ({self.log})") from None
        finally:
            connection.close()

    def stop(self) -> None:
        """Kill it: it writes nothing that anybody needs."""
        signal_session(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reaper.forget(self._process.pid)


def _environment(spark: Spark, folder: Path, events: Path, base: str) -> dict[str, str]:
    """Return the whole environment of the process: nothing of this one's.

    Raises:
        SparkNotFoundError: there is no Java; what there is of Spark is known already.
    """
    if not (spark.java_home / "bin/java").exists():
        raise SparkNotFoundError(
            f"there is no Java in {spark.java_home}: name another with --java-home or LOCAL_EMR_JAVA_HOME"
        )
    properties = {
        "spark.history.fs.logDirectory": events.as_uri(),
        "spark.history.fs.update.interval": "1s",
        "spark.history.ui.port": "0",
        "spark.ui.proxyBase": base,
        "log4j2.configurationFile": (folder / "log4j2.properties").as_uri(),
        "java.io.tmpdir": str(folder),
    }
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *spark.class_archive_options]
    options += [f"-D{name}={value}" for name, value in properties.items()]
    return {
        "HOME": str(folder),
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "JAVA_HOME": str(spark.java_home),
        "SPARK_HOME": str(spark.home),
        "SPARK_CONF_DIR": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",  # what it listens on
        "SPARK_DAEMON_CLASSPATH": spark.class_path,
        "SPARK_HISTORY_OPTS": shlex.join(options),
        "SPARK_LAUNCHER_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto",
    }
