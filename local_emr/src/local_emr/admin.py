"""The admin route, /_local_emr/: what AWS does not offer. The README documents it."""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, unquote

from local_emr.browser import Browser, respond
from local_emr.emr.faults import FaultError, Faults
from local_emr.emr.lifecycle import Lifecycle
from local_emr.emr.registry import Registry
from local_emr.emr.s3_access import S3Access
from local_emr.spark_history import SparkHistory

STREAMS = ("stderr", "stdout", "controller")


class HttpError(Exception):
    """An error answered to the client with that status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admin:
    """A small WSGI application."""

    PREFIX = "/_local_emr/"

    def __init__(
        self, registry: Registry, faults: Faults, s3: S3Access, history: SparkHistory, reset: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._faults = faults
        self._s3 = s3
        self._reset = reset
        self._browser = Browser(registry, s3, history)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        method, parts = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(self.PREFIX).split("/")
        if _is_page(method, parts):
            path = unquote(str(environ["RAW_URI"]).partition("?")[0]).removeprefix(self.PREFIX)
            return respond(self._browser, environ, path, start_response)
        try:
            match method, parts:
                case "GET", ["clusters", cluster_id, "steps", step_id, stream] if stream in STREAMS:
                    query = parse_qs(environ["QUERY_STRING"])
                    offset = int(query.get("offset", ["0"])[-1])
                    return self._log(cluster_id, step_id, stream, offset, start_response)
                case "POST", ["node", ("get" | "list") as what]:
                    return self._node(what, environ["wsgi.input"].read().decode(), start_response)
                case _:
                    status, answer = "200 OK", self._answer(method, parts, environ["wsgi.input"].read())
        except HttpError as error:
            status, answer = error.status, {"error": str(error)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode() + b"\n"]

    def _answer(self, method: str, parts: list[str], body: bytes) -> dict[str, Any]:
        """Return the JSON of one request."""
        match method, parts:
            case "GET", ["health"]:
                return {"status": "ok"}
            case "GET", ["faults"]:
                return {"faults": self._faults.list()}
            case "POST", ["faults"]:
                return self._add_fault(body)
            case "DELETE", ["faults"]:
                self._faults.clear()
            case "DELETE", ["faults", fault_id]:
                if not self._faults.remove(fault_id):
                    raise HttpError("404 Not Found", f"no fault {fault_id}")
            case "POST", ["reset"]:
                self._reset()
            case "GET", ["clusters", cluster_id, "bootstrap"]:
                return {"commands": self._lifecycle(cluster_id).bootstrap_record}
            case _:
                path = self.PREFIX + "/".join(parts)
                raise HttpError("404 Not Found", f"no route {method} {path}; local_emr's README lists them")
        return {}

    def _add_fault(self, body: bytes) -> dict[str, Any]:
        try:
            rule = json.loads(body)
        except ValueError as error:
            raise HttpError("400 Bad Request", f"not JSON: {error}") from None
        if not isinstance(rule, dict):
            raise HttpError("400 Bad Request", "a rule is a JSON object")
        try:
            return self._faults.add(**rule).description()
        except (FaultError, TypeError) as error:
            raise HttpError("400 Bad Request", str(error)) from None

    def _lifecycle(self, cluster_id: str) -> Lifecycle:
        found = self._registry.find(cluster_id)
        if found is None:
            raise HttpError("404 Not Found", f"no cluster {cluster_id}")
        return found

    def _node(self, what: str, uri: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer with an object, or the URIs below a prefix: for the AWS CLI of the bootstrap sandbox, a shell script."""
        body = self._s3.read(uri) if what == "get" else "".join(f"{found}\n" for found in self._s3.uris(uri)).encode()
        start_response("404 Not Found" if body is None else "200 OK", [("Content-Type", "application/octet-stream")])
        return [body or b""]

    def _log(
        self, cluster_id: str, step_id: str, stream: str, offset: int, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer with the log so far, from `offset` bytes on, as plain text; X-Next-Offset continues it."""
        step = self._lifecycle(cluster_id).cluster.step(step_id)
        if step is None:
            raise HttpError("404 Not Found", f"no step {step_id}")
        text = b""
        path = step.log_directory / stream if step.log_directory else None
        if path and path.exists():
            with path.open("rb") as log:
                log.seek(offset)
                text = log.read()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("X-Next-Offset", str(offset + len(text))),
            ("X-Step-State", step.state),
        ]
        start_response("200 OK", headers)
        return [text]


def _is_page(method: str, parts: list[str]) -> bool:
    """Say whether the request is for a page of people's."""
    match method, parts:
        case "GET", [""] | ["browser.css" | "browser.js"] | ["clusters", _] | ["clusters", _, "steps", _]:
            return True
        case "GET", ["clusters", _, "steps", _, "spark-history"] | ["clusters", _, "steps", _, "spark-history", _]:
            return True
        case "GET", ["spark-history", *_]:
            return True
        case "GET" | "PUT", ["s3", _, *_]:
            return True
    return False
