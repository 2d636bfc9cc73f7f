"""Pages for people below /_local_emr/: the buckets, the clusters, and what their steps have written."""

import gzip
import mimetypes
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from typing import Any

from local_emr import pages
from local_emr.emr import spark_events
from local_emr.emr.cluster import Cluster
from local_emr.emr.registry import Registry
from local_emr.emr.s3_access import S3Access
from local_emr.emr.step import Step
from local_emr.pages import POLICY, PREFIX, TEXT, Answer, NotFoundError
from local_emr.spark_history import SparkHistory

SHOWN_OBJECTS = 1000
SHOWN_BYTES = 200_000  # of a log: its end
STREAMS = ("stdout", "stderr", "controller")
# What is in a bucket may be anybody's page: its scripts run apart from these pages and from the endpoint.
OBJECT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:; "
    "sandbox allow-scripts allow-downloads"
)


class Browser:
    """Answers a person's GET, and the PUT of a file that was dropped on a page."""

    def __init__(self, registry: Registry, s3: S3Access, history: SparkHistory) -> None:
        self._registry = registry
        self._s3 = s3
        self.history = history

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return status, headers and body.

        Args:
            method: of the request.
            path: below `PREFIX`, decoded.
            body: of the request.

        Raises:
            NotFoundError: there is no such page, object, cluster or step.
        """
        match method, path.split("/"):
            case "GET", [""]:
                return pages.page("local AWS", self._index())
            case "GET", ["browser.css" | "browser.js" as name]:
                kind = mimetypes.guess_type(name)[0] or TEXT
                return pages.answer(kind, files(__package__).joinpath(name).read_bytes(), POLICY)
            case "GET", ["clusters", cluster_id, *rest]:
                return self._answer_cluster(cluster_id, rest)
            case "GET", ["s3", bucket, *rest]:
                key = "/".join(rest)
                return self._object(bucket, key) if key and not key.endswith("/") else self._folder(bucket, key)
            case "PUT", ["s3", bucket, *rest] if rest and rest[-1]:
                if not self._s3.write(f"s3://{bucket}/{'/'.join(rest)}", body):
                    raise NotFoundError(f"no bucket {bucket}")
                return pages.answer(TEXT, b"stored\n", POLICY)
            case _:
                raise NotFoundError(f"no page {method} {PREFIX}/{path}")

    def _answer_cluster(self, cluster_id: str, rest: list[str]) -> Answer:
        cluster = self._find(cluster_id)
        match rest:
            case []:
                return pages.page(f"Cluster {cluster_id}", self._cluster(cluster))
            case ["steps", step_id]:
                return self._step(cluster, _find_step(cluster, step_id))
            case ["steps", step_id, "spark-history", *application]:
                return self.history.open(cluster, _find_step(cluster, step_id), "/".join(application))
        raise NotFoundError(f"no page {'/'.join(rest)} of cluster {cluster_id}")

    def _index(self) -> str:
        with self._s3.lock:
            buckets = sorted(self._s3.backend.buckets)
        listed = "".join(f"<li>{pages.link(f's3/{name}/', name)}</li>" for name in buckets) or "<li>none yet</li>"
        rows = [
            [
                pages.link(f"clusters/{each.id}", each.id),
                escape(each.name),
                pages.state(each.state),
                pages.time(each.created),
            ]
            for each in (lifecycle.cluster for lifecycle in reversed(self._registry.lifecycles()))
        ]
        clusters = pages.table(["Cluster", "Name", "State", "Created"], rows) if rows else "<p>None yet.</p>"
        return f"<h1>Local AWS</h1><h2>Buckets</h2><ul>{listed}</ul><h2>Clusters</h2>{clusters}"

    def _find(self, cluster_id: str) -> Cluster:
        found = self._registry.find(cluster_id)
        if found is None:
            raise NotFoundError(f"no cluster {cluster_id}")
        return found.cluster

    def _cluster(self, cluster: Cluster) -> str:
        with cluster.lock:
            rows = [
                [
                    pages.link(f"clusters/{cluster.id}/steps/{step.id}", step.name),
                    pages.state(step.state),
                    pages.time(step.started),
                    pages.time(step.ended),
                ]
                for step in cluster.steps
            ]
            state, why = cluster.state, cluster.reason.get("Message", "")
        steps = pages.table(["Step", "State", "Started", "Ended"], rows) if rows else "<p>None yet.</p>"
        return f"{pages.up()}<h1>{escape(cluster.name)}</h1><p>{cluster.id} · {pages.state(state)} {escape(why)}</p><h2>Steps</h2>{steps}"

    def _step(self, cluster: Cluster, step: Step) -> Answer:
        logs = "".join(
            f'<h2 id="{stream}">{stream}</h2><pre tabindex="0" aria-label="{stream}">{escape(text)}</pre>'
            for stream in STREAMS
            if (text := self._log(cluster, step, stream))
        )
        history = ""
        if spark_events.application_ids(cluster, step, self._s3):
            history = " · " + pages.link(f"clusters/{cluster.id}/steps/{step.id}/spark-history", "Spark history")
        content = (
            f"{pages.up(f'clusters/{cluster.id}', cluster.name)}<h1>{escape(step.name)}</h1>"
            f"<p>{step.id} · {pages.state(step.state)}{history}</p>{logs or '<p>Nothing is written yet.</p>'}"
        )
        return pages.page(step.name, content, refresh_seconds=0 if step.is_final else 5)

    def _log(self, cluster: Cluster, step: Step, stream: str) -> str:
        """Return the end of a log: of the file while the cluster lives, else of the copy at LogUri."""
        path = step.log_directory / stream if step.log_directory else None
        if path and path.exists():
            text = path.read_bytes()
        else:
            copy = cluster.log_uri and self._s3.read(f"{cluster.log_uri}steps/{step.id}/{stream}.gz")
            text = gzip.decompress(copy) if copy else b""
        return text[-SHOWN_BYTES:].decode(errors="replace")

    def _folder(self, bucket: str, prefix: str) -> Answer:
        if self._s3.bucket(bucket) is None:
            raise NotFoundError(f"no bucket {bucket}")
        start = f"s3://{bucket}/"
        keys = [uri.removeprefix(start) for uri in self._s3.uris(f"{start}{prefix}")]
        names = {
            key.removeprefix(prefix).split("/")[0] + ("/" if "/" in key.removeprefix(prefix) else "") for key in keys
        }
        entries = sorted(names - {""}, key=lambda name: (not name.endswith("/"), name))
        listed = "".join(
            f"<li>{pages.link(f's3/{bucket}/{prefix}{name}', name)}</li>" for name in entries[:SHOWN_OBJECTS]
        )
        more = f"<p>The first {SHOWN_OBJECTS} of {len(entries):,}.</p>" if len(entries) > SHOWN_OBJECTS else ""
        up = pages.up(*_parent(bucket, prefix))
        title = escape(start + prefix).replace("/", "/<wbr>")  # on a phone a line may end there
        drop = (
            '<p><label class="drop" id="drop">Drop files or folders here, or choose files '
            '<input type="file" id="files" multiple></label></p><p id="said" role="status"></p>'
        )
        content = f"{up}<h1>{title}</h1>{drop}{more}<ul>{listed or '<li>nothing yet</li>'}</ul>"
        return pages.page(f"{bucket}/{prefix}", content, script=True)

    def _object(self, bucket: str, key: str) -> Answer:
        body = self._s3.read(f"s3://{bucket}/{key}")
        if body is None:
            raise NotFoundError(f"no object s3://{bucket}/{key}")
        kind, encoding = mimetypes.guess_type(key)
        status, headers, body = pages.answer(
            kind or (TEXT if encoding else "application/octet-stream"), body, OBJECT_POLICY
        )
        return status, [*headers, *([("Content-Encoding", "gzip")] if encoding == "gzip" else [])], body


def respond(
    browser: Browser, environ: dict[str, Any], path: str, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answer a request for one of the pages as WSGI has it; `path` is decoded and below `PREFIX`."""
    try:
        if path.partition("/")[0] == "spark-history":
            status, headers, body = browser.history.forward(environ["RAW_URI"], _headers(environ))
        else:
            status, headers, body = browser.answer(environ["REQUEST_METHOD"], path, environ["wsgi.input"].read())
    except NotFoundError as error:
        _, headers, body = pages.page("Not found", f"{pages.up()}<h1>Not found</h1><p>{escape(str(error))}</p>")
        status = "404 Not Found"
    start_response(status, headers)
    return [body]


def _find_step(cluster: Cluster, step_id: str) -> Step:
    step = cluster.step(step_id)
    if step is None:
        raise NotFoundError(f"no step {step_id}")
    return step


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a request, in lower case."""
    return {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }


def _parent(bucket: str, prefix: str) -> tuple[str, str]:
    """Return path and name of the page above a folder's."""
    if not prefix:
        return "", "Local AWS"
    above = prefix.rstrip("/").rpartition("/")[0]
    above = f"{above}/" if above else ""
    return f"s3/{bucket}/{above}", f"s3://{bucket}/{above}"
