"""Class separation of vectors: a nearest-neighbor classifier, and what it takes for what."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spark_jobs.reduction.moments import Floats

NEIGHBORS = 5
_CHUNK = 512  # rows compared at a time: 512 x 4,000 float64 distances are 16 MB

Numbers = npt.NDArray[np.intp]


def knn_accuracy(vectors: Floats, labels: Sequence[str], neighbors: int = NEIGHBORS) -> float | None:
    """Return the share of rows whose label is the most frequent one among their nearest other rows.

    Leave-one-out cross-validation of a k-nearest-neighbor classifier; arguments and rule are those of `knn_votes`.

    Returns:
        None with fewer than two rows.
    """
    return accuracy(knn_votes(vectors, labels, neighbors), labels)


def accuracy(votes: npt.NDArray[np.str_], labels: Sequence[str]) -> float | None:
    """Return the share of `votes` that are right; None without votes."""
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
    return votes_of(nearest_rows(vectors, neighbors), labels)


def nearest_rows(vectors: Floats, neighbors: int = NEIGHBORS) -> Numbers:
    """Return the numbers of each row's nearest other rows, the nearest first: (n, k), or (0, 0) with fewer than two rows."""
    count = len(vectors)
    neighbors = min(neighbors, count - 1)
    if neighbors < 1:
        return np.empty((0, 0), np.intp)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    ranked = []
    for start in range(0, count, _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, count))
        distances = lengths[chunk, None] - 2 * vectors[chunk] @ vectors.T + lengths
        distances[np.arange(len(chunk)), chunk] = np.inf
        nearest = np.argpartition(distances, neighbors - 1, axis=1)[:, :neighbors]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
        ranked.append(np.take_along_axis(nearest, order, axis=1))
    return np.concatenate(ranked)


def votes_of(ranked: Numbers, labels: Sequence[str]) -> npt.NDArray[np.str_]:
    """Return the most frequent label among the rows that `nearest_rows` has found, for each row."""
    names, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return names[_majority(numbers[ranked])] if len(ranked) else names[:0]


def right_by_label(votes: npt.NDArray[np.str_], labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return for each label how many of its rows were voted right, and how many there are."""
    right = Counter(label for label, vote in zip(labels, votes.tolist(), strict=True) if label == vote)
    return {label: (right[label], count) for label, count in Counter(labels).items()}


def confusions(votes: npt.NDArray[np.str_], labels: Sequence[str], most: int) -> list[tuple[str, str, int]]:
    """Return label, wrong label and how often, the most frequent first."""
    wrong = Counter(pair for pair in zip(labels, votes.tolist(), strict=True) if pair[0] != pair[1])
    return [(*pair, count) for pair, count in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:most]]


def closest_pairs(features: Floats, ranked: Numbers, most: int) -> list[tuple[int, int, float]]:
    """Return the pairs of rows with the most similar features, with their cosine, among each row and its nearest.

    Args:
        features: (n, d), as extracted.
        ranked: of `nearest_rows`.
        most: how many pairs.
    """
    if not len(ranked):
        return []
    first = ranked[:, 0]
    lengths = np.sqrt(np.einsum("ij,ij->i", features, features))
    with np.errstate(invalid="ignore"):
        cosines = np.nan_to_num(np.einsum("ij,ij->i", features, features[first]) / (lengths * lengths[first]))
    pairs = {(min(i, j), max(i, j)): c for i, (j, c) in enumerate(zip(first.tolist(), cosines.tolist(), strict=True))}
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [(*pair, min(cosine, 1.0)) for pair, cosine in ordered[:most]]


def _majority(ranked: Numbers) -> Numbers:
    """Return the most frequent number of each row of (n, k); of equally frequent ones the one that comes first."""
    frequency = (ranked[:, :, None] == ranked[:, None, :]).sum(axis=2)
    first = frequency.argmax(axis=1)  # argmax takes the first of equal maxima: the nearest neighbor's
    return ranked[np.arange(len(ranked)), first]
