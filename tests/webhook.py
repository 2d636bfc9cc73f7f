"""A webhook on this machine that keeps what it is told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Messages:
    """An HTTP server on 127.0.0.1 that takes POSTs of {"text": ...}."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                texts.append(json.loads(body)["text"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, part: str, seconds: float = 120) -> str:
        """Wait for a message that holds this; return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for text in [*self.texts]:
                if part in text:
                    return text
            time.sleep(0.2)
        raise AssertionError(f"nobody said {part!r}, but: {self.texts}")

    def count(self, part: str) -> int:
        """Return how many messages hold this."""
        return sum(part in text for text in self.texts)
