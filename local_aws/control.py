"""The control route, /_local_aws/: what AWS does not offer. The README documents it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from local_aws.emr.service import EmrService
from local_aws.faults import FaultError, Faults
from local_aws.objects import Objects

STREAMS = ("stderr", "stdout", "controller")


class Problem(Exception):  # noqa: N818 - an answer
    """Answered to the client with that status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """A small WSGI application."""

    PREFIX = "/_local_aws/"

    def __init__(self, emr: EmrService, faults: Faults, objects: Objects, reset: Callable[[], None]) -> None:
        self._emr = emr
        self._faults = faults
        self._objects = objects
        self._reset = reset

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers one request."""
        method, (head, *rest) = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(self.PREFIX).split("/")
        query = {name: values[-1] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        try:
            match method, head, rest:
                case "GET", "health", []:
                    answer: Any = {"status": "ok"}
                case "GET", "faults", []:
                    answer = {"faults": self._faults.list()}
                case "POST", "faults", []:
                    answer = self._add_fault(environ["wsgi.input"].read())
                case "DELETE", "faults", []:
                    self._faults.clear()
                    answer = {}
                case "DELETE", "faults", [fault_id]:
                    if not self._faults.remove(fault_id):
                        raise Problem("404 Not Found", f"no fault {fault_id}")
                    answer = {}
                case "POST", "reset", []:
                    self._reset()
                    answer = {}
                case "GET", "clusters", [cluster_id, "bootstrap"]:
                    answer = {"commands": self._cluster(cluster_id).bootstrap_record}
                case "GET", "clusters", [cluster_id, "steps", step_id, stream] if stream in STREAMS:
                    return self._log(cluster_id, step_id, stream, int(query.get("offset", "0")), start_response)
                case "POST", "node", [("get" | "list") as what]:
                    return self._node(what, environ["wsgi.input"].read().decode(), start_response)
                case _:
                    raise Problem(
                        "404 Not Found", f"no route {method} {environ['PATH_INFO']}; local_aws/README.md lists them"
                    )
            status = "200 OK"
        except Problem as problem:
            status, answer = problem.status, {"error": str(problem)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode() + b"\n"]

    def _add_fault(self, body: bytes) -> dict[str, Any]:
        try:
            rule = json.loads(body)
            if not isinstance(rule, dict):
                raise FaultError("a rule is a JSON object")
            return self._faults.add(**rule).description()
        except (FaultError, TypeError, ValueError) as error:
            raise Problem("400 Bad Request", str(error)) from None

    def _cluster(self, cluster_id: str) -> Any:
        cluster = self._emr.find(cluster_id)
        if cluster is None:
            raise Problem("404 Not Found", f"no cluster {cluster_id}")
        return cluster

    def _node(self, what: str, uri: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """An object, or the URIs below a prefix: for the AWS CLI of the bootstrap sandbox, a shell script."""
        body = (
            self._objects.read(uri)
            if what == "get"
            else "".join(f"{found}\n" for found in self._objects.uris(uri)).encode()
        )
        start_response("404 Not Found" if body is None else "200 OK", [("Content-Type", "application/octet-stream")])
        return [body or b""]

    def _log(
        self, cluster_id: str, step_id: str, stream: str, offset: int, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The log so far, from `offset` bytes on, as plain text; X-Next-Offset continues it."""
        step = self._cluster(cluster_id).step(step_id)
        if step is None:
            raise Problem("404 Not Found", f"no step {step_id}")
        text = b""
        path = step.log_directory / stream if step.log_directory else None
        if path and path.exists():
            with open(path, "rb") as log:
                log.seek(offset)
                text = log.read()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("X-Next-Offset", str(offset + len(text))),
            ("X-Step-State", step.state),
        ]
        start_response("200 OK", headers)
        return [text]
