"""Objects in S3; `uris` says what each function of a path, `bucket/key`, means, and turns what it raises into a `JobError`."""

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from spark_jobs.s3_clients import bucket_store, client
from spark_jobs.stored import Stored

if TYPE_CHECKING:
    from obstore import GetOptions

T = TypeVar("T")

_CREATE_ATTEMPTS = 3
_BODY_ATTEMPTS = 3  # when a response body breaks off

log = logging.getLogger(__name__)


def code_of(error: BaseException) -> str:
    """Return S3's code of an error, or an empty text if S3 did not answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _names(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def exists(path: str) -> bool:
    """Say whether there is an object, or one below it."""
    with suppress(FileNotFoundError):
        size_of(path)
        return True
    bucket, _, key = path.partition("/")
    folder = f"{key}/" if key else ""
    return client().list_objects_v2(Bucket=bucket, Prefix=folder, MaxKeys=1)["KeyCount"] > 0


def size_of(path: str) -> int:
    """Return an object's size in bytes.

    Raises:
        FileNotFoundError: there is no such object.
    """
    if path.endswith("/") or "/" not in path:
        raise FileNotFoundError(path)
    try:
        return int(client().head_object(**_names(path))["ContentLength"])
    except ClientError as error:
        if code_of(error) == "404":  # the answer to HEAD has no body, hence no name
            raise FileNotFoundError(path) from error
        raise


def read(path: str) -> bytes:
    """Return an object's content."""
    with _missing(path):
        return fetch(path)[0]


def read_end(path: str, size: int) -> tuple[bytes, Stored]:
    """Return an object's last bytes, and what it is."""
    try:
        with _missing(path):
            return fetch(path, end=size)
    except ClientError as error:
        if code_of(error) == "InvalidRange":  # an empty object has no last byte
            return b"", Stored(0, "")
        raise


@contextmanager
def _missing(path: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) == "NoSuchKey":
            raise FileNotFoundError(path) from error
        raise


def _anything(_: Stored) -> None:
    """Accept it."""


def fetch(path: str, accept: Callable[[Stored], None] = _anything, *, end: int | None = None) -> tuple[bytes, Stored]:
    """Return an object's content, and what the object is; with obstore, or with botocore where that fails.

    Args:
        path: of the object.
        accept: called with what the object is before its content is read; it may raise an error of its own.
        end: how many bytes, the last ones; None for all.

    Raises:
        Exception: what `accept` raises, or one of botocore's many kinds.
    """
    part = {} if end is None else {"Range": f"bytes=-{end}"}
    return _fetch_fast(path, accept, end) or _fetch_thoroughly(path, accept, **part)


def _fetch_fast(path: str, accept: Callable[[Stored], None], end: int | None) -> tuple[bytes, Stored] | None:
    """Do it with obstore, a ninth to a sixth of the processor time; return None if that fails, for whatever reason."""
    bucket, _, key = path.partition("/")
    if not key or key.startswith("/") or key.endswith("/"):  # obstore would leave the slash out
        return None
    options: GetOptions = {} if end is None else {"range": {"suffix": end}}
    if (response := _tried(path, lambda: bucket_store(bucket).get(key, options=options))) is None:
        return None
    stored = Stored(response.meta["size"], (response.meta["e_tag"] or "").strip('"'))
    accept(stored)
    content = _tried(path, lambda: response.bytes().to_bytes())
    return None if content is None else (content, stored)


def _tried(path: str, request: Callable[[], T]) -> T | None:
    try:
        return request()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - obstore's kinds of error say too little: botocore's answer decides
        log.debug("%s: obstore: %s", path, error)
        return None


def _fetch_thoroughly(path: str, accept: Callable[[Stored], None], **part: str) -> tuple[bytes, Stored]:
    """Do it with botocore; only a body that breaks off is requested again here, the client retries the rest."""
    for attempt in range(1, _BODY_ATTEMPTS + 1):
        response = client().get_object(**_names(path), **part)
        with response["Body"] as body:
            whole = response.get("ContentRange", "").rpartition("/")[2]
            stored = Stored(int(whole or response["ContentLength"]), _etag(response))
            accept(stored)
            try:
                return bytes(body.read()), stored
            except Exception:
                if attempt == _BODY_ATTEMPTS:
                    raise
        time.sleep(0.2 * attempt)
    raise AssertionError


class _Reader(io.RawIOBase):
    """A seekable stream of an object that requests exactly what is read."""

    def __init__(self, path: str, size: int | None) -> None:
        self._path = path
        self._size = size_of(path) if size is None else size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        with _missing(self._path):
            content, _ = _fetch_thoroughly(self._path, _anything, Range=f"bytes={self._position}-{end - 1}")
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_for_reading(path: str, size: int | None = None) -> io.RawIOBase:
    """Open an object; with a request for its size, unless that is known."""
    return _Reader(path, size)


def put(path: str, content: bytes, *, replace: bool, content_type: str) -> Stored | None:
    """Write an object in one request, unless it is there and not to be replaced. Return what was written, if it was."""
    condition = {} if replace else {"IfNoneMatch": "*"}
    for attempt in range(1, _CREATE_ATTEMPTS + 1):
        try:
            response = client().put_object(**_names(path), Body=content, ContentType=content_type, **condition)
            return Stored(len(content), _etag(response))
        except ClientError as error:
            if code_of(error) == "PreconditionFailed" and not replace:
                return None
            # Another request for the same key was under way; S3 asks to try again, botocore does not.
            if code_of(error) != "ConditionalRequestConflict" or attempt == _CREATE_ATTEMPTS:
                raise
    raise AssertionError


def list_stored(path: str) -> dict[str, Stored]:
    """Return every object below a folder by its path in it; keys that end with a slash only mark folders."""
    bucket, _, folder = path.partition("/")
    prefix = f"{folder}/" if folder else ""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [entry for page in pages for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
    return {entry["Key"].removeprefix(prefix): Stored(entry["Size"], _etag(entry)) for entry in found}


def delete(path: str) -> None:
    """Delete an object, if there is one."""
    client().delete_object(**_names(path))
