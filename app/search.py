"""The most similar varieties: by comparison with every vector, or above a limit through a graph of neighbors."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

VARIETIES = 3
EXAMPLES = 3


@dataclass(frozen=True)
class Match:
    """A variety that is similar.

    Attributes:
        variety: its number.
        similarity: cosine of the query with its most similar image.
        rows: of its most similar images, the most similar one first.
    """

    variety: int
    similarity: float
    rows: list[int]


class Search(Protocol):
    """What finds matches."""

    def matches(self, query: npt.NDArray[np.float32]) -> list[Match]:
        """Return the `VARIETIES` most similar varieties to a vector of length 1, (1280,), the most similar one first."""


class ExactSearch:
    """Compares with every vector.

    Args:
        vectors: (n, d), of length 1, sorted by variety.
        starts: where each variety begins.
    """

    def __init__(self, vectors: npt.NDArray[Any], starts: npt.NDArray[np.intp]) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._starts = starts
        self._ends = np.append(starts[1:], len(vectors))

    def matches(self, query: npt.NDArray[np.float32]) -> list[Match]:
        """Return the most similar varieties."""
        similarities = self._vectors @ query
        best = np.maximum.reduceat(similarities, self._starts)
        return [self._match(int(variety), similarities) for variety in np.argsort(-best, kind="stable")[:VARIETIES]]

    def _match(self, variety: int, similarities: npt.NDArray[np.float32]) -> Match:
        start, end = self._starts[variety], self._ends[variety]
        rows = start + np.argsort(-similarities[start:end], kind="stable")[:EXAMPLES]
        return Match(variety, float(similarities[rows[0]]), rows.tolist())


class GraphSearch:
    """Walks a graph of neighbors (HNSW): some hundred comparisons, whatever the number of vectors; it may miss a neighbor.

    Args:
        vectors: (n, d), of length 1, sorted by variety.
        starts: where each variety begins.
    """

    def __init__(self, vectors: npt.NDArray[Any], starts: npt.NDArray[np.intp]) -> None:
        from usearch.index import Index

        self._index = Index(ndim=vectors.shape[1], metric="cos", dtype="f16")
        self._index.add(np.arange(len(vectors)), vectors)
        self._starts = starts
        self._count = len(vectors)

    def matches(self, query: npt.NDArray[np.float32]) -> list[Match]:
        """Return the most similar varieties: of the nearest 64 images, or of as many more as three varieties take."""
        count = 64
        while True:
            found = self._index.search(query, min(count, self._count))
            rows, similarities = found.keys.astype(np.intp), 1 - found.distances
            varieties = np.searchsorted(self._starts, rows, side="right") - 1
            distinct = list(dict.fromkeys(varieties.tolist()))
            if len(distinct) >= min(VARIETIES, len(self._starts)) or count >= min(self._count, 4096):
                break
            count *= 8
        return [
            Match(variety, float(similarities[varieties == variety][0]), rows[varieties == variety][:EXAMPLES].tolist())
            for variety in distinct[:VARIETIES]
        ]
