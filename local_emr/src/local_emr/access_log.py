"""A record of every AWS call, as IAM sees it: the base of a policy that allows what was done and nothing else.

Each line is a JSON object with `caller` (an access key), `action`, `resource` and `conditions`; calls that one caller makes
again and again are written once.
"""

import io
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

from local_emr.emr import protocol
from local_emr.emr.registry import Registry
from local_emr.http_server import Application, Environ, StartResponse
from local_emr.iam_calls import Call, emr_calls, other_calls, s3_calls

CREDENTIAL = re.compile(
    r"Credential=(?P<caller>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request", re.IGNORECASE
)


class AccessLog:
    """The WSGI application of an endpoint whose calls are recorded.

    Args:
        application: answers the requests.
        registry: knows the tags of clusters.
        file: to append to; it is created.
    """

    def __init__(self, application: Application, registry: Registry, file: Path) -> None:
        self._application = application
        self._registry = registry
        self._file = file
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        file.touch()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Record one request, then answer it."""
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        signature = environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", ""))
        if signer := CREDENTIAL.search(signature):
            for call in self._calls(environ, body, signer["service"], signer["region"]):
                self._write(signer["caller"], call)
        return self._application(environ, start_response)

    def _calls(self, environ: Environ, body: bytes, service: str, region: str) -> Iterable[Call]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith(protocol.TARGET_PREFIX):
            return emr_calls(
                self._registry, target.removeprefix(protocol.TARGET_PREFIX), json.loads(body or b"{}"), region
            )
        if service == "s3":
            return s3_calls(environ, body)
        return other_calls(service, environ, body, region)

    def _write(self, caller: str, call: Call) -> None:
        line = json.dumps({"caller": caller, **asdict(call)}, sort_keys=True)
        with self._lock:
            if line not in self._seen:
                self._seen.add(line)
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(line + "\n")
