"""Where each request goes: the admin route, EMR, or moto for S3, SQS, IAM and the rest."""

import io
import json
import re
import secrets
import traceback
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from local_emr import account
from local_emr.admin import Admin
from local_emr.emr import protocol
from local_emr.emr.faults import Faults
from local_emr.emr.s3_access import S3Access
from local_emr.emr.service import EmrService
from local_emr.fast_get import plain_object
from local_emr.http_server import Application, ConnectionDropped, Environ, Headers, StartResponse, collect
from local_emr.s3_errors import s3_error

CREDENTIAL_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
PRESIGNED_SCOPE = re.compile(
    r"X-Amz-Credential=[^&]+?%2F\d{8}%2F(?P<region>[^%]+)%2F(?P<service>[^%]+)%2F", re.IGNORECASE
)
CHANGING_METHODS = frozenset({"PUT", "POST", "DELETE"})
MOTO_RESET = "/moto-api/reset"  # forgets the clusters too, which moto does not know
JSON_TYPE = "application/x-amz-json-1.1"


class Gateway:
    """The WSGI application of the whole endpoint."""

    def __init__(
        self, emr: EmrService, admin: Admin, faults: Faults, s3: S3Access, region: str, quotas: dict[str, float]
    ) -> None:
        self._emr = emr
        self._admin = admin
        self._faults = faults
        self._s3 = s3
        self._region = region
        self._quotas = quotas
        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto's dispatcher lists its own directory on every request, which takes longer than reading an object.
        self._moto_s3 = create_backend_app("s3")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path.startswith(Admin.PREFIX):
            return self._admin(environ, start_response)
        if path == MOTO_RESET and environ["REQUEST_METHOD"] == "POST":
            return self._admin(environ | {"PATH_INFO": f"{Admin.PREFIX}reset"}, start_response)
        if path.startswith("/moto-api/"):
            return self._answer_moto(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        service, region = self._scope(environ)
        if target.startswith(protocol.TARGET_PREFIX):
            return self._answer_emr(environ, start_response, target.removeprefix(protocol.TARGET_PREFIX), region)
        if service == "s3":
            return self._answer_s3(environ, start_response)
        return self._answer_quota(environ, start_response) or self._answer_moto(environ, start_response)

    def _answer_emr(
        self, environ: Environ, start_response: StartResponse, operation: str, region: str
    ) -> Iterable[bytes]:
        status, answer = protocol.respond(self._emr, operation, environ["wsgi.input"].read(), region)
        if self._faults.match("lost-answer", {"operation": operation}):
            raise ConnectionDropped
        return _json(start_response, status, answer)

    def _answer_quota(self, environ: Environ, start_response: StartResponse) -> list[bytes] | None:
        """Return the answer to a request for one of EC2's quotas, which moto lacks; None to any other."""
        if environ.get("HTTP_X_AMZ_TARGET") != account.QUOTA_TARGET:
            return None
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        found = account.quota(body, self._quotas)
        return _json(start_response, 200, found) if found else None

    def _scope(self, environ: Environ) -> tuple[str, str]:
        """Return service and region that the request is signed for; an unsigned one is taken for S3."""
        found = CREDENTIAL_SCOPE.search(environ.get("HTTP_AUTHORIZATION", "")) or PRESIGNED_SCOPE.search(
            environ.get("QUERY_STRING", "")
        )
        if found:
            return found["service"], found["region"]
        form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
        return ("" if form or "HTTP_X_AMZ_TARGET" in environ else "s3"), self._region

    def _answer_s3(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        target = _s3_target(environ)
        if slow := self._faults.match("s3-latency", target):
            slow.lifted.wait(slow.fields["milliseconds"] / 1000)
        if failed := self._faults.match("s3-error", target):
            fields = failed.fields
            return s3_error(start_response, environ["REQUEST_METHOD"], fields["status"], fields["code"])
        drop = self._faults.match("s3-drop", target)
        if drop and not drop.fields["after_bytes"]:
            raise ConnectionDropped
        with self._s3.lock:
            plain = plain_object(self._s3, environ, target["bucket"], target["key"])
            if plain:
                status, headers, body = "200 OK", *plain
            else:
                status, headers, body = collect(partial(self._answer_moto, application=self._moto_s3), environ)
            if environ["REQUEST_METHOD"] in CHANGING_METHODS and status.startswith("2"):
                self._s3.on_change(target["bucket"], target["key"])
        if drop:
            raise ConnectionDropped(_raw(status, headers, body)[: drop.fields["after_bytes"]])
        start_response(status, headers)
        return [body]

    def _answer_moto(
        self, environ: Environ, start_response: StartResponse, application: Application | None = None
    ) -> Iterable[bytes]:
        """Return moto's answer; where it has none, an error that says so, in the service's own format."""
        try:
            return (application or self._moto)(environ, start_response)
        except NotImplementedError as error:
            return _not_emulated(environ, start_response, f"local_emr (moto) does not emulate this: {error}")
        except Exception as error:  # noqa: BLE001 - a bug of moto's is answered as one
            traceback.print_exc()
            return _not_emulated(
                environ, start_response, f"local_emr (moto) failed on this: {type(error).__name__}: {error}"
            )


def _s3_target(environ: Environ) -> dict[str, str]:
    path = str(environ["RAW_URI"]).partition("?")[0]
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return {"method": environ["REQUEST_METHOD"], "bucket": bucket, "key": key}


def _raw(status: str, headers: Headers, body: bytes) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def _json(start_response: StartResponse, status: int, answer: dict[str, Any]) -> list[bytes]:
    headers = [("Content-Type", JSON_TYPE), ("x-amzn-RequestId", secrets.token_hex(16))]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [json.dumps(answer).encode()]


def _not_emulated(environ: Environ, start_response: StartResponse, message: str) -> list[bytes]:
    if "HTTP_X_AMZ_TARGET" in environ:
        return _json(start_response, 400, {"__type": "NotImplementedException", "message": message})
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        start_response("400 Bad Request", [("Content-Type", "text/xml")])
        text = message.replace("&", "&amp;").replace("<", "&lt;")
        return [
            f"<ErrorResponse><Error><Type>Sender</Type><Code>NotImplemented</Code><Message>{text}</Message></Error>"
            "</ErrorResponse>".encode()
        ]
    return s3_error(start_response, environ["REQUEST_METHOD"], 501, message=message)
