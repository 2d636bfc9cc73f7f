"""Standardization and principal components from moments, and the projection of features onto them.

The convention is Spark ML's: StandardScaler(withMean=True, withStd=True) divides by the sample deviation (n - 1) and
turns a constant feature into 0; PCA then has as components the eigenvectors of the correlation matrix.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from spark_jobs.moments import Floats, Moments, matrix
from spark_jobs.schemas import PCA, spark_schema
from spark_jobs.sessions import JobError

# A share of variance counts as reached within this: the sum of 1,280 shares is 1 only up to rounding.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Pca:
    """A fitted standardization and its leading components, for d features and k components.

    Attributes:
        mean: (d,).
        deviation: (d,), 0 where a feature was constant.
        components: (d, k), one unit vector a column, largest variance first; rows of constant features are 0.
        explained: (k,), each component's share of the variance of the standardized features.
    """

    mean: Floats
    deviation: Floats
    components: Floats
    explained: Floats

    @property
    def size(self) -> int:
        """The number of components, k."""
        return self.components.shape[1]

    def standardize(self, rows: Floats) -> Floats:
        """Return (n, d) features with mean 0 and deviation 1; those that were constant become 0."""
        centered = rows - self.mean
        centered *= _inverse(self.deviation)
        return centered

    def project(self, rows: Floats) -> Floats:
        """Return the (n, k) components of (n, d) features."""
        return self.standardize(rows) @ self.components


@dataclass(frozen=True)
class Fit:
    """What a fit found, beyond the model itself.

    Attributes:
        pca: the model.
        curve: the cumulated share of variance of 1, 2, … components, as many as the data can have.
    """

    pca: Pca
    curve: Floats


def fit(moments: Moments, variance: float | None = None, components: int | None = None) -> Fit:
    """Return the principal components of standardized features.

    Args:
        moments: of all rows.
        variance: the share to reach with as few components as possible, in (0, 1]; or
        components: how many to keep; fewer where the data has fewer (rows - 1, or the features that vary).

    Raises:
        JobError: fewer than two rows, or no feature varies.
    """
    if moments.count < 2:
        raise JobError(f"{moments.count} image{'' if moments.count == 1 else 's'} with features: a variance needs two")
    varying = np.flatnonzero(~moments.constant)
    if not varying.size:
        raise JobError(f"the features of all {moments.count} images are identical: there is no variance to explain")

    most = min(moments.count - 1, varying.size)
    values, vectors = np.linalg.eigh(correlation(moments, varying))
    explained = np.clip(values[::-1][:most], 0, None) / varying.size  # the trace: each feature has variance 1
    curve = np.cumsum(explained)
    size = min(components or smallest(curve, variance or 1.0), most)

    kept = np.zeros((len(moments.mean), size))
    kept[varying] = oriented(vectors[:, ::-1][:, :size])
    return Fit(Pca(moments.mean, moments.deviation, kept, explained[:size]), curve)


def smallest(curve: Floats, variance: float) -> int:
    """Return the smallest number of components whose cumulated share in `curve` reaches `variance`."""
    return min(int(np.searchsorted(curve, variance - TOLERANCE)) + 1, len(curve))


def explained_share(moments: Moments, pca: Pca) -> float | None:
    """Return which share of the variance of `moments`, in the model's own units, the model's components keep.

    For the rows that the model was fitted on it is the sum of `pca.explained`; for others it says how well the model
    still fits them. None where nothing varies in the model's eyes.
    """
    inverse = _inverse(pca.deviation)
    scatter = moments.scatter * np.outer(inverse, inverse)
    total = float(np.trace(scatter))
    kept = float(np.sum((scatter @ pca.components) * pca.components))
    return kept / total if total else None


def correlation(moments: Moments, varying: np.ndarray) -> Floats:
    """Return the correlation matrix of the features at the indices `varying`."""
    deviation = np.sqrt(np.diagonal(moments.scatter)[varying])
    return moments.scatter[np.ix_(varying, varying)] / np.outer(deviation, deviation)


def oriented(vectors: Floats) -> Floats:
    """Return (d, k) unit vectors, each with the sign that makes its largest entry positive.

    An eigenvector's sign is arbitrary; by this rule two runs on the same data agree. Entries within a millionth of the
    largest count as equally large, and the first of them decides: rounding must not.
    """
    size = np.abs(vectors)
    deciding = np.argmax(size >= size.max(axis=0) * (1 - 1e-6), axis=0)
    return vectors * np.where(np.take_along_axis(vectors, deciding[np.newaxis], axis=0) < 0, -1.0, 1.0)


def project(features: DataFrame, pca: Pca) -> DataFrame:
    """Return the `schemas.PCA` rows of a DataFrame with `path`, `label` and `features`, one for one."""
    model = features.sparkSession.sparkContext.broadcast(pca)

    def project_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        width = len(model.value.mean)
        for batch in batches:
            vectors = model.value.project(matrix(batch.column("features"), width)).astype(np.float32)
            columns = [batch.column("path"), batch.column("label"), _lists(vectors)]
            yield pa.RecordBatch.from_arrays(columns, names=PCA.names)

    return features.select("path", "label", "features").mapInArrow(project_partition, spark_schema(PCA))


def _lists(rows: np.ndarray) -> pa.ListArray:
    count, width = rows.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, rows.ravel())


def _inverse(deviation: Floats) -> Floats:
    return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
