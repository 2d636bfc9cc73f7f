"""The two passes of a reduction over all features, with Spark: moments and a sample in, files of vectors out."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet
from pyspark import SparkContext

from spark_jobs import uris
from spark_jobs.checksums import Checksums
from spark_jobs.errors import JobError
from spark_jobs.reduction import folders
from spark_jobs.reduction.feature_rows import COLUMNS, Features, Piece, read
from spark_jobs.reduction.keys import hashes
from spark_jobs.reduction.moments import Moments, batch_moments, matrix
from spark_jobs.reduction.pca import Pca
from spark_jobs.schemas import PCA
from spark_jobs.session import slots
from spark_jobs.stored import Facts, Stored

# How many partial results meet in one place, the driver included: 4 x 13 MB for 1,280 features.
FAN_IN = 4

# Rows of one task: fewer are not worth two, whose results of 13 MB must meet; more would be done again if it fails.
LEAST_ROWS, MOST_ROWS = 4096, 65_536

FILE_BYTES = 64 * 2**20  # a task holds four times as much while it writes
LEAST_VECTORS = 16_384  # in a file, if there are so many
OWN_NAME = re.compile(r"part-\d{5}(-[0-9a-f]{16})?\.parquet|_SUCCESS")  # earlier versions left the digest out


@dataclass(frozen=True)
class Scan:
    """What one pass over features finds.

    Attributes:
        moments: of all rows.
        sample: `feature_rows.COLUMNS` of some of them, in any order.
    """

    moments: Moments
    sample: pa.Table

    @classmethod
    def empty(cls, width: int) -> Self:
        """Return what a pass over no rows of `width` features finds."""
        return cls(Moments.empty(width), COLUMNS.empty_table())

    def merge(self, other: Self) -> Self:
        """Return what one pass over the rows of both would have found."""
        return type(self)(self.moments.merge(other.moments), pa.concat_tables([self.sample, other.sample]))

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch], width: int, share: float) -> Self:
        """Return what a pass over these batches of `feature_rows.COLUMNS` finds; arguments as for `scan`."""
        some = []

        def watched() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                some.append(batch.filter(pa.array(sampled(batch.column("path"), share))))
                yield batch

        moments = batch_moments(watched(), width)
        return cls(moments, pa.Table.from_batches(some, COLUMNS))


def sampled(paths: pa.Array, share: float) -> npt.NDArray[np.bool_]:
    """Return which rows are in a sample of about this share, chosen by a hash of `path`: the same ones every time."""
    return hashes(paths) < share * 2**32


def scan(context: SparkContext, features: Features, width: int, sample_rows: int = 0) -> Scan:
    """Return the moments of features and a sample of them.

    The results of tasks merge in a tree: the driver receives at most `FAN_IN` partial matrices, however many tasks there are.

    Args:
        context: of the job.
        features: that count.
        width: d.
        sample_rows: about how many rows the sample has, which must fit into the driver's memory.
    """
    share = min(1.0, sample_rows / max(1, features.rows))
    tasks = features.tasks(slots(context), LEAST_ROWS, MOST_ROWS)

    def scan_task(numbered: tuple[int, list[Piece]]) -> tuple[int, Scan]:
        number, pieces = numbered
        return number, Scan.of(read(pieces), width, share)

    def merge(number: int, partials: Iterable[tuple[int, tuple[int, Scan]]]) -> Iterator[tuple[int, Scan]]:
        yield number, _in_order(found for _, found in partials)

    if not tasks:
        return Scan.empty(width)
    partials = context.parallelize(enumerate(tasks), len(tasks)).map(scan_task)
    left = len(tasks)
    while left > FAN_IN:
        left = math.ceil(left / FAN_IN)
        grouped = partials.map(lambda found: (found[0] // FAN_IN, found)).partitionBy(left, int)
        partials = grouped.mapPartitionsWithIndex(merge)
    return _in_order(partials.collect())


def _in_order(partials: Iterable[tuple[int, Scan]]) -> Scan:
    """Merge them in the order of their numbers, as sums of floats depend on it."""
    return reduce(Scan.merge, (found for _, found in sorted(partials, key=lambda partial: partial[0])))


def project(context: SparkContext, features: Features, pca: Pca, uri: str) -> dict[str, Facts]:
    """Write the `schemas.PCA` rows of features, one for one, to the folder `uri`, instead of what an earlier attempt has left.

    Returns what is known of each file and of its rows, by name: `check_outputs` proves by it that each image has one vector, and
    reads few of them.

    A task writes one file of about `FILE_BYTES` at most, in order of path, in one request: it is whole or absent. Its name says
    what is in it, so an attempt that was given up and goes on writing changes no file of this one: it writes the same rows or
    another file, which is deleted here, or found by `check_outputs` where it comes later.

    Args:
        context: of the job.
        features: that count.
        pca: standardization and components.
        uri: of the folder.

    Raises:
        JobError: the files cannot be written, are not there as they were written, or have more or fewer rows than the features;
            a file of another program is in the folder, or a number is not finite.
    """
    broadcast = context.broadcast(pca)
    most = max(1, FILE_BYTES // (4 * pca.n_components))
    tasks = features.tasks(slots(context), LEAST_VECTORS, most)

    def write_vectors(numbered: tuple[int, list[Piece]]) -> tuple[str, Stored, Facts]:
        number, pieces = numbered
        projected = vectors(read(pieces), broadcast.value)
        checksums = Checksums.of(projected, "features_pca")
        name = f"part-{number:05}-{checksums.content[:16]}.parquet"
        stored = uris.write_bytes(uris.join(uri, name), encode(projected))
        return name, stored, {**stored._asdict(), "rows": len(projected), **asdict(checksums)}

    folders.clear(uri, OWN_NAME.fullmatch)
    written = context.parallelize(enumerate(tasks), max(1, len(tasks))).map(write_vectors).collect()
    rows = sum(int(facts["rows"]) for _, _, facts in written)
    if rows != features.rows:
        raise JobError(f"{uri}: {rows} vectors of {features.rows} images were written: a bug, please report it")
    folders.clear(uri, OWN_NAME.fullmatch, {name: stored for name, stored, _ in written})
    uris.write_bytes(uris.join(uri, "_SUCCESS"), b"")
    broadcast.destroy()
    return {name: facts for name, _, facts in written}


def vectors(batches: Iterable[pa.RecordBatch], pca: Pca) -> pa.Table:
    """Return the `schemas.PCA` rows of batches of `feature_rows.COLUMNS`, in order of `path`.

    Raises:
        JobError: naming an image of which a number is not finite.
    """

    def project_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
        with np.errstate(over="ignore"):  # what does not fit into float32 is infinite, which is told below
            rows = pca.project(matrix(batch.column("features"), len(pca.mean))).astype(np.float32)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise JobError(
                f"{batch.column('path')[int(np.argmin(finite))]}: its vector has a number that is not finite: its features are "
                "too far from those that the model was fitted on; fit it anew (the param refit)"
            )
        return pa.RecordBatch.from_arrays([batch.column("path"), batch.column("label"), _lists(rows)], schema=PCA)

    return pa.Table.from_batches(map(project_batch, batches), PCA).sort_by("path")


def encode(rows: pa.Table) -> bytes:
    """Return a Parquet file of `schemas.PCA` rows; the same bytes for the same rows."""
    stream = pa.BufferOutputStream()
    parquet.write_table(rows, stream, compression="zstd", use_dictionary=["label"], write_statistics=["path", "label"])
    return stream.getvalue().to_pybytes()


def _lists(rows: npt.NDArray[np.float32]) -> Any:
    count, width = rows.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, rows.ravel(), type=PCA.field("features_pca").type)
