"""Count, mean, scatter matrix, minimum and maximum of every feature, from one distributed pass.

Each partition multiplies its rows in blocks (BLAS `dsyrk` behind numpy's `rows.T @ rows`) around the block's own mean
and merges blocks by the pairwise update of Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979), eq. 2.1; partitions merge by the same update, in a tree. Everything is float64, and
nothing is ever squared before it is centered, so means a million times the deviation cost no digits that matter.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, Row

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
        low: (d,), the smallest values; a feature is constant where `low == high`, which rounding cannot blur.
        high: (d,), the largest values.
        unusable: rows left out because a feature is NaN, infinite or missing, or because there are more or fewer.
        unusable_paths: the paths of up to `EXAMPLES` of them.
    """

    count: int
    mean: Floats
    scatter: Floats
    low: Floats
    high: Floats
    unusable: int = 0
    unusable_paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Floats) -> Self:
        """Return the moments of `rows`, (n, d) finite float64 with n >= 1."""
        mean = rows.mean(axis=0)
        centered = rows - mean
        return cls(len(rows), mean, centered.T @ centered, rows.min(axis=0), rows.max(axis=0))

    @classmethod
    def none(cls, features: int) -> Self:
        """Return the moments of no rows, which merge with any others."""
        zeros, infinite = np.zeros(features), np.full(features, np.inf)
        return cls(0, zeros, np.zeros((features, features)), infinite, -infinite)

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
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.unusable + other.unusable,
            (self.unusable_paths + other.unusable_paths)[:EXAMPLES],
        )

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which features have the same value in every row, (d,)."""
        return self.low == self.high

    @property
    def deviation(self) -> Floats:
        """Sample standard deviations (n - 1), (d,); exactly 0 where constant."""
        variance = np.diagonal(self.scatter) / max(self.count - 1, 1)
        return np.where(self.constant, 0.0, np.sqrt(variance))


def feature_moments(features: DataFrame, width: int) -> Moments:
    """Return the moments of a DataFrame.

    The driver receives at most about `FAN_IN` partial matrices, however many partitions there are.

    Args:
        features: columns `path` string and `features` list of `width` floats.
        width: d.
    """

    def partition_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = batch_moments(batches, width)
        if total.count or total.unusable:
            yield _to_batch(total)

    partials = features.select("path", "features").mapInArrow(partition_moments, _PARTIAL).rdd.map(_from_row)
    depth = max(2, math.ceil(math.log(max(partials.getNumPartitions(), 2), FAN_IN)))
    try:
        return partials.treeReduce(Moments.merge, depth)
    except ValueError:  # no partition had a row
        return Moments.none(width)


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
                total = total.merge(_unusable(paths, width))
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


def _unusable(paths: list[str], width: int) -> Moments:
    none = Moments.none(width)
    return Moments(0, none.mean, none.scatter, none.low, none.high, len(paths), tuple(paths[:EXAMPLES]))


_PARTIAL = (
    "count bigint, mean binary, scatter binary, low binary, high binary, unusable bigint, unusable_paths array<string>"
)


def _to_batch(moments: Moments) -> pa.RecordBatch:
    columns = {
        "count": pa.array([moments.count], pa.int64()),
        **{name: pa.array([getattr(moments, name).tobytes()]) for name in ("mean", "scatter", "low", "high")},
        "unusable": pa.array([moments.unusable], pa.int64()),
        "unusable_paths": pa.array([list(moments.unusable_paths)], pa.list_(pa.string())),
    }
    return pa.RecordBatch.from_pydict(columns)


def _from_row(row: Row) -> Moments:
    mean, scatter, low, high = (np.frombuffer(row[name]) for name in ("mean", "scatter", "low", "high"))
    return Moments(
        row["count"],
        mean,
        scatter.reshape(len(mean), len(mean)),
        low,
        high,
        row["unusable"],
        tuple(row["unusable_paths"]),
    )
