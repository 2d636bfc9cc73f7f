"""Read many images at once, ahead of the network, within a bound on memory."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.extraction.rejects import Reason, Rejected

# One image of more bytes than this is rejected unread: what a 50-million-pixel PNG takes.
MAX_BYTES = 100_000_000

# While the network works on one batch of images the next one is read. 64 images keep it busy for half a second:
# enough to hide two rounds of 32 requests at 100 ms each.
BATCH_IMAGES = 64
BATCH_BYTES = 32_000_000
# The first batches are short: the network starts after a handful of images, not after a full batch. As many refused images are
# a missing permission if none before them could be read; fewer may be closed ones that happen to come first.
FIRST_IMAGES = BATCH_IMAGES // 8

ALLOW = "allow the job's role s3:GetObject on the images, and kms:Decrypt on their key if they have one"

_FILE_ETAG = re.compile(r"[0-9a-f]{12,}-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row of the manifest: an image as it was listed.

    Attributes:
        path: its URI, not percent-encoded.
        label: name of the folder that holds it.
        etag: its version: S3's ETag without quotes; for files see `file_etag`.
        size: in bytes.
    """

    path: str
    label: str | None
    etag: str | None
    size: int | None


Content = bytes | Rejected
Outcome = tuple[ManifestRow, Content]


def file_etag(mtime_ns: int, size: int) -> str:
    """Return the version of a file on disk, which has no ETag of its own."""
    return f"{mtime_ns:x}-{size:x}"


def read_ahead(
    rows: Iterable[ManifestRow], read: Callable[[Sequence[ManifestRow]], list[Content]] | None = None
) -> Iterator[Outcome]:
    """Yield each row with its image's content, or the reason why there is none, in order.

    The next batch is read by a thread while the caller works on this one, unless it is an image of more than a batch's
    bytes: that one is read when all before it are done. So at most two batches, or it and a batch, are in memory.

    Args:
        rows: consumed one batch ahead.
        read: reads a batch; `read_many` by default.

    Raises:
        JobError: what `read_many` raises, or all images are refused: the job lacks a permission.
    """
    permission = _Permission()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead:
        upcoming: Future[list[Outcome]] | None = None
        for batch in batches(rows):
            if upcoming is not None and (batch[0].size or 0) > BATCH_BYTES:
                yield from _drained(upcoming)
                upcoming = None
            following = ahead.submit(_read_batch, batch, read or read_many, permission)
            if upcoming is not None:
                yield from _drained(upcoming)
            upcoming = following
        if upcoming is not None:
            yield from _drained(upcoming)


def batches(rows: Iterable[ManifestRow]) -> Iterator[list[ManifestRow]]:
    """Cut rows into batches of at most BATCH_IMAGES and, unless a single image is larger, BATCH_BYTES.

    The first one has `FIRST_IMAGES`, each of the next ones twice as many as the one before.
    """
    batch: list[ManifestRow] = []
    size, longest = 0, FIRST_IMAGES
    for row in rows:
        row_bytes = row.size or 0
        if batch and (len(batch) >= longest or size + row_bytes > BATCH_BYTES):
            yield batch
            batch, size, longest = [], 0, min(longest * 2, BATCH_IMAGES)
        batch.append(row)
        size += row_bytes
    if batch:
        yield batch


def read_many(rows: Sequence[ManifestRow]) -> list[Content]:
    """Read images concurrently. What is wrong with one image is a `Rejected` in its place.

    Raises:
        JobError: S3 or this machine fails, not an image: reading elsewhere or later may help.
    """
    remote = [index for index, row in enumerate(rows) if row.path.startswith(("s3://", "s3a://"))]
    contents: list[Content] = [b""] * len(rows)
    if remote:
        from spark_jobs.extraction.reading_s3 import read_objects  # files need no client of S3

        for index, content in zip(remote, read_objects([rows[index] for index in remote]), strict=True):
            contents[index] = content
    local = sorted(set(range(len(rows))) - set(remote))
    if local:
        with ThreadPoolExecutor(8) as threads:
            for index, content in zip(local, threads.map(_read_file, [rows[index] for index in local]), strict=True):
                contents[index] = content
    return contents


class _Permission:
    """Tells a permission that a task lacks, which fails it, from images that are closed, which are rejected.

    The task lacks it if whatever it asks for first is refused, `FIRST_IMAGES` at least, in however many batches: a few
    photographs fill one.
    """

    def __init__(self) -> None:
        self._granted = False
        self._refused: list[tuple[ManifestRow, Rejected]] = []

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Take the next batch into account.

        Raises:
            JobError: naming the images and what S3 says.
        """
        if self._granted or any(_was_granted(content) for _, content in outcomes):
            self._granted = True
            return
        for row, content in outcomes:
            if isinstance(content, Rejected) and content.reason == Reason.ACCESS_DENIED:
                self._refused.append((row, content))
        if len(self._refused) >= FIRST_IMAGES:
            row, refusal = self._refused[0]
            others = len(self._refused) - 1
            raise JobError(f"{row.path} and {others} images after it are all refused ({refusal.detail}): {ALLOW}")


def _was_granted(content: Content) -> bool:
    """Say whether S3 has answered as to somebody who may read: the image, which version there is, or that it is archived."""
    if not isinstance(content, Rejected):
        return True
    return content.reason == Reason.CHANGED or "InvalidObjectState" in content.detail


def _read_batch(
    batch: list[ManifestRow], read: Callable[[Sequence[ManifestRow]], list[Content]], permission: _Permission
) -> list[Outcome]:
    outcomes = list(zip(batch, read(batch), strict=True))
    permission.check(outcomes)
    return outcomes


def _drained(batch: Future[list[Outcome]]) -> Iterator[Outcome]:
    outcomes = batch.result()
    outcomes.reverse()
    while outcomes:  # release each image as soon as it is consumed
        yield outcomes.pop()


# ---------------------------------------------------------------- files
def _read_file(row: ManifestRow) -> Content:
    try:
        check_size(row.size or 0)
        with Path(uris.local_path(row.path)).open("rb", buffering=0) as stream:
            _check_file(row, stream.fileno())
            return stream.read()
    except Rejected as rejected:
        return rejected
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return Rejected(Reason.NOT_FOUND, str(error))
    except PermissionError as error:
        return Rejected(Reason.ACCESS_DENIED, str(error))
    except Exception as error:  # whatever a file system raises
        raise JobError(f"{row.path}: cannot be read: {type(error).__name__}: {error}") from error


def _check_file(row: ManifestRow, descriptor: int) -> None:
    status = os.fstat(descriptor)
    check_size(status.st_size)
    found = file_etag(status.st_mtime_ns, status.st_size)
    # Only a version made by file_etag is comparable; other listings put their own kind into the manifest.
    if row.etag and _FILE_ETAG.fullmatch(row.etag) and found != row.etag:
        raise Rejected(Reason.CHANGED, f"was {row.etag} when listed, is {found}")


def check_size(size: int) -> None:
    """Reject an image of more than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{size} bytes; the limit is {MAX_BYTES}")
