"""Chunks: consecutive images of the manifest whose results are committed together, as one file.

A chunk's name follows from its images and the network alone. So whoever cuts the same manifest again, after a crash or
in another attempt, finds by name what is finished, on any number of cores.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import pyarrow as pa
from pyarrow import parquet

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.extraction.reading import ManifestRow
from spark_jobs.footers import read_stored_footer, row_group_lengths
from spark_jobs.stored import Stored

MANIFEST_COLUMNS = ["path", "label", "etag", "size"]
ROWS_AT_ONCE = 16_384

# A 256th of the work, within bounds: half a second of a core is worth a file of its own, and 2,000 images are 10 MB of
# features, which a worker holds and a repetition may cost. The bytes keep photographs of 20 megapixels to as many seconds.
CHUNKS = 256
IMAGES = (50, 2_000)
BYTES = (64_000_000, 1_000_000_000)

# A task is as many chunks as this many images fill: 4 s of a core. Within it, no chunk waits for S3.
IMAGES_PER_TASK = 500
# Each slot's next task is half of its share of what is left, so that the last tasks are the shortest and end together. Fewer
# tasks cost less: between two of them a slot does nothing for about 50 ms.
SHARE_OF_SLOT = 0.5

OWN_NAME = re.compile(r"part-\d{6}-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one file of the manifest.

    Attributes:
        name: of the file to write, the same for the same images and network.
        manifest: URI of the Parquet file with the rows.
        first: number of the first row in it.
        images: number of rows.
    """

    name: str
    manifest: str
    first: int
    images: int


@dataclass(frozen=True)
class Limits:
    """The most that one chunk holds; a single image may have more bytes."""

    images: int
    bytes: int

    @classmethod
    def of(cls, images: int, size: int) -> Self:
        """Return the limits for a manifest of so many images, `size` bytes in all."""
        most = _clamped(math.ceil(images / CHUNKS), IMAGES)
        even = math.ceil(images / math.ceil(images / most)) if images else most
        return cls(even, _clamped(math.ceil(size / CHUNKS), BYTES))


def _clamped(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])


def cut(rows: Iterable[ManifestRow], limits: Limits, model_id: str) -> Iterator[tuple[int, str]]:
    """Cut rows into chunks; yield the number of images and the digest of each."""
    images = size = 0
    digest = _digest(model_id)
    for row in rows:
        its_size = row.size or 0
        if images and (images == limits.images or size + its_size > limits.bytes):
            yield images, digest.hexdigest()[:16]
            images, size, digest = 0, 0, _digest(model_id)
        images += 1
        size += its_size
        digest.update(_identity(row))
    if images:
        yield images, digest.hexdigest()[:16]


def cut_manifest(files: Sequence[str], model_id: str) -> list[Chunk]:
    """Cut a manifest into chunks, at least one, though it be empty. Holds `ROWS_AT_ONCE` rows at a time.

    Args:
        files: URIs of its Parquet files.
        model_id: of the network.

    Raises:
        JobError: a file cannot be read.
    """
    images, size = 0, 0
    for file in files:
        for batch in _batches(file, ["size"]):
            images += batch.num_rows
            size += sum(filter(None, batch.column("size").to_pylist()))
    limits = Limits.of(images, size)
    chunks: list[Chunk] = []
    for file in files:
        first = 0
        for count, digest in cut(_rows(file), limits, model_id):
            chunks.append(Chunk(_name(len(chunks), digest), file, first, count))
            first += count
    return chunks or [Chunk(_name(0, _digest(model_id).hexdigest()[:16]), files[0], 0, 0)]


def tasks(chunks: Sequence[Chunk], slots: int) -> list[list[Chunk]]:
    """Group chunks, in order, into the tasks that work on them one after another.

    Args:
        chunks: to work on.
        slots: tasks that can be at work at once.
    """
    grouped: list[list[Chunk]] = []
    start = 0
    while start < len(chunks):
        fitting = max(1, IMAGES_PER_TASK // max(1, chunks[start].images))
        length = min(fitting, math.ceil((len(chunks) - start) * SHARE_OF_SLOT / slots))
        grouped.append(list(chunks[start : start + length]))
        start += length
    return grouped


def read_chunk(chunk: Chunk, job: str) -> list[ManifestRow]:
    """Return the manifest's rows of a chunk.

    Args:
        chunk: one that `cut_manifest` made.
        job: a name that no other job has: what was read for one is not used for another.

    Raises:
        JobError: the manifest cannot be read, or is no longer what the chunk was cut from.
    """
    rows: list[ManifestRow] = []
    first = 0
    for number, length in enumerate(row_group_lengths(_footer(chunk.manifest, job)[0])):
        start, stop = max(chunk.first, first) - first, min(chunk.first + chunk.images, first + length) - first
        if start < stop:
            rows += _manifest_rows(_row_group(chunk.manifest, number, job).slice(start, stop - start))
        first += length
    if len(rows) != chunk.images:
        raise JobError(f"manifest {chunk.manifest}: has changed since the step began; run the step again")
    return rows


@lru_cache(maxsize=1)
def _footer(uri: str, job: str) -> tuple[parquet.FileMetaData, Stored]:  # noqa: ARG001 - part of the cache's key
    return read_stored_footer(uri)


@lru_cache(maxsize=2)  # the tasks of a worker are often neighbors: 16,384 rows are 1 MB
def _row_group(uri: str, number: int, job: str) -> pa.Table:
    # With many slots nearly every task needs a row group that its worker has not read: one request, as the footer is there.
    footer, stored = _footer(uri, job)
    try:
        with uris.open_for_reading(uri, stored.size) as stream:
            return parquet.ParquetFile(stream, metadata=footer, pre_buffer=True).read_row_group(
                number, MANIFEST_COLUMNS
            )
    except pa.ArrowException as error:
        raise JobError(f"manifest {uri}: cannot be read, or has changed since the step began: {error}") from error


def _rows(uri: str) -> Iterator[ManifestRow]:
    for batch in _batches(uri, MANIFEST_COLUMNS):
        yield from _manifest_rows(batch)


def _manifest_rows(rows: pa.Table | pa.RecordBatch) -> Iterator[ManifestRow]:
    return map(ManifestRow, *(rows.column(name).to_pylist() for name in MANIFEST_COLUMNS))


def _batches(uri: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        with uris.open_for_reading(uri) as stream:
            yield from parquet.ParquetFile(stream, pre_buffer=True).iter_batches(ROWS_AT_ONCE, columns=columns)
    except pa.ArrowException as error:
        raise JobError(f"manifest {uri}: cannot be read: {error}") from error


def _digest(model_id: str) -> "hashlib._Hash":
    return hashlib.sha256(model_id.encode())


def _identity(row: ManifestRow) -> bytes:
    return f"\n{row.path}\0{row.etag}".encode()


def _name(index: int, digest: str) -> str:
    return f"part-{index:06}-{digest}.parquet"
