"""Count, mean and scatter matrix of the features, from one distributed pass.

Each partition multiplies its rows in blocks (BLAS `dsyrk` behind numpy's `rows.T @ rows`) around the block's own mean
and merges blocks by the pairwise update of Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979), eq. 2.1; partitions merge by the same update, in a tree. Everything is float64, and
nothing is ever squared before it is centered, so means a million times the deviation cost no digits that matter.

A feature that has the same float32 value everywhere gets a scatter of exactly 0: up to 2^29 such values add up without
rounding in float64, so their mean is that value. "Constant" therefore needs no threshold.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

Floats = npt.NDArray[np.float64]

# 2,048 rows of 1,280 float64 are 21 MB: enough for BLAS to run at full speed, little enough for any worker.
BLOCK_ROWS = 2048
# How many partial results meet in one place, the driver included: 8 x 13 MB for 1,280 features.
FAN_IN = 8
EXAMPLES = 3


@dataclass(frozen=True)
class Moments:
    """What standardization and PCA need to know about `count` rows of d features.

    Attributes:
        count: rows, without the unusable ones.
        mean: (d,).
        scatter: (d, d), the sum over rows of (row - mean)(row - mean)^T.
        unusable: rows left out because a feature is NaN, infinite or missing, or because there are more or fewer.
        unusable_paths: the paths of up to `EXAMPLES` of them.
    """

    count: int
    mean: Floats
    scatter: Floats
    unusable: int = 0
    unusable_paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Floats) -> Self:
        """Return the moments of `rows`, (n, d) finite float64 with n >= 1."""
        mean = rows.mean(axis=0)
        centered = rows - mean
        return cls(len(rows), mean, centered.T @ centered)

    @classmethod
    def none(cls, features: int) -> Self:
        """Return the moments of no rows, which merge with any others."""
        return cls(0, np.zeros(features), np.zeros((features, features)))

    def merge(self, other: Self) -> Self:
        """Return the moments of the rows of both."""
        count = self.count + other.count
        apart = other.mean - self.mean
        share = other.count / count if count else 0.0
        scatter = self.scatter + other.scatter
        if self.count and other.count:
            scatter += np.outer(apart, apart * (self.count * share))
        return type(self)(
            count,
            self.mean + apart * share,
            scatter,
            self.unusable + other.unusable,
            (self.unusable_paths + other.unusable_paths)[:EXAMPLES],
        )

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which features have the same value in every row, (d,)."""
        return np.diagonal(self.scatter) == 0

    @property
    def deviation(self) -> Floats:
        """Sample standard deviations (n - 1), (d,); exactly 0 where constant."""
        return np.sqrt(np.diagonal(self.scatter) / max(self.count - 1, 1))


def feature_moments(features: DataFrame, width: int) -> Moments:
    """Return the moments of a DataFrame.

    The driver receives at most `FAN_IN` partial matrices, however many partitions there are.

    Args:
        features: columns `path` string and `features` list of `width` floats.
        width: d.
    """

    def partition_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = batch_moments(batches, width)
        if total.count or total.unusable:
            yield _to_batch(total)

    def merge_partials(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # One at a time: a row is a matrix, a batch up to `FAN_IN` of them.
        rows = (batch.slice(number, 1).to_pylist()[0] for batch in batches for number in range(batch.num_rows))
        yield _to_batch(_merged(rows, width))

    partials = features.select("path", "features").mapInArrow(partition_moments, _PARTIAL)
    partitions = features.rdd.getNumPartitions()
    while partitions > FAN_IN:
        partitions = math.ceil(partitions / FAN_IN)
        partials = partials.repartition(partitions).mapInArrow(merge_partials, _PARTIAL)
    # By Arrow: with `collect()` the driver's JVM took 270 MB more, at 200,000 rows.
    few: Any = partials.toPandas()
    return _merged(few.to_dict("records"), width)


def batch_moments(batches: Iterable[pa.RecordBatch], width: int) -> Moments:
    """Return the moments of Arrow batches with columns `path` and `features`."""
    total = Moments.none(width)
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            block = batch.slice(start, BLOCK_ROWS)
            rows = matrix(block.column("features"), width)
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                paths = block.column("path").filter(pa.array(~finite)).to_pylist()
                total = replace(
                    total,
                    unusable=total.unusable + len(paths),
                    unusable_paths=(*total.unusable_paths, *paths)[:EXAMPLES],
                )
                rows = rows[finite]
            if len(rows):
                total = total.merge(Moments.of(rows))
    return total


def matrix(column: pa.ListArray, width: int) -> Floats:
    """Return a column of float lists as an (n, width) float64 matrix; what is missing, or of another length, is NaN."""
    if column.null_count or not (np.diff(column.offsets.to_numpy()) == width).all():
        missing = [None] * width
        lists = column.to_pylist()
        column = pa.array([row if row and len(row) == width else missing for row in lists], column.type)
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(-1, width)


_PARTIAL = "count bigint, mean binary, scatter binary, unusable bigint, unusable_paths array<string>"


def _to_batch(moments: Moments) -> pa.RecordBatch:
    columns = {
        "count": pa.array([moments.count], pa.int64()),
        "mean": pa.array([moments.mean.tobytes()]),
        "scatter": pa.array([moments.scatter.tobytes()]),
        "unusable": pa.array([moments.unusable], pa.int64()),
        "unusable_paths": pa.array([list(moments.unusable_paths)], pa.list_(pa.string())),
    }
    return pa.RecordBatch.from_pydict(columns)


def _merged(partials: Iterable[Mapping[str, Any]], width: int) -> Moments:
    return reduce(Moments.merge, map(_from_row, partials), Moments.none(width))


def _from_row(row: Mapping[str, Any]) -> Moments:
    mean, scatter = np.frombuffer(row["mean"]), np.frombuffer(row["scatter"])
    examples = tuple(row["unusable_paths"])
    return Moments(row["count"], mean, scatter.reshape(len(mean), len(mean)), row["unusable"], examples)
