"""Many images read at once, ahead of the engine, within a bound on memory."""

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from spark_jobs import storage
from spark_jobs.rejects import Reason, Rejected

# One image of more bytes than this is rejected unread: what a 50-million-pixel PNG takes.
MAX_BYTES = 100_000_000

# While the engine works on one window of images the next one is read. 64 images keep it busy for half a second:
# enough to hide two rounds of 32 requests at 100 ms each.
WINDOW_IMAGES = 64
WINDOW_BYTES = 32_000_000
CONCURRENCY = 32

_ATTEMPTS = 3  # at a body that breaks off; the S3 client retries requests itself
_FILE_ETAG = re.compile(r"[0-9a-f]{12,}-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Source:
    """One row of the manifest: an image as it was listed.

    Attributes:
        path: its URI, unquoted.
        label: name of the folder that holds it.
        etag: its version; S3's ETag without quotes, for files see `file_etag`.
        size: in bytes.
    """

    path: str
    label: str | None
    etag: str | None
    size: int | None


Content = bytes | Rejected
Outcome = tuple[Source, Content]


def file_etag(mtime_ns: int, size: int) -> str:
    """Return the version of a file on disk, which has no ETag of its own."""
    return f"{mtime_ns:x}-{size:x}"


def read_ahead(
    sources: Iterable[Source], read: Callable[[Sequence[Source]], list[Content]] | None = None
) -> Iterator[Outcome]:
    """Yield each source with its content or the reason why there is none, in order.

    The next window is read by a thread while the caller works on this one: at most two windows, and one image more
    than a window's bytes, are in memory.

    Args:
        sources: consumed one window ahead.
        read: reads a window; `read_many` unless a test has its own.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead:
        upcoming: Future[list[Outcome]] | None = None
        for window in windows(sources):
            following = ahead.submit(_read_window, window, read or read_many)
            if upcoming is not None:
                yield from _drained(upcoming)
            upcoming = following
        if upcoming is not None:
            yield from _drained(upcoming)


def windows(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Cut sources into windows of at most WINDOW_IMAGES and, but for a single larger one, WINDOW_BYTES.

    The first windows are short: the engine starts after a handful of images, not after a full window.
    """
    window: list[Source] = []
    size, longest = 0, WINDOW_IMAGES // 8
    for source in sources:
        source_size = source.size or 0
        if window and (len(window) >= longest or size + source_size > WINDOW_BYTES):
            yield window
            window, size, longest = [], 0, min(longest * 2, WINDOW_IMAGES)
        window.append(source)
        size += source_size
    if window:
        yield window


def read_many(sources: Sequence[Source]) -> list[Content]:
    """Read images concurrently; every failure is in its place as a `Rejected`."""
    remote = [index for index, source in enumerate(sources) if source.path.startswith(("s3://", "s3a://"))]
    contents: list[Content] = [b""] * len(sources)
    if remote:
        for index, content in zip(remote, _read_s3([sources[index] for index in remote]), strict=True):
            contents[index] = content
    local = sorted(set(range(len(sources))) - set(remote))
    if local:
        with ThreadPoolExecutor(8) as threads:
            for index, content in zip(local, threads.map(_read_file, [sources[index] for index in local]), strict=True):
                contents[index] = content
    return contents


def _read_window(window: list[Source], read: Callable[[Sequence[Source]], list[Content]]) -> list[Outcome]:
    return list(zip(window, read(window), strict=True))


def _drained(window: Future[list[Outcome]]) -> Iterator[Outcome]:
    outcomes = window.result()
    outcomes.reverse()
    while outcomes:  # each image's bytes are let go as soon as the caller has done with them
        yield outcomes.pop()


# ---------------------------------------------------------------- files and anything else fsspec knows
def _read_file(source: Source) -> Content:
    try:
        _check_size(source.size or 0)
        fs, path = storage.filesystem(source.path)
        with fs.open(path, "rb", cache_type="none") as stream:
            if hasattr(stream, "fileno"):
                _check_file(source, stream.fileno())
            return stream.read(MAX_BYTES + 1)
    except Rejected as rejected:
        return rejected
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return Rejected(Reason.NOT_FOUND, str(error))
    except PermissionError as error:
        return Rejected(Reason.ACCESS_DENIED, str(error))
    except TimeoutError as error:
        return Rejected(Reason.READ_TIMEOUT, str(error))
    except Exception as error:  # one image must not end the run  # noqa: BLE001
        return Rejected(Reason.READ_ERROR, f"{type(error).__name__}: {error}")


def _check_file(source: Source, descriptor: int) -> None:
    status = os.fstat(descriptor)
    _check_size(status.st_size)
    found = file_etag(status.st_mtime_ns, status.st_size)
    # Only a version made by file_etag can be compared; a listing of another kind leaves its own in the manifest.
    if source.etag and _FILE_ETAG.fullmatch(source.etag) and found != source.etag:
        raise Rejected(Reason.CHANGED, f"was {source.etag} when listed, is {found}")


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{size} bytes; the limit is {MAX_BYTES}")


# ---------------------------------------------------------------- S3
def _read_s3(sources: Sequence[Source]) -> list[Content]:
    from fsspec.asyn import sync

    fs, _ = storage.filesystem(sources[0].path)
    return sync(fs.loop, _gather, fs, sources)


async def _gather(fs: Any, sources: Sequence[Source]) -> list[Content]:
    await fs.set_session()
    limit = asyncio.Semaphore(CONCURRENCY)

    async def one(source: Source) -> Content:
        async with limit:
            return await _read_object(fs.s3, source)

    return await asyncio.gather(*(one(source) for source in sources))


async def _read_object(client: Any, source: Source) -> Content:
    """Read one object with one GET; only a body that breaks off is asked for again here, the client does the rest."""
    bucket, _, key = source.path.partition("://")[2].partition("/")
    failure: Content = Rejected(Reason.READ_ERROR, "not tried")
    for attempt in range(_ATTEMPTS):
        await asyncio.sleep(0.2 * attempt)
        try:
            _check_size(source.size or 0)
            response = await client.get_object(Bucket=bucket, Key=key)
        except Rejected as rejected:
            return rejected
        except Exception as error:  # one image must not end the run  # noqa: BLE001
            return _s3_rejected(error)
        try:
            async with response["Body"] as body:
                _check_object(source, response)
                return await body.read()
        except Rejected as rejected:
            return rejected
        except Exception as error:  # likewise  # noqa: BLE001
            failure = _s3_rejected(error)
    return failure


def _check_object(source: Source, response: dict[str, Any]) -> None:
    _check_size(response["ContentLength"])
    found, expected = response.get("ETag", "").strip('"'), (source.etag or "").strip('"')
    if expected and found != expected:
        raise Rejected(Reason.CHANGED, f"ETag was {expected} when listed, is {found}")


def _s3_rejected(error: Exception) -> Rejected:
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:  # botocore's ClientError
        code = str(response["Error"].get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        detail = f"{code}: {response['Error'].get('Message', '')}"
        if code in ("NoSuchKey", "NoSuchBucket") or status == 404:
            return Rejected(Reason.NOT_FOUND, detail)
        if code in ("RequestTimeout", "SlowDown"):
            return Rejected(Reason.READ_TIMEOUT, detail)
        if status in (401, 403):
            return Rejected(Reason.ACCESS_DENIED, detail)
        return Rejected(Reason.READ_ERROR, detail)
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return Rejected(Reason.READ_TIMEOUT, f"{name}: {error}")
    return Rejected(Reason.READ_ERROR, f"{name}: {error}")
