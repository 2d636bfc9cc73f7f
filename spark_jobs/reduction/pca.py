"""Standardization and principal components, from moments.

The convention is Spark ML's: StandardScaler(withMean=True, withStd=True) divides by the sample standard deviation (n - 1) and
turns a constant feature into 0; PCA then has as components the eigenvectors of the correlation matrix.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_jobs.errors import JobError
from spark_jobs.reduction.moments import Floats, Moments

# A share of variance counts as reached within this: the sum of 1,280 shares is 1 only up to rounding. The DAG's check of the
# components has the same number; a test compares the two.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Pca:
    """A fitted standardization and its leading components, for d features and k components.

    Attributes:
        mean: (d,).
        scale: (d,), the standard deviations; 0 where a feature was constant.
        components: (d, k), one unit vector a column, largest variance first; rows of constant features are 0.
        explained_variance_ratio: (k,), each component's share of the variance of the standardized features.
    """

    mean: Floats
    scale: Floats
    components: Floats
    explained_variance_ratio: Floats

    @property
    def n_components(self) -> int:
        """The number of components, k."""
        return self.components.shape[1]

    def standardize(self, rows: Floats) -> Floats:
        """Return (n, d) features with mean 0 and standard deviation 1; constant features become 0."""
        centered = rows - self.mean
        centered *= _inverse(self.scale)
        return centered

    def project(self, rows: Floats) -> Floats:
        """Return the (n, k) components of (n, d) features."""
        return self.standardize(rows) @ self.components


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes:
        pca: the components kept.
        cumulative_variance: the share of variance of 1, 2, … components together, for as many as the data can have.
    """

    pca: Pca
    cumulative_variance: Floats


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
        raise JobError(
            f"{moments.count} image{'' if moments.count == 1 else 's'} with features: at least two are needed"
        )
    varying = np.flatnonzero(~moments.constant)
    if not varying.size:
        raise JobError(f"the features of all {moments.count} images are identical: there is no variance to explain")

    max_components = min(moments.count - 1, varying.size)
    values, vectors = np.linalg.eigh(correlation(moments, varying))
    ratios = np.clip(values[::-1][:max_components], 0, None) / varying.size  # the trace: each feature has variance 1
    cumulative = np.cumsum(ratios)
    n_components = min(components or components_for(variance or 1.0, cumulative), max_components)

    kept = np.zeros((len(moments.mean), n_components))
    kept[varying] = flip_signs(vectors[:, ::-1][:, :n_components])
    return Fit(Pca(moments.mean, moments.std, kept, ratios[:n_components]), cumulative)


def components_for(variance: float, cumulative_variance: Floats) -> int:
    """Return the smallest number of components whose cumulative share reaches `variance`."""
    return min(int(np.searchsorted(cumulative_variance, variance - TOLERANCE)) + 1, len(cumulative_variance))


def explained_share(moments: Moments, pca: Pca) -> float | None:
    """Return the share of the variance of `moments`, standardized as `pca` does, that the components keep.

    For the rows of the fit this is the sum of `explained_variance_ratio`; for others it says how well the fit still
    suits them. None if no feature that varied in the fit varies here.
    """
    inverse = _inverse(pca.scale)
    scatter = moments.scatter * np.outer(inverse, inverse)
    total = float(np.trace(scatter))
    kept = float(np.sum((scatter @ pca.components) * pca.components))
    return kept / total if total else None


def correlation(moments: Moments, varying: npt.NDArray[np.intp]) -> Floats:
    """Return the correlation matrix of the features at the indices `varying`."""
    norms = np.sqrt(np.diagonal(moments.scatter)[varying])
    return moments.scatter[np.ix_(varying, varying)] / np.outer(norms, norms)


def flip_signs(vectors: Floats) -> Floats:
    """Return (d, k) unit vectors, each with the sign that makes its largest entry positive.

    An eigenvector's sign is arbitrary; with this rule two runs on the same data agree (as in scikit-learn's `svd_flip`).
    Entries within a millionth of the largest count as equal and the first of them decides, so that rounding does not.
    """
    size = np.abs(vectors)
    deciding = np.argmax(size >= size.max(axis=0) * (1 - 1e-6), axis=0)
    return vectors * np.where(np.take_along_axis(vectors, deciding[np.newaxis], axis=0) < 0, -1.0, 1.0)


def _inverse(scale: Floats) -> Floats:
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
