"""The features that count, as tasks read them: straight from their files, in batches of bounded size.

Spark's own reader hands lists to Python number by number: 30 to 60 µs for a row of 1,280 features where Arrow takes 5. And
a query is planned and compiled first, which takes longer than the passes themselves for as many as 20,000 images.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from spark_jobs.datasets import DataFile
from spark_jobs.schemas import FEATURES

T = TypeVar("T")

COLUMNS = pa.schema([FEATURES.field(name) for name in ("path", "label", "features")])
BATCH_ROWS = 2048  # 10 MB of 1,280 features: what a task holds of a file at once, beside the batch that is read ahead
WHOLE_BYTES = 16 * 2**20  # a smaller file is read in one request; the other columns are a hundredth of it
FETCHED_AT_ONCE = 16  # such files; together of `WHOLE_BYTES`, so that they take no more memory than a single one


@dataclass(frozen=True)
class Piece:
    """Some rows of one file, next to each other.

    Attributes:
        file: that they are in.
        start, stop: the first of them, and the one after the last.
        unused: see `Features`; of this file.
    """

    file: DataFile
    start: int
    stop: int
    unused: bytes = b""

    def fetch(self) -> bytes | None:
        """Return the content of its file, if that is read in one request."""
        return self.file.fetch(WHOLE_BYTES)

    @property
    def fetched_bytes(self) -> int:
        """How many of `WHOLE_BYTES` it takes: all of them if its file is too large to be read in one request."""
        return self.file.size if 0 < self.file.size <= WHOLE_BYTES else WHOLE_BYTES

    def batches(self, content: bytes | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows that count, `COLUMNS`.

        Args:
            content: what `fetch` has returned.

        Raises:
            JobError: the file cannot be read, or is damaged; the message names it.
        """
        counting = ~mask(self.unused, self.file.rows)
        with self.file.opened(content) as stream:
            file, first = parquet.ParquetFile(stream, pre_buffer=True), 0
            for group, length in enumerate(self.file.row_groups):
                if first < self.stop and first + length > self.start:
                    for batch in file.iter_batches(BATCH_ROWS, [group], COLUMNS.names, use_threads=False):
                        yield from self._counting(batch, first, counting)
                        first += batch.num_rows
                else:
                    first += length

    def _counting(self, batch: pa.RecordBatch, first: int, counting: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
        wanted = counting[first : first + batch.num_rows].copy()
        wanted[: max(0, self.start - first)] = False
        wanted[max(0, self.stop - first) :] = False
        if wanted.any():
            chosen = batch if wanted.all() else batch.filter(pa.array(wanted))
            yield chosen.select(COLUMNS.names).cast(COLUMNS)


def pack(rows: npt.NDArray[np.int64]) -> bytes:
    """Return a bit for each row of a file, up to the last of these `rows`."""
    bits = np.zeros(rows.max(initial=-1) + 1, np.bool_)
    bits[rows] = True
    return np.packbits(bits).tobytes()


def mask(packed: bytes, rows: int) -> npt.NDArray[np.bool_]:
    """Return for each of the `rows` of a file whether its bit is set in what `pack` has made."""
    # Cut and padded here: `count` of unpackbits leaves what it adds as it was in memory.
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))[:rows]
    return np.pad(bits, (0, rows - len(bits))).astype(np.bool_)


def packed_rows(packed: bytes) -> int:
    """Return how many rows `pack` was given."""
    return int.from_bytes(packed).bit_count()


@dataclass(frozen=True)
class Features:
    """Rows of files, without some.

    Attributes:
        files: that they are in.
        unused: the rows that do not count, by number of the file, if it has any, as `pack` makes them: a bit a row, 13 MB for
            100 million.
    """

    files: Sequence[DataFile]
    unused: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many count."""
        return sum(file.rows for file in self.files) - sum(map(packed_rows, self.unused.values()))

    def tasks(self, slots: int, least: int, most: int) -> list[list[Piece]]:
        """Return what tasks have to read, in order, about as many rows in each.

        Args:
            slots: how many can be at work at once.
            least: rows that are not worth two tasks.
            most: about the rows of one task.
        """
        pieces = [piece for number in range(len(self.files)) for piece in self._pieces(number)]
        rows = sum(piece.stop - piece.start for piece in pieces)
        share = math.ceil(rows / max(1, math.ceil(rows / most), min(slots, rows // least)))
        found: dict[int, list[Piece]] = defaultdict(list)
        before = 0
        for piece in cut(pieces, share):
            length = piece.stop - piece.start
            found[(before + length // 2) // share].append(piece)
            before += length
        return list(found.values())

    def _pieces(self, number: int) -> Iterator[Piece]:
        """Yield the row groups of a file; nothing if none of its rows count."""
        file, unused = self.files[number], self.unused.get(number, b"")
        if packed_rows(unused) < file.rows:
            first = 0
            for length in file.row_groups:
                if length:  # a program that writes batch by batch may leave some of none
                    yield Piece(file, first, first + length, unused)
                first += length


def cut(pieces: Iterable[Piece], most: int) -> Iterator[Piece]:
    """Yield the pieces, and parts of the same size of those that have more than `most` rows."""
    for piece in pieces:
        parts = math.ceil((piece.stop - piece.start) / most)
        edges = [piece.start + (piece.stop - piece.start) * number // parts for number in range(parts + 1)]
        for start, stop in pairwise(edges):
            yield Piece(piece.file, start, stop, piece.unused)


def read(pieces: Iterable[Piece]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all pieces that count, in order, with one batch read ahead while the last is worked on.

    Small files are requested many at once, as each answer takes its time; and their rows are put together, as each batch costs
    those who work on it the update of a whole matrix.
    """
    return _ahead(_joined(_batches(pieces)))


def _batches(pieces: Iterable[Piece]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of all pieces; up to `FETCHED_AT_ONCE` files are fetched, or in memory, at the same time."""
    fetched: deque[tuple[Piece, Future[bytes | None]]] = deque()

    def oldest() -> Iterator[pa.RecordBatch]:
        piece, content = fetched[0]
        yield from piece.batches(content.result())
        fetched.popleft()  # its bytes count until here

    with ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="fetch") as pool:
        for piece in pieces:
            while fetched and (
                len(fetched) == FETCHED_AT_ONCE
                or sum(other.fetched_bytes for other, _ in fetched) + piece.fetched_bytes > WHOLE_BYTES
            ):
                yield from oldest()
            fetched.append((piece, pool.submit(piece.fetch)))
        while fetched:
            yield from oldest()


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of `BATCH_ROWS` or somewhat fewer; one of at least half as many stays as it is."""
    some: list[pa.RecordBatch] = []
    for batch in batches:
        if some and sum(map(len, some)) + len(batch) > BATCH_ROWS:
            yield pa.concat_batches(some)
            some = []
        some.append(batch)
        if sum(map(len, some)) >= BATCH_ROWS // 2:
            yield some[0] if len(some) == 1 else pa.concat_batches(some)
            some = []
    if some:
        yield pa.concat_batches(some)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
