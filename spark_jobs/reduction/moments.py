"""Count, mean and scatter matrix of features, in one pass.

Rows are multiplied in blocks (BLAS `dsyrk` behind numpy's `rows.T @ rows`) around the block's own mean. Blocks, and
partitions (see `distributed`), are merged by the pairwise update of Chan, Golub & LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances" (1979), eq. 2.1. Everything is float64, and nothing is squared before it is
centered, so means a million times the standard deviation cost no digits that matter.

A feature that has the same float32 value everywhere gets a scatter of exactly 0: up to 2^29 such values add up without
rounding in float64, so their mean is that value. "Constant" therefore needs no threshold.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_jobs.errors import JobError

Floats = npt.NDArray[np.float64]

# 2,048 rows of 1,280 float64 are 21 MB: enough for BLAS to run at full speed, little enough for any worker.
BLOCK_ROWS = 2048
EXAMPLES = 3


@dataclass(frozen=True)
class Moments:
    """The moments of `count` rows of d features: all that standardization and PCA need.

    Attributes:
        count: valid rows.
        mean: (d,).
        scatter: (d, d), the sum over rows of (row - mean)(row - mean)^T.
        invalid: rows left out because a feature is NaN, infinite or missing, or the row has more or fewer than d.
        invalid_paths: the paths of up to `EXAMPLES` of them.
    """

    count: int
    mean: Floats
    scatter: Floats
    invalid: int = 0
    invalid_paths: tuple[str, ...] = ()

    @classmethod
    def from_rows(cls, rows: Floats) -> Self:
        """Return the moments of `rows`, (n, d) finite float64 with n >= 1."""
        mean = rows.mean(axis=0)
        centered = rows - mean
        return cls(len(rows), mean, centered.T @ centered)

    @classmethod
    def empty(cls, features: int) -> Self:
        """Return the moments of no rows, which merge with any others."""
        return cls(0, np.zeros(features), np.zeros((features, features)))

    def merge(self, other: Self) -> Self:
        """Return the moments of the rows of both."""
        count = self.count + other.count
        delta = other.mean - self.mean
        share = other.count / count if count else 0.0
        scatter = self.scatter + other.scatter
        if self.count and other.count:
            scatter += np.outer(delta, delta * (self.count * share))
        return type(self)(
            count,
            self.mean + delta * share,
            scatter,
            self.invalid + other.invalid,
            (self.invalid_paths + other.invalid_paths)[:EXAMPLES],
        )

    def require_valid(self) -> Self:
        """Return these moments if they are those of valid rows only.

        Raises:
            JobError: some rows are invalid, with the paths of a few, or there are no rows.
        """
        if self.invalid:
            images = f"{self.invalid} of {self.count + self.invalid} images"
            examples = ", ".join(self.invalid_paths)
            raise JobError(f"NaN, infinite, missing or not {len(self.mean)} features in {images}: {examples}")
        if not self.count:
            raise JobError(
                "no image in the inventory has features: the stored ones are of other images or older versions"
            )
        return self

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Mask of the features with the same value in every row, (d,)."""
        return np.diagonal(self.scatter) == 0

    @property
    def std(self) -> Floats:
        """Sample standard deviations (n - 1), (d,); exactly 0 where constant."""
        return np.sqrt(np.diagonal(self.scatter) / max(self.count - 1, 1))


def batch_moments(batches: Iterable[pa.RecordBatch], width: int) -> Moments:
    """Return the moments of Arrow batches with columns `path` and `features`."""
    total = Moments.empty(width)
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            block = batch.slice(start, BLOCK_ROWS)
            rows = matrix(block.column("features"), width)
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                paths = block.column("path").filter(pa.array(~finite)).to_pylist()
                total = replace(
                    total,
                    invalid=total.invalid + len(paths),
                    invalid_paths=(*total.invalid_paths, *paths)[:EXAMPLES],
                )
                rows = rows[finite]
            if len(rows):
                total = total.merge(Moments.from_rows(rows))
    return total


def matrix(column: pa.ListArray, width: int) -> Floats:
    """Return a column of float lists as an (n, width) float64 matrix; null lists and lists of another length are NaN."""
    if column.null_count or not (np.diff(column.offsets.to_numpy()) == width).all():
        missing = [None] * width
        lists = column.to_pylist()
        column = pa.array([row if row and len(row) == width else missing for row in lists], column.type)
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(-1, width)
