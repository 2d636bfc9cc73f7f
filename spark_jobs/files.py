"""Files on this machine; `uris` says what each function means, and turns what it raises into a `JobError`."""

import os
import uuid
from pathlib import Path
from typing import BinaryIO

from spark_jobs.stored import Stored


def exists(path: str) -> bool:
    """Say whether there is a file or folder."""
    return Path(path).exists()


def read(path: str) -> bytes:
    """Return a file's content."""
    return Path(path).read_bytes()


def read_end(path: str, size: int) -> tuple[bytes, Stored]:
    """Return a file's last bytes, and what it is."""
    with Path(path).open("rb") as stream:
        whole = stream.seek(0, os.SEEK_END)
        stream.seek(-min(size, whole), os.SEEK_END)
        return stream.read(), Stored(whole, "")


def open_for_reading(path: str, size: int | None = None) -> BinaryIO:  # noqa: ARG001 - S3's need it
    """Open a file, without a buffer: it reads what it is asked for."""
    return Path(path).open("rb", buffering=0)


def put(path: str, content: bytes, *, replace: bool) -> Stored | None:
    """Write a file under a temporary name, then give it its own: it is never there in part. Return what was given it, if so."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        if replace:
            temporary.replace(target)
        else:
            try:
                target.hardlink_to(temporary)
            except FileExistsError:
                return None
    finally:
        temporary.unlink(missing_ok=True)
    return Stored(len(content), "")


def list_stored(path: str) -> dict[str, Stored]:
    """Return every file below a folder by its path in it; none if there is no such folder."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    files = [Path(folder, name) for folder, _, names in os.walk(path, onerror=fail, followlinks=True) for name in names]
    return {str(file.relative_to(path)): Stored(file.stat().st_size, "") for file in files}


def delete(path: str) -> None:
    """Delete a file, if there is one."""
    Path(path).unlink(missing_ok=True)
