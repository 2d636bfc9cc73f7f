"""Files and S3 objects under one kind of name.

A URI here is plain text, never percent-encoded: `s3://bucket/images/Apple Pink Lady/r_1 100%.jpg` names exactly that
key, `file:///a#b` exactly that file. Only the scheme is interpreted.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from spark_jobs.errors import JobError

# What browsers need to show an object instead of saving it. Not the mimetypes module: it differs from machine to machine.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
}

# No listing cache: a job asks for what it has just written. The rest bounds how long an unreachable endpoint can block a job.
_S3_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 20,
        "retries": {"mode": "standard", "max_attempts": 10},  # a minute in all, as S3 may ask to slow down as long
        "max_pool_connections": 64,
    },
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
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be read: {error}") from error


def read_end(uri: str, size: int) -> bytes:
    """Return the last `size` bytes of `uri`, or all of it if it is shorter, in one request.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    fs, path = filesystem(uri)
    try:
        return fs.cat_file(path, start=-size)
    except FileNotFoundError as error:
        raise JobError(f"{uri}: not found") from error
    except Exception as error:  # every client raises its own exceptions
        if _s3_code(error) == "InvalidRange":  # an empty object has no last byte
            return b""
        raise JobError(f"{uri}: cannot be read: {error}") from error


@contextmanager
def open_for_reading(uri: str) -> Iterator[Any]:
    """Open a seekable stream of `uri` that reads exactly what it is asked for.

    Raises:
        JobError: it cannot be read; the message names it.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb", cache_type="none") as stream:
            yield stream
    except JobError:
        raise
    except FileNotFoundError as error:
        raise JobError(f"{uri}: not found") from error
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be read: {error}") from error


def write_bytes(uri: str, content: bytes) -> None:
    """Write `content` to `uri` in one request, making folders as needed: readers see the former content or the new one.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    _put(uri, content, replace=True)


def create(uri: str, content: bytes) -> bool:
    """Write `content` to `uri` in one request unless something is there; return whether this call wrote it.

    Of several calls at the same time one writes: S3 refuses the others (`If-None-Match`), as a file system refuses a
    second link of the same name.

    Raises:
        JobError: it cannot be written; the message names it.
    """
    return _put(uri, content, replace=False)


def _put(uri: str, content: bytes, *, replace: bool) -> bool:
    fs, path = filesystem(uri)
    try:
        if normalize(uri).startswith("file://"):
            return _put_file(Path(path), content, replace=replace)
        fs.pipe_file(path, content, mode="overwrite" if replace else "create", **_metadata(uri))
    except Exception as error:  # every client raises its own exceptions
        if not replace and _s3_code(error) == "PreconditionFailed":
            return False
        raise JobError(f"{uri}: cannot be written: {error}") from error
    return True


def _put_file(path: Path, content: bytes, *, replace: bool) -> bool:
    """Write a file under a temporary name, then give it its own: it is never there in part. Return whether it was given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        if replace:
            temporary.replace(path)
        else:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _s3_code(error: Exception) -> str:
    """Return S3's code of an error that s3fs has translated, or an empty text."""
    response = getattr(error.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _metadata(uri: str) -> dict[str, str]:
    """Return the metadata that S3 stores with the object `uri`; other file systems have none."""
    if not normalize(uri).startswith("s3://"):
        return {}
    return {"ContentType": CONTENT_TYPES.get(PurePosixPath(uri).suffix, "application/octet-stream")}


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
    fs, path = filesystem(uri)
    try:
        found = fs.find(path, detail=True)
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be listed: {error}") from error
    sizes = {name.removeprefix(path).removeprefix("/"): info["size"] for name, info in found.items()}
    return dict(sorted((name, size) for name, size in sizes.items() if name))


def delete_file(uri: str) -> None:
    """Delete the file or object `uri`, if there is one; never a folder.

    Raises:
        JobError: it cannot be deleted; the message names it.
    """
    fs, path = filesystem(uri)
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        pass
    except Exception as error:  # every client raises its own exceptions
        raise JobError(f"{uri}: cannot be deleted: {error}") from error
