"""The keys of images, path and ETag, in each of the datasets, and what became of each image.

All of this is Arrow on a table of keys, whatever their number: of all of them in the driver if they are few, else of those
with the same hash in each task (see `selection`).
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from spark_jobs.datasets import DataFile

KEY = ["path", "etag"]
NOT_PROCESSED = "not processed"
EXAMPLES = 5
READ_AT_ONCE = 64
WHOLE_BYTES = 2**18  # a smaller file, 50 rows of features, is read in one request instead of three after one another

INVENTORY_KEYS = pa.schema([("path", pa.string()), ("etag", pa.string()), ("label", pa.string())])
REJECT_KEYS = pa.schema([(name, pa.string()) for name in (*KEY, "reason", "detail")])
FEATURE_KEYS = pa.schema([*((name, pa.string()) for name in (*KEY, "model_id")), ("at", pa.int64())])
EXAMPLE = pa.schema([(name, pa.string()) for name in ("path", "label", "reason", "detail")])

_ROWS = 2**32  # more than a file has: a position is the number of a file times this, plus that of the row


@dataclass(frozen=True)
class Source:
    """A file with keys, or some of its row groups, next to each other.

    Attributes:
        file: its name and rows.
        columns: `INVENTORY_KEYS`, `FEATURE_KEYS` or `REJECT_KEYS`.
        number: of the file among those of its dataset.
        start, stop: the number of the first row group, and the one after the last; None for all that follow.
    """

    file: DataFile
    columns: pa.Schema
    number: int = 0
    start: int = 0
    stop: int | None = None

    @property
    def rows(self) -> int:
        """How many keys there are."""
        return sum(self.file.row_groups[self.start : self.stop])

    def cut(self, most: int) -> Iterator[Self]:
        """Yield parts of a whole file, of at most so many rows or of one row group."""
        start = rows = 0
        for group, length in enumerate(self.file.row_groups):
            if rows and rows + length > most:
                yield replace(self, start=start, stop=group)
                start, rows = group, 0
            rows += length
        yield replace(self, start=start)

    def read(self) -> pa.Table:
        """Read the keys; no other column.

        Raises:
            JobError: the file cannot be read; the message names it.
        """
        stored = [name for name in self.columns.names if name != "at"]
        with self.file.opened(self.file.fetch(WHOLE_BYTES)) as stream:
            file = parquet.ParquetFile(stream, pre_buffer=True)
            groups = range(file.num_row_groups)[self.start : self.stop]
            found = file.read_row_groups(list(groups), stored, use_threads=False)
        if "at" in self.columns.names:
            before = self.number * _ROWS + sum(self.file.row_groups[: self.start])
            found = found.append_column("at", pa.array(np.arange(len(found)) + before))
        return found.select(self.columns.names).cast(self.columns)


@dataclass(frozen=True)
class Keys:
    """Those of some images.

    Attributes:
        inventory: `INVENTORY_KEYS`, of the images that count.
        features: `FEATURE_KEYS`, of all networks.
        rejects: `REJECT_KEYS`, of runs that finished.
    """

    inventory: pa.Table
    features: pa.Table
    rejects: pa.Table

    @classmethod
    def read(cls, sources: Iterable[Source]) -> Self:
        """Read them from these files, many at once."""
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            return cls.of(pool.map(Source.read, sources))

    @classmethod
    def of(cls, tables: Iterable[pa.Table]) -> Self:
        """Put tables together, each of one of the three schemas."""
        schemas = (INVENTORY_KEYS, FEATURE_KEYS, REJECT_KEYS)
        found: list[list[pa.Table]] = [[schema.empty_table()] for schema in schemas]
        for table in tables:
            found[[schema.names for schema in schemas].index(table.schema.names)].append(table)
        return cls(*map(pa.concat_tables, found))

    @property
    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """All three."""
        return self.inventory, self.features, self.rejects

    def routed(self, buckets: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield tables of the keys whose paths have the same hash, each with the number of their bucket."""
        for table in self.tables:
            bucket = hashes(table["path"]) % buckets
            for number in np.unique(bucket):
                yield int(number), table.filter(pa.array(bucket == number)).combine_chunks()


def hashes(paths: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.uint32]:
    """Return the CRC-32 of each path: the same in every process, unlike Python's own hash."""
    return np.fromiter((zlib.crc32((path or "").encode()) for path in paths.to_pylist()), np.uint32, len(paths))


@dataclass(frozen=True)
class Outcome:
    """What became of some images.

    Attributes:
        networks: rows of features by model_id.
        features: images with features, by label.
        missing: images without, by label and reason.
        examples: `EXAMPLE`, up to `EXAMPLES` a reason.
        unused: positions of the rows of features that do not count, sorted.
    """

    networks: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: pa.Table = field(default_factory=EXAMPLE.empty_table)
    unused: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def merge(self, other: Self) -> Self:
        """Return what became of the images of both."""
        return type(self)(
            self.networks + other.networks,
            self.features + other.features,
            self.missing + other.missing,
            _first_of_each_reason(pa.concat_tables([self.examples, other.examples])),
            np.concatenate([self.unused, other.unused]),
        )


def account(keys: Keys, model_id: str) -> Outcome:
    """Return what became of each image that the inventory lists.

    An image that has features is not a reject. Of several rows for it the last counts, by file and row. Of several reasons
    that runs give for one the last in the alphabet is kept.

    Args:
        keys: of the images, all that any dataset has of them.
        model_id: of the network whose features count.
    """
    labels = pc.unique(keys.inventory["label"].drop_null()).sort()
    why = keys.rejects.sort_by([("reason", "ascending"), ("detail", "ascending")])
    used = keys.features.filter(pc.equal(keys.features["model_id"], model_id))
    facts = [
        _facts(keys.inventory, label=pc.index_in(keys.inventory["label"], labels).cast(pa.int64())),
        _facts(used, at=used["at"]),
        _facts(why, why=pa.array(np.arange(len(why)))),
    ]
    images = pa.concat_tables(facts).group_by(KEY, use_threads=False)
    images = images.aggregate([("label", "max"), ("at", "max"), ("why", "max")])
    listed = images.filter(pc.is_valid(images["label_max"]))
    found = listed.filter(pc.is_valid(listed["at_max"]))
    missing = _missing(listed.filter(pc.is_null(listed["at_max"])), labels, why)
    return Outcome(
        Counter(_counts(keys.features.select(["model_id"]))),
        Counter(_counts(pa.table({"label": labels.take(found["label_max"].combine_chunks())}))),
        Counter(_counts(missing.select(["label", "reason"]))),
        _first_of_each_reason(missing),
        np.setdiff1d(keys.features["at"].to_numpy(), found["at_max"].to_numpy()),  # sorted, as a shuffle's rows are not
    )


def _facts(rows: pa.Table, **known: Any) -> pa.Table:
    """Return the keys of rows with what is known of each: numbers in the columns `label`, `at` and `why`."""
    unknown = pa.nulls(len(rows), pa.int64())
    return pa.table(
        {name: rows[name] for name in KEY} | {name: known.get(name, unknown) for name in ("label", "at", "why")}
    )


def _missing(images: pa.Table, labels: pa.Array, why: pa.Table) -> pa.Table:
    reasons = why.select(["reason", "detail"]).combine_chunks().take(images["why_max"].combine_chunks())
    return pa.table(
        {
            "path": images["path"],
            "label": labels.take(images["label_max"].combine_chunks()),
            "reason": pc.fill_null(reasons["reason"], NOT_PROCESSED),
            "detail": pc.fill_null(reasons["detail"], ""),
        },
        EXAMPLE,
    )


def _counts(rows: pa.Table) -> dict[Any, int]:
    """Return how often each row is there: by its value, or by a tuple of them."""
    counted = rows.group_by(rows.column_names, use_threads=False).aggregate([([], "count_all")])
    keys = [counted[name].to_pylist() for name in rows.column_names]
    return dict(
        zip(keys[0] if len(keys) == 1 else zip(*keys, strict=True), counted["count_all"].to_pylist(), strict=True)
    )


def _first_of_each_reason(missing: pa.Table) -> pa.Table:
    """Return the first `EXAMPLES` images of each reason, by label and path."""
    chosen = [missing.slice(0, 0)]
    for reason in pc.unique(missing["reason"]):
        same = missing.filter(pc.equal(missing["reason"], reason))
        order = pc.sort_indices(same, [("label", "ascending"), ("path", "ascending")])
        chosen.append(same.take(order[:EXAMPLES]))
    return pa.concat_tables(chosen)


def by_file(positions: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield the number of each file that sorted `positions` are in, and the rows in it."""
    numbers, rows = np.divmod(positions, _ROWS)
    files, starts = np.unique(numbers, return_index=True)
    yield from zip(files.tolist(), np.split(rows, starts[1:]), strict=True) if len(files) else ()


def sources(inventory: Sequence[DataFile], features: Sequence[DataFile], rejects: Sequence[DataFile]) -> list[Source]:
    """Return all files with keys: every run leaves one of rejects, most of them without a row."""
    found = [
        *(Source(file, INVENTORY_KEYS) for file in inventory),
        *(Source(file, FEATURE_KEYS, number) for number, file in enumerate(features)),
        *(Source(file, REJECT_KEYS) for file in rejects),
    ]
    return [source for source in found if source.file.rows]
