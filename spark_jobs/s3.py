"""Objects in S3; `uris` says what each function of a path, `bucket/key`, means, and turns what it raises into a `JobError`."""

import io
import logging
import time
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from spark_jobs.s3_clients import bucket_store, client
from spark_jobs.stored import Stored

_CREATE_ATTEMPTS = 3
_READ_ATTEMPTS = 3

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
    return (_read_fast(path) or _read(path))[0]


def read_end(path: str, size: int) -> tuple[bytes, Stored]:
    """Return an object's last bytes, and what it is."""
    try:
        return _read_fast(path, range={"suffix": size}) or _read(path, Range=f"bytes=-{size}")
    except ClientError as error:
        if code_of(error) == "InvalidRange":  # an empty object has no last byte
            return b"", Stored(0, "")
        raise


def _read_fast(path: str, **options: Any) -> tuple[bytes, Stored] | None:
    """Return what `_read` does, with a ninth of the processor time; None if obstore fails, for whatever reason."""
    bucket, _, key = path.partition("/")
    if not key or key.startswith("/") or key.endswith("/"):  # obstore would leave the slash out
        return None
    try:
        response = bucket_store(bucket).get(key, options=options)
        content = response.bytes().to_bytes()
        return content, Stored(response.meta["size"], (response.meta["e_tag"] or "").strip('"'))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - its kinds of error say too little: botocore's answer decides
        log.debug("%s: obstore: %s", path, error)
        return None


def _read(path: str, **options: str) -> tuple[bytes, Stored]:
    """Return an object's content, or a range of it, and what the object is.

    Only a body that breaks off is requested again here, the client retries the rest.
    """
    for attempt in range(1, _READ_ATTEMPTS + 1):
        try:
            response = client().get_object(**_names(path), **options)
        except ClientError as error:
            if code_of(error) == "NoSuchKey":
                raise FileNotFoundError(path) from error
            raise
        try:
            content = bytes(response["Body"].read())
        except BotoCoreError:
            if attempt == _READ_ATTEMPTS:
                raise
            time.sleep(0.2 * attempt)
        else:
            whole = response.get("ContentRange", "").rpartition("/")[2]
            return content, Stored(int(whole or len(content)), _etag(response))
    raise AssertionError


class _Reader(io.RawIOBase):
    """A seekable stream of an object that requests exactly what is read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = size_of(path)
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
        content, _ = _read(self._path, Range=f"bytes={self._position}-{end - 1}")
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_for_reading(path: str) -> io.RawIOBase:
    """Open an object."""
    return _Reader(path)


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
