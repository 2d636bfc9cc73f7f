"""Files and S3 objects under one kind of name.

A URI here is plain text, never percent-encoded: `s3://bucket/images/Apple Pink Lady/r_1 100%.jpg` names exactly that
key, `file:///a#b` exactly that file. Only the scheme is interpreted.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

from spark_jobs import files
from spark_jobs.errors import JobError, without_credentials
from spark_jobs.stored import Stored

# What browsers need to show an object instead of saving it. Not the mimetypes module: it differs from machine to machine.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
}


def normalize(uri: str) -> str:
    """Return `uri` with its scheme: a plain path becomes an absolute `file://` URI; no trailing slash."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return f"file://{os.path.abspath(uri)}"  # noqa: PTH100 - Path.absolute keeps ..
    if scheme in ("s3a", "s3n"):
        scheme = "s3"
    return f"{scheme}://{rest.rstrip('/')}"


def join(uri: str, *parts: str) -> str:
    """Return the URI of `parts` below `uri`."""
    return "/".join([normalize(uri), *parts])


def local_path(uri: str) -> str:
    """Return the path of a file.

    Raises:
        JobError: `uri` is not of this machine's files.
    """
    place, path = _place(uri)
    if place is not files:
        raise JobError(f"{uri}: not a file of this machine")
    return path


def _place(uri: str) -> tuple[ModuleType, str]:
    """Return the module that reads and writes `uri`, and the path that it takes (for S3, `bucket/key`).

    Raises:
        JobError: the scheme is neither file:// nor s3://.
    """
    scheme, _, path = normalize(uri).partition("://")
    if scheme == "file":
        return files, path
    if scheme == "s3":
        from spark_jobs import s3  # half a second that jobs on files need not spend

        return s3, path
    raise JobError(f"{uri}: {scheme}:// is not supported: give a file, file:// or s3://")


@contextmanager
def _naming(uri: str, action: str) -> Iterator[None]:
    """Turn whatever a client raises in the block into a `JobError` that names `uri`; `action` is a past participle."""
    try:
        yield
    except JobError:
        raise
    except FileNotFoundError as error:
        raise JobError(f"{uri}: not found") from error
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be {action}: {without_credentials(error) or error}") from error


def exists(uri: str) -> bool:
    """Say whether `uri` names a file, an object or a non-empty folder.

    Raises:
        JobError: nobody can tell; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "looked up"):
        return bool(place.exists(path))


def read_bytes(uri: str) -> bytes:
    """Return the whole content of `uri`.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "read"):
        return bytes(place.read(path))


def read_end(uri: str, size: int) -> tuple[bytes, Stored]:
    """Return the last `size` bytes of `uri`, or all of it if it is shorter, and what it is, in one request.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "read"):
        content, stored = place.read_end(path, size)
        return bytes(content), Stored(*stored)


@contextmanager
def open_for_reading(uri: str, size: int | None = None) -> Iterator[Any]:
    """Open a seekable stream of `uri` that reads exactly what it is asked for.

    Args:
        uri: of the file or object.
        size: in bytes, if it is known: saves a request.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "read"), place.open_for_reading(path, size) as stream:
        yield stream


def write_bytes(uri: str, content: bytes) -> Stored:
    """Write `content` to `uri` in one request, making folders as needed: readers see the former content or the new one.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    written = _put(uri, content, replace=True)
    assert written
    return written


def create(uri: str, content: bytes) -> Stored | None:
    """Write `content` to `uri` in one request unless something is there; return what this call wrote, if it did.

    Of several calls at the same time one writes: S3 refuses the others (`If-None-Match`), as a file system refuses a
    second link of the same name.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    return _put(uri, content, replace=False)


def _put(uri: str, content: bytes, *, replace: bool) -> Stored | None:
    place, path = _place(uri)
    options = {} if place is files else {"content_type": _content_type(path)}
    try:
        written: Stored | None = place.put(path, content, replace=replace, **options)
        return written
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be written: {error}") from error


def _content_type(path: str) -> str:
    return CONTENT_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def read_json(uri: str) -> Any:
    """Return the JSON document at `uri`.

    Raises:
        JobError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise JobError(f"{uri}: not JSON: {error}") from error


def write_json(uri: str, document: Any) -> None:
    """Write `document` to `uri` as indented JSON."""
    write_bytes(uri, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def list_files(uri: str) -> dict[str, int]:
    """Return the size of every file or object below the folder `uri`, in bytes, by its path in the folder, sorted.

    Raises:
        JobError: it cannot be listed; the message names it.
    """
    return {name: stored.size for name, stored in list_stored(uri).items()}


def list_stored(uri: str) -> dict[str, Stored]:
    """Return every file or object below the folder `uri` by its path in the folder, sorted.

    Raises:
        JobError: it cannot be listed; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "listed"):
        return dict(sorted(place.list_stored(path).items()))


def delete_file(uri: str) -> None:
    """Delete the file or object `uri`, if there is one; never a folder.

    Raises:
        JobError: it cannot be deleted; the message names it.
    """
    place, path = _place(uri)
    with _naming(uri, "deleted"):
        place.delete(path)
