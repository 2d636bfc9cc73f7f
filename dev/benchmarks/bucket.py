"""A bucket on this machine: files in a folder, and millions of images that are in its listing only.

python -m benchmarks.bucket FOLDER IMAGES LATENCY_MS: serves until it is terminated; prints its address.
"""

import hashlib
import io
import json
import re
import sys
import time
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUCKET, REGION, FOLDERS, PAGE = "bench", "eu-west-3", 100, 1000


def image(number: int, images: int) -> tuple[str, str]:
    """Return key and ETag of an image; keys are in order of their numbers."""
    folder = number * FOLDERS // images
    return f"images/Variety {folder:03}/{number:09}_100.jpg", hashlib.md5(b"%d" % number).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers what boto3 and Arrow ask of S3 to list, read and write."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    images: int
    latency: float
    requests = 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def parse_request(self) -> bool:
        """Refuse a key that leads out of the folder, whatever is asked about it."""
        if not super().parse_request():
            return False
        if self.file().resolve().is_relative_to(self.folder.resolve()):
            return True
        self.body()  # or the next request would begin with it
        self.answer(403)
        return False

    def file(self) -> Path:
        key = urllib.parse.unquote(self.path.partition("?")[0]).removeprefix(f"/{BUCKET}").strip("/")
        return self.folder / key if key else self.folder

    def route(self) -> tuple[Path, dict[str, str]]:
        Handler.requests += 1
        time.sleep(self.latency)
        query = self.path.partition("?")[2]
        return self.file(), dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"x-amz-bucket-region": REGION, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Describe the bucket or an object."""
        file, _ = self.route()
        if file.is_file():
            self.answer(200, b"", {**described(file), "Content-Length": str(file.stat().st_size)})
        else:
            self.answer(200 if file == self.folder else 404)

    def do_GET(self) -> None:
        """Return a page of a listing, or an object, or a range of it; or how many requests there were before."""
        if self.path == "/_requests":
            self.answer(200, b"%d" % self.requests)
            return
        file, query = self.route()
        if "list-type" in query:
            self.answer(200, self.page(query).encode())
        elif not file.is_file():
            self.answer(404, b"<Error><Code>NoSuchKey</Code><Message/></Error>")
        else:
            size = file.stat().st_size
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            start, end = 0, size - 1
            if asked and asked[1]:
                start, end = int(asked[1]), min(int(asked[2] or size), end)
            elif asked:  # the last bytes
                start = max(0, size - int(asked[2]))
            with file.open("rb") as stream:
                stream.seek(start)
                body = stream.read(end - start + 1)
            part = {"Content-Range": f"bytes {start}-{end}/{size}"} if asked else {}
            self.answer(206 if asked else 200, body, described(file) | part)

    def do_PUT(self) -> None:
        """Write an object, or a part of one."""
        file, query = self.route()
        body = self.body()
        if "partNumber" in query:
            file = file.with_name(f"{file.name}.{int(query['partNumber']):05}.upload")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        self.answer(200, b"", described(file))

    def do_POST(self) -> None:
        """Begin an upload in parts, or end it."""
        file, query = self.route()
        self.body()
        if "uploads" not in query:
            with file.open("wb") as whole:
                for part in sorted(file.parent.glob(f"{file.name}.*.upload")):
                    whole.write(part.read_bytes())
                    part.unlink()
        kind = "InitiateMultipartUploadResult" if "uploads" in query else "CompleteMultipartUploadResult"
        self.answer(200, f"<{kind}><UploadId>1</UploadId><ETag>e</ETag></{kind}>".encode())

    def body(self) -> bytes:
        """Return what was sent: Arrow sends it in chunks, of HTTP's or of S3's own kind."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = unchunked(self.rfile)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return unchunked(io.BytesIO(content)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else content

    def page(self, query: dict[str, str]) -> str:
        """Return an answer to ListObjectsV2."""
        prefix, after = query.get("prefix", ""), query.get("start-after", "")
        folders = ""
        if prefix != "images/":
            found = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
            names = [(file.relative_to(self.folder).as_posix(), etag(file), file.stat().st_size) for file in found]
            names = [name for name in names if name[0].startswith(prefix)]
            start = int(query.get("continuation-token", 0))
            items, total = names[start : start + PAGE], len(names)
        elif "delimiter" in query:
            items, start, total = [], 0, 0
            folders = "".join(
                f"<CommonPrefixes><Prefix>images/Variety {number:03}/</Prefix></CommonPrefixes>"
                for number in range(FOLDERS)
            )
        else:
            begin = int(after.split()[-1][:3]) * self.images // FOLDERS if after else 0
            start, total = int(query.get("continuation-token", begin)), self.images
            items = [(*image(number, total), 5000) for number in range(start, min(start + PAGE, total))]
        more = start + PAGE < total
        encode = urllib.parse.quote_plus if "encoding-type" in query else str
        contents = "".join(
            f"<Contents><Key>{encode(key)}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>"
            f"<ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key, tag, size in items
        )
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<EncodingType>{query.get('encoding-type', '')}</EncodingType><IsTruncated>{json.dumps(more)}</IsTruncated>{token}{contents}{folders}</ListBucketResult>"
        )


def described(file: Path) -> dict[str, str]:
    return {"ETag": etag(file), "Last-Modified": formatdate(usegmt=True)}


def unchunked(stream: io.BufferedIOBase) -> bytes:
    """Return the content of chunks, each after a line with its length in hexadecimal; what follows the last are headers."""
    chunks = []
    while length := int(stream.readline().partition(b";")[0], 16):
        chunks.append(stream.read(length))
        stream.readline()
    while stream.readline().strip():
        pass
    return b"".join(chunks)


def etag(file: Path) -> str:
    """Return another ETag for another size or time of writing."""
    status = file.stat()
    return f'"{status.st_size:x}-{status.st_mtime_ns:x}"'


def main(folder: str, images: str, milliseconds: str) -> None:
    Handler.folder, Handler.images, Handler.latency = Path(folder), int(images), int(milliseconds) / 1000
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
