"""Pages for people below /_local_emr/: the buckets, the clusters, and what their steps have written."""

import gzip
import mimetypes
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from local_emr.emr.cluster import Cluster
from local_emr.emr.registry import Registry
from local_emr.emr.s3_access import S3Access
from local_emr.emr.step import Step

PREFIX = "/_local_emr"
SHOWN_OBJECTS = 1000
SHOWN_BYTES = 200_000  # of a log: its end
STREAMS = ("stdout", "stderr", "controller")
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
# What is in a bucket may be anybody's page: its scripts run apart from these pages and from the endpoint.
OBJECT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:; "
    "sandbox allow-scripts allow-downloads"
)

Answer = tuple[str, list[tuple[str, str]], bytes]


class NotFoundError(Exception):
    """There is no such page."""


class Browser:
    """Answers a person's GET, and the PUT of a file that was dropped on a page."""

    def __init__(self, registry: Registry, s3: S3Access) -> None:
        self._registry = registry
        self._s3 = s3

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
                return _page("local AWS", self._index())
            case "GET", ["browser.css" | "browser.js" as name]:
                kind = mimetypes.guess_type(name)[0] or TEXT
                return _answer(kind, files(__package__).joinpath(name).read_bytes(), POLICY)
            case "GET", ["clusters", cluster_id]:
                return _page(f"Cluster {cluster_id}", self._cluster(cluster_id))
            case "GET", ["clusters", cluster_id, "steps", step_id]:
                return self._step(cluster_id, step_id)
            case "GET", ["s3", bucket, *rest]:
                key = "/".join(rest)
                return self._object(bucket, key) if key and not key.endswith("/") else self._folder(bucket, key)
            case "PUT", ["s3", bucket, *rest] if rest and rest[-1]:
                if not self._s3.write(f"s3://{bucket}/{'/'.join(rest)}", body):
                    raise NotFoundError(f"no bucket {bucket}")
                return _answer(TEXT, b"stored\n", POLICY)
            case _:
                raise NotFoundError(f"no page {method} {PREFIX}/{path}")

    def _index(self) -> str:
        with self._s3.lock:
            buckets = sorted(self._s3.backend.buckets)
        listed = "".join(f"<li>{_link(f's3/{name}/', name)}</li>" for name in buckets) or "<li>none yet</li>"
        rows = [
            [_link(f"clusters/{each.id}", each.id), escape(each.name), _state(each.state), _time(each.created)]
            for each in (lifecycle.cluster for lifecycle in reversed(self._registry.lifecycles()))
        ]
        clusters = _table(["Cluster", "Name", "State", "Created"], rows) if rows else "<p>None yet.</p>"
        return f"<h1>Local AWS</h1><h2>Buckets</h2><ul>{listed}</ul><h2>Clusters</h2>{clusters}"

    def _find(self, cluster_id: str) -> Cluster:
        found = self._registry.find(cluster_id)
        if found is None:
            raise NotFoundError(f"no cluster {cluster_id}")
        return found.cluster

    def _cluster(self, cluster_id: str) -> str:
        cluster = self._find(cluster_id)
        with cluster.lock:
            rows = [
                [
                    _link(f"clusters/{cluster_id}/steps/{step.id}", step.name),
                    _state(step.state),
                    _time(step.started),
                    _time(step.ended),
                ]
                for step in cluster.steps
            ]
            state, why = cluster.state, cluster.reason.get("Message", "")
        steps = _table(["Step", "State", "Started", "Ended"], rows) if rows else "<p>None yet.</p>"
        return f"{_up()}<h1>{escape(cluster.name)}</h1><p>{cluster_id} · {_state(state)} {escape(why)}</p><h2>Steps</h2>{steps}"

    def _step(self, cluster_id: str, step_id: str) -> Answer:
        cluster = self._find(cluster_id)
        step = cluster.step(step_id)
        if step is None:
            raise NotFoundError(f"no step {step_id}")
        logs = "".join(
            f'<h2 id="{stream}">{stream}</h2><pre tabindex="0" aria-label="{stream}">{escape(text)}</pre>'
            for stream in STREAMS
            if (text := self._log(cluster, step, stream))
        )
        content = (
            f"{_up(f'clusters/{cluster_id}', cluster.name)}<h1>{escape(step.name)}</h1>"
            f"<p>{step_id} · {_state(step.state)}</p>{logs or '<p>Nothing is written yet.</p>'}"
        )
        return _page(step.name, content, refresh=not step.is_final)

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
        listed = "".join(f"<li>{_link(f's3/{bucket}/{prefix}{name}', name)}</li>" for name in entries[:SHOWN_OBJECTS])
        more = f"<p>The first {SHOWN_OBJECTS} of {len(entries):,}.</p>" if len(entries) > SHOWN_OBJECTS else ""
        up = _up(*_parent(bucket, prefix))
        title = escape(start + prefix).replace("/", "/<wbr>")  # on a phone a line may end there
        drop = (
            '<p><label class="drop" id="drop">Drop files or folders here, or choose files '
            '<input type="file" id="files" multiple></label></p><p id="said" role="status"></p>'
        )
        content = f"{up}<h1>{title}</h1>{drop}{more}<ul>{listed or '<li>nothing yet</li>'}</ul>"
        return _page(f"{bucket}/{prefix}", content, script=True)

    def _object(self, bucket: str, key: str) -> Answer:
        body = self._s3.read(f"s3://{bucket}/{key}")
        if body is None:
            raise NotFoundError(f"no object s3://{bucket}/{key}")
        kind, encoding = mimetypes.guess_type(key)
        status, headers, body = _answer(kind or (TEXT if encoding else "application/octet-stream"), body, OBJECT_POLICY)
        return status, [*headers, *([("Content-Encoding", "gzip")] if encoding == "gzip" else [])], body


def respond(
    browser: Browser, environ: dict[str, Any], path: str, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answer a request for one of the pages as WSGI has it; `path` is decoded and below `PREFIX`."""
    try:
        status, headers, body = browser.answer(environ["REQUEST_METHOD"], path, environ["wsgi.input"].read())
    except NotFoundError as error:
        _, headers, body = _page("Not found", f"{_up()}<h1>Not found</h1><p>{escape(str(error))}</p>")
        status = "404 Not Found"
    start_response(status, headers)
    return [body]


def _answer(kind: str, body: bytes, policy: str) -> Answer:
    headers = [("Content-Type", kind), ("Content-Security-Policy", policy), ("X-Content-Type-Options", "nosniff")]
    return "200 OK", headers, body


def _page(title: str, content: str, *, refresh: bool = False, script: bool = False) -> Answer:
    head = '<meta http-equiv="refresh" content="5">' if refresh else ""
    end = f'<script src="{PREFIX}/browser.js"></script>' if script else ""
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}'
        f'<link rel="stylesheet" href="{PREFIX}/browser.css"></head><body><main>{content}</main>{end}</body></html>'
    )
    return _answer(HTML, text.encode(), POLICY)


def _link(path: str, text: str) -> str:
    return f'<a href="{PREFIX}/{quote(path)}">{escape(text)}</a>'


def _up(path: str = "", text: str = "Local AWS") -> str:
    return f'<nav aria-label="Up">{_link(path, text)}</nav>'


def _parent(bucket: str, prefix: str) -> tuple[str, str]:
    """Return path and name of the page above a folder's."""
    if not prefix:
        return "", "Local AWS"
    above = prefix.rstrip("/").rpartition("/")[0]
    above = f"{above}/" if above else ""
    return f"s3/{bucket}/{above}", f"s3://{bucket}/{above}"


def _state(state: str) -> str:
    return f'<b class="{"bad" if "ERROR" in state or state == "FAILED" else "state"}">{escape(state)}</b>'


def _time(moment: Any) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else "–"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table; the cells of `rows` are HTML."""
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{head[0]}s">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
