"""Files and S3 objects under one kind of name.

A URI here is plain text, never percent-encoded: `s3://bucket/images/Apple Pink Lady/r_1 100%.jpg` names exactly that
key, `file:///a#b` exactly that file. Only the scheme is interpreted.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from spark_jobs.sessions import JobError

# No listing cache: a job asks for what it has just written. The rest bounds how long a dead endpoint can hold a job.
_S3_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 20,
        "retries": {"mode": "standard", "max_attempts": 4},
        "max_pool_connections": 64,
    },
}


def normalize(uri: str) -> str:
    """Return `uri` with its scheme: a plain path becomes an absolute `file://` URI; no trailing slash."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return f"file://{os.path.abspath(uri)}"
    if scheme in ("s3a", "s3n"):
        scheme = "s3"
    return f"{scheme}://{rest.rstrip('/')}"


def join(uri: str, *parts: str) -> str:
    """Return the URI of `parts` below `uri`."""
    return "/".join([normalize(uri), *parts])


def parent(uri: str) -> str:
    """Return the URI of the folder that holds `uri`."""
    return normalize(uri).rpartition("/")[0]


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec filesystem of `uri` and the path in it (for S3, `bucket/key`).

    Raises:
        JobError: the scheme has no filesystem here.
    """
    scheme, _, path = normalize(uri).partition("://")
    options = {"s3": _S3_OPTIONS, "file": {"auto_mkdir": True}}.get(scheme, {})
    try:
        return fsspec.filesystem(scheme, **options), path
    except (ValueError, ImportError) as error:
        raise JobError(f"{uri}: no filesystem for {scheme}://: {error}") from error


def exists(uri: str) -> bool:
    """Say whether `uri` names a file, an object or a non-empty folder."""
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Return the whole content of `uri`.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise JobError(f"{uri}: not found") from error
    except Exception as error:  # each client has its own; the job says what it could not read
        raise JobError(f"{uri}: cannot be read: {error}") from error


@contextmanager
def create(uri: str, part_bytes: int | None = None) -> Iterator[Any]:
    """Give a stream that writes the file `uri`, folders made as needed; it may be there before the block ends.

    Args:
        uri: of the file.
        part_bytes: of one part of an upload to S3, if not its client's own choice.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "wb", block_size=part_bytes) as stream:
            yield stream
    except JobError:
        raise  # about another file, which the block read
    except Exception as error:  # each client has its own; the job says what it could not write
        raise JobError(f"{uri}: cannot be written: {error}") from error


def write_bytes(uri: str, content: bytes) -> None:
    """Write `content` to `uri` in one request, folders made as needed.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    with create(uri) as stream:
        stream.write(content)


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
    """Write `document` to `uri` as JSON that a person can read."""
    write_bytes(uri, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def delete(uri: str) -> None:
    """Delete the file or folder `uri`; nothing happens where there is none."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def delete_empty_folder(uri: str) -> None:
    """Delete the folder `uri` if nothing is in it; S3 has no empty folders."""
    fs, path = filesystem(uri)
    if fs.isdir(path) and not fs.ls(path):
        fs.rm(path, recursive=True)
