"""Class separation of vectors: the accuracy of a nearest-neighbor classifier."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spark_jobs.reduction.moments import Floats

NEIGHBORS = 5
_CHUNK = 512  # rows compared at a time: 512 x 4,000 float64 distances are 16 MB


def knn_accuracy(vectors: Floats, labels: Sequence[str], neighbors: int = NEIGHBORS) -> float | None:
    """Return the share of rows whose label is the most frequent one among their nearest other rows.

    Leave-one-out cross-validation of a k-nearest-neighbor classifier; arguments and rule are those of `knn_votes`.

    Returns:
        None with fewer than two rows.
    """
    votes = knn_votes(vectors, labels, neighbors)
    return float((votes == np.asarray(labels, dtype=str)).mean()) if len(votes) else None


def knn_votes(vectors: Floats, labels: Sequence[str], neighbors: int = NEIGHBORS) -> npt.NDArray[np.str_]:
    """Return for each row the most frequent label among its nearest other rows.

    Of equally frequent labels that of the nearest row wins. Distances are Euclidean.

    Args:
        vectors: (n, d).
        labels: (n,).
        neighbors: k; all other rows where there are fewer.

    Returns:
        (n,) labels; none with fewer than two rows.
    """
    names, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    count = len(vectors)
    neighbors = min(neighbors, count - 1)
    if neighbors < 1:
        return names[:0]
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    votes = []
    for start in range(0, count, _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, count))
        distances = lengths[chunk, None] - 2 * vectors[chunk] @ vectors.T + lengths
        distances[np.arange(len(chunk)), chunk] = np.inf
        nearest = np.argpartition(distances, neighbors - 1, axis=1)[:, :neighbors]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
        votes.append(_majority(numbers[np.take_along_axis(nearest, order, axis=1)]))
    return names[np.concatenate(votes)]


def _majority(ranked: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the most frequent number of each row of (n, k); of equally frequent ones the one that comes first."""
    frequency = (ranked[:, :, None] == ranked[:, None, :]).sum(axis=2)
    first = frequency.argmax(axis=1)  # argmax takes the first of equal maxima: the nearest neighbor's
    return ranked[np.arange(len(ranked)), first]
