"""Keeps web pages of others away: the endpoint runs what it is sent, and any page in the developer's browser can send.

A browser says from where a request comes (`Origin`, `Sec-Fetch-Site`), AWS clients do not. A page whose domain resolves to
this machine (DNS rebinding) is of the same origin to the browser, but keeps its own name in `Host`.
"""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_emr.http_server import Application, Environ, Headers, StartResponse
from local_emr.pages import PREFIX
from local_emr.s3_errors import s3_error

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
OWN_PAGES = (f"{PREFIX}/", "/moto-api/")  # the first say themselves what their contents may do
SANDBOX = "sandbox allow-scripts allow-downloads"
OTHER_SITES = frozenset({"cross-site", "same-site"})  # another port of this machine is the same site


class SameOrigin:
    """The WSGI application of an endpoint that answers its own pages and what is no page.

    Args:
        application: answers the requests.
        any_host: it is reached by names that are not known here, as in a container.
    """

    def __init__(self, application: Application, *, any_host: bool) -> None:
        self._application = application
        self._any_host = any_host

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: 403 where a page of somebody else's may have made it."""
        problem = self._problem(environ)
        if problem is None:
            # Who opens S3's own address of an object may open anybody's page: that has no part in this origin either.
            if "HTTP_SEC_FETCH_DEST" in environ and not environ["PATH_INFO"].startswith(OWN_PAGES):
                start_response = _sandboxed(start_response)
            return self._application(environ, start_response)
        if "HTTP_X_AMZ_TARGET" in environ:
            start_response("403 Forbidden", [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": "AccessDeniedException", "message": problem}).encode()]
        return s3_error(start_response, environ["REQUEST_METHOD"], 403, message=problem)

    def _problem(self, environ: Environ) -> str | None:
        """Return why the request is refused, or None."""
        host = environ.get("HTTP_HOST")  # browsers and AWS clients name it; the AWS CLI of bootstrap actions does not
        if host is not None and not self._any_host and not _is_local(host):
            return (
                f"local_emr is 127.0.0.1 or localhost here, not {host}. For clients that reach it by another name, "
                "start it with --host."
            )
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None:
            if host is not None and origin.lower() == f"http://{host}".lower():
                return None
            return f"local_emr answers no page of another origin ({origin}): it runs what it is sent."
        if environ.get("HTTP_SEC_FETCH_SITE") in OTHER_SITES and not _only_shows(environ):
            return "local_emr answers no page of another origin: it runs what it is sent."
        return None


def _sandboxed(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: Headers, *rest: Any) -> Any:
        return start_response(status, [*headers, ("Content-Security-Policy", SANDBOX)], *rest)

    return start


def _only_shows(environ: Environ) -> bool:
    """Return whether a request of another site's page is a link, as Airflow's pages have, or a picture of a report in a bucket.

    Such a report is sandboxed, hence a site of its own. A link may also be a call of AWS's query API, which would be obeyed.
    """
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return False
    if environ["PATH_INFO"].startswith(f"{PREFIX}/"):
        return True
    is_link = environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
    return is_link and "Action" not in parse_qs(environ.get("QUERY_STRING", ""))


def _is_local(host: str) -> bool:
    """Return whether a Host header means this machine; `bucket.localhost` is S3's virtual-host style."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    return name in LOCAL_NAMES or name.endswith(".localhost")
