"""A threaded HTTP/1.1 server for one WSGI application, with keep-alive.

Werkzeug's own server, which moto uses, closes the connection after every answer; a pipeline that reads thousands of
objects then spends its time on TCP handshakes. This one reads the whole body first, so that the next request line is
where it should be, and sends each answer in one write.
"""

import contextlib
import io
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from http.server import HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import DechunkedInput


class ConnectionDropped(Exception):  # noqa: N818 - an instruction to the server, not an error of it
    """Raised by the application to close the connection without an answer, or after part of one."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__("connection dropped on demand")
        self.sent = sent


Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]


def collect(application: Application, environ: Environ) -> tuple[str, Headers, bytes]:
    """Return the whole answer of a WSGI application: status, headers and body."""
    started: list[tuple[str, Headers]] = []

    def start_response(status: str, headers: Headers, *_: Any) -> None:
        started[:] = [(status, headers)]

    chunks = application(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close:
            close()
    return *started[0], body


class _Handler(MotoRequestHandler):
    """Answers requests on one connection until either side closes it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: "Server"  # type: ignore[assignment]

    def run_wsgi(self) -> None:
        """Answer one request."""
        if self.headers.get("Expect", "").strip().lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        environ = self.make_environ()
        body = self._read_body(environ)
        if body is None:
            return
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        try:
            status, headers, payload = collect(self.server.application, environ)
        except ConnectionDropped as dropped:
            self.wfile.write(dropped.sent)
            self.wfile.flush()
            self.close_connection = True
            return
        except Exception:  # noqa: BLE001 - a bug in a handler must not take the server down
            traceback.print_exc()
            status, headers, payload = "500 Internal Server Error", [("Content-Type", "text/plain")], b"local_emr bug\n"
        self._send(status, headers, payload)

    def _read_body(self, environ: dict[str, Any]) -> bytes | None:
        """Return the request's body, or None if the client hung up while sending it."""
        if environ.get("wsgi.input_terminated"):
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            return io.BufferedReader(DechunkedInput(self.rfile)).read()  # type: ignore[arg-type, type-var]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            self.close_connection = True
            return None
        return body

    def _send(self, status: str, headers: Iterable[tuple[str, str]], payload: bytes) -> None:
        code, _, message = status.partition(" ")
        self.send_response(int(code), message)
        has_length = False
        for name, value in headers:
            lowered = name.lower()
            if lowered in {"connection", "transfer-encoding", "date", "server"}:
                continue
            has_length = has_length or lowered == "content-length"
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or int(code) in {204, 304}
        if not has_length and int(code) not in {204, 304}:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(payload)
        self.wfile.flush()

    def log_request(self, *_: Any, **__: Any) -> None:
        """Log nothing: one line per S3 request would drown everything else."""

    def log_message(self, *_: Any, **__: Any) -> None:
        """Log nothing: client disconnects are expected."""


class Server(ThreadingMixIn, HTTPServer):
    """Serves `application` on `host:port` (port 0: any free one) from a background thread until `stop`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    ssl_context = None
    multithread = True
    multiprocess = False
    _server_version = "local_emr"

    def __init__(self, host: str, port: int, application: Any) -> None:
        self.application = application
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._connections_lock = threading.Lock()
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="local_emr-http")

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse DNS look-up of the host, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, close every open connection and wait for their threads."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._connections_lock:
            open_connections = dict(self._connections)
        for connection, thread in open_connections.items():
            with contextlib.suppress(OSError):  # the client may have been faster
                connection.shutdown(socket.SHUT_RDWR)
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, which `stop` can find."""
        with self._connections_lock:
            self._connections[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                self._connections.pop(request, None)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Print a traceback, unless a client has disconnected: that is expected."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()
