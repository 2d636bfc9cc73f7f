"""The bucket of `make bench` keeps to its folder."""

import http.client
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.bucket import BUCKET, Handler


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a bucket in a folder beside which there is a file that is none of its business."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "secret").write_text("a key")
    handler = type("Handler", (Handler,), {"folder": tmp_path / "bucket", "images": 0, "latency": 0.0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_what_is_put_can_be_read(port: int, tmp_path: Path) -> None:
    assert ask(port, "PUT", f"/{BUCKET}/features/a%20b", b"content")[0] == 200
    assert ask(port, "GET", f"/{BUCKET}/features/a%20b") == (200, b"content")
    assert ask(port, "HEAD", f"/{BUCKET}")[0] == 200
    assert (tmp_path / "bucket/features/a b").read_bytes() == b"content"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
@pytest.mark.parametrize("key", ["../secret", "%2e%2e%2fsecret", "features/../../secret"])
def test_a_key_that_leads_out_of_the_folder_is_refused(port: int, tmp_path: Path, method: str, key: str) -> None:
    status, body = ask(port, method, f"/{BUCKET}/{key}", b"" if method in {"GET", "HEAD"} else b"changed")

    assert status == 403
    assert b"a key" not in body
    assert (tmp_path / "secret").read_text() == "a key"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bucket", "secret"]
