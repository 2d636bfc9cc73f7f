"""The pages of the Spark applications of steps: Spark's history server, started when somebody opens one.

A JVM of 300 MB that nobody looks at is not worth having: it ends when no page was asked for in a while. Its pages are
passed on below `BASE`, so that the endpoint's port is the only one that must be reachable.
"""

import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from local_emr import pages
from local_emr.emr import spark_events
from local_emr.emr.cluster import Cluster
from local_emr.emr.reaper import Reaper
from local_emr.emr.s3_access import S3Access
from local_emr.emr.settings import Spark
from local_emr.emr.step import Step
from local_emr.history_server import HistoryServer, HistoryServerError
from local_emr.pages import PREFIX, Answer, NotFoundError

BASE = f"{PREFIX}/spark-history"
# Spark's pages have scripts in their HTML, and load nothing from elsewhere.
SPARK_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PASSED_THERE = ("accept", "accept-encoding", "accept-language", "if-modified-since", "if-none-match")
PASSED_BACK = ("content-type", "content-encoding", "content-disposition", "cache-control", "etag", "last-modified")


class SparkHistory:
    """Spark's history server, which sees the event logs of those steps whose pages were opened.

    Args:
        spark: the installation that runs the steps.
        s3: where the event logs of former clusters are.
        reaper: kills the history server if this process is killed.
        idle_seconds: how long the history server stays when nobody asks.
    """

    def __init__(self, spark: Spark, s3: S3Access, reaper: Reaper, idle_seconds: float) -> None:
        self._spark, self._s3, self._reaper, self._idle_seconds = spark, s3, reaper, idle_seconds
        self._lock = threading.RLock()
        self._folder: Path | None = None  # from the first page on
        self._server: HistoryServer | None = None
        self._used = 0.0
        self._visitors = 0
        self._running: dict[str, tuple[Cluster, Step]] = {}  # opened steps that may still write
        self._stopped = threading.Event()
        self._watch: threading.Thread | None = None

    def open(self, cluster: Cluster, step: Step, application: str = "") -> Answer:
        """Answer with the way to a Spark application of a step: a page while the history server starts, then a redirect.

        Args:
            cluster: of the step.
            step: whose application it is.
            application: its id; may be empty where the step has one application.

        Raises:
            NotFoundError: the step has no such application.
        """
        found = spark_events.application_ids(cluster, step, self._s3)
        path = f"clusters/{cluster.id}/steps/{step.id}"
        up = pages.up(path, step.name)
        if application and application not in found:
            raise NotFoundError(f"no application {application} of step {step.id}")
        if not found:
            said = "no Spark application" if step.is_final else "no Spark application yet; this page looks again"
            content = f"{up}<h1>Spark history</h1><p>This step has started {said}.</p>"
            return pages.page("Spark history", content, refresh_seconds=0 if step.is_final else 5)
        if not application and len(found) > 1:
            listed = "".join(f"<li>{pages.link(f'{path}/spark-history/{each}', each)}</li>" for each in found)
            return pages.page(
                "Spark history", f"{up}<h1>Spark applications of {escape(step.name)}</h1><ul>{listed}</ul>"
            )
        application = application or found[0]
        with self._lock:
            self._running[step.id] = (cluster, step)
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="local_emr-history-"))
                (self._folder / "events").mkdir()
                self._watch = threading.Thread(target=self._keep, name="local_emr-history")
                self._watch.start()
        try:
            self._collect(cluster, step)
            with self._visit():
                server = self._ready_server()
                shown = server and server.get(f"/api/v1/applications/{application}")[0] == HTTPStatus.OK
        except HistoryServerError as error:
            return self._failed(up, error)
        if not shown:
            return self._starting(up)
        _, headers, _ = pages.answer(pages.TEXT, b"", pages.POLICY)
        return "302 Found", [*headers, ("Location", f"{BASE}/history/{application}/jobs/")], b""

    def forward(self, uri: str, headers: Mapping[str, str]) -> Answer:
        """Answer with a page of the history server, which is started again if it has ended meanwhile.

        Args:
            uri: of the request, below `BASE`.
            headers: of the request, in lower case.

        Raises:
            NotFoundError: no application was opened yet, so that there is nothing to show.
        """
        if self._folder is None:
            raise NotFoundError("no Spark application is open: take the link on the page of its step")
        passed = {name: headers[name] for name in PASSED_THERE if name in headers}
        try:
            with self._visit():
                server = self._ready_server()
                if server is None:
                    return self._starting(pages.up())
                status, answered, body = server.get(f"/{uri.removeprefix(BASE).removeprefix('/')}", passed)
        except HistoryServerError as error:
            return self._failed(pages.up(), error)
        back = [(name.title(), answered[name]) for name in PASSED_BACK if name in answered]
        if target := answered.get("location"):
            parts = urlsplit(target)
            path = parts.path if parts.path.startswith(f"{BASE}/") else f"{BASE}{parts.path}"
            back.append(("Location", f"{path}?{parts.query}" if parts.query else path))
        back += [("Content-Security-Policy", SPARK_POLICY), ("X-Content-Type-Options", "nosniff")]
        return f"{status} {HTTPStatus(status).phrase}", back, body

    def stop(self) -> None:
        """End the history server and remove its files."""
        self._stopped.set()
        if self._watch:
            self._watch.join()
        with self._lock:
            self._end_server()
            self._running.clear()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
            self._stopped.clear()

    def _ready_server(self) -> HistoryServer | None:
        """Return the history server, started if there is none; None as long as it is not ready.

        Raises:
            HistoryServerError: it cannot run.
        """
        with self._lock:
            try:
                if self._server is None:
                    assert self._folder
                    self._server = HistoryServer(self._spark, self._folder, self._folder / "events", BASE, self._reaper)
                return self._server if self._server.ready() else None
            except HistoryServerError:
                self._end_server()  # the next request tries again
                raise

    @contextmanager
    def _visit(self) -> Iterator[None]:
        """Keep the history server from being idle for the block."""
        with self._lock:
            self._visitors += 1
        try:
            yield
        finally:
            with self._lock:
                self._visitors -= 1
                self._used = time.monotonic()

    def _keep(self) -> None:
        """Show the history server what running steps write, and end it when nobody has asked for a page in a while."""
        while not self._stopped.wait(1):
            with self._lock:
                for cluster, step in list(self._running.values()):
                    with suppress(HistoryServerError):  # who opens the step is told
                        self._collect(cluster, step)
                if not self._visitors and time.monotonic() - self._used > self._idle_seconds:
                    self._end_server()

    def _collect(self, cluster: Cluster, step: Step) -> None:
        """Show the history server what a step has written so far.

        Raises:
            HistoryServerError: an event log is damaged, or the disk full.
        """
        with self._lock:
            final = step.is_final
            try:
                assert self._folder
                spark_events.collect(cluster, step, self._s3, self._folder / "events")
            except (OSError, EOFError, zlib.error) as error:
                raise HistoryServerError(f"an event log of step {step.id} cannot be shown: {error}") from None
            finally:
                if final:
                    self._running.pop(step.id, None)

    def _end_server(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    def _starting(self, up: str) -> Answer:
        log = escape(str(self._folder / "history-server.log")) if self._folder else ""
        content = (
            f"{up}<h1>Spark's history server is getting ready</h1><p role='status'>It takes a few seconds, then this page "
            f"is the application's. If it takes more than a minute, its log says why: {log}</p>"
        )
        return pages.page("Spark history", content, refresh_seconds=1)

    def _failed(self, up: str, error: HistoryServerError) -> Answer:
        content = (
            f"{up}<h1>Spark's history server has failed</h1><p>{escape(str(error))}</p><p>Load this page again to start "
            "it anew. The logs of the step do not need it.</p>"
        )
        _, headers, body = pages.page("Spark history", content)
        return "503 Service Unavailable", headers, body
