"""Class separation of vectors: the accuracy of a nearest-neighbor classifier."""

import numpy as np
import numpy.typing as npt

NEIGHBORS = 5
_CHUNK = 512  # rows compared at a time: 512 x 4,000 float64 distances are 16 MB


def knn_accuracy(vectors: npt.NDArray[np.float64], labels: npt.ArrayLike, neighbors: int = NEIGHBORS) -> float | None:
    """Return the share of rows whose label is the most frequent one among their nearest other rows.

    Leave-one-out cross-validation of a k-nearest-neighbor classifier with Euclidean distances; of equally frequent
    labels the nearest wins.

    Args:
        vectors: (n, d).
        labels: (n,).
        neighbors: k; all other rows where there are fewer.

    Returns:
        None with fewer than two rows.
    """
    count = len(vectors)
    neighbors = min(neighbors, count - 1)
    if neighbors < 1:
        return None
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    # Nearer votes weigh a little more: enough to decide a tie, too little to overrule a majority.
    weights = 1 + np.arange(neighbors, 0, -1) / (2 * neighbors**2)

    right = 0
    for start in range(0, count, _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, count))
        distances = lengths[chunk, None] - 2 * vectors[chunk] @ vectors.T + lengths
        distances[np.arange(len(chunk)), chunk] = np.inf
        nearest = np.argpartition(distances, neighbors - 1, axis=1)[:, :neighbors]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        votes = np.zeros((len(chunk), len(names)))
        np.add.at(votes, (np.arange(len(chunk))[:, None], numbers[nearest]), weights)
        right += int((votes.argmax(axis=1) == numbers[chunk]).sum())
    return right / count
