"""The search finds what comparing everything finds."""

import numpy as np
import pytest

from app.lookup import is_sure
from app.search import ExactSearch, GraphSearch, Match
from app.settings import Settings


def vectors(count: int, varieties: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of directions, sorted by variety, and where each begins."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(varieties, 64))
    which = np.sort(random.integers(0, varieties, count))
    found = (centers[which] + random.normal(size=(count, 64))).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found, np.searchsorted(which, np.arange(varieties))


def test_the_exact_search_finds_the_nearest_images_of_the_nearest_varieties() -> None:
    all_vectors, starts = vectors(500, 12)
    variety_of = np.searchsorted(starts, np.arange(500), side="right") - 1
    for query in all_vectors[::50]:
        similarities = all_vectors @ query
        order = np.argsort(-similarities)
        wanted = list(dict.fromkeys(variety_of[order].tolist()))[:3]
        matches = ExactSearch(all_vectors, starts).matches(query)

        assert [match.variety for match in matches] == wanted
        for match in matches:
            rows = [row for row in order if variety_of[row] == match.variety][:3]
            assert match.rows == rows
            assert match.similarity == pytest.approx(similarities[rows[0]])


def test_the_graph_finds_what_the_exact_search_finds() -> None:
    all_vectors, starts = vectors(4000, 40)
    exact, graph = ExactSearch(all_vectors, starts), GraphSearch(all_vectors.astype(np.float16), starts)
    queries = all_vectors[::40]
    same = [exact.matches(query)[0].variety == graph.matches(query)[0].variety for query in queries]

    assert np.mean(same) >= 0.98
    assert graph.matches(queries[7])[0].similarity == pytest.approx(1, abs=2e-3)  # half precision


@pytest.mark.parametrize("search", [ExactSearch, GraphSearch])
def test_fewer_than_three_varieties_are_no_failure(search: type) -> None:
    all_vectors, starts = vectors(9, 1)

    (match,) = search(all_vectors, starts).matches(all_vectors[4])
    assert match.rows[0] == 4
    assert len(match.rows) == 3


@pytest.mark.parametrize("search", [ExactSearch, GraphSearch])
def test_a_variety_far_behind_a_large_one_is_found(search: type) -> None:
    all_vectors, _ = vectors(900, 1)
    all_vectors[-1] *= -1

    assert [m.variety for m in search(all_vectors, np.array([0, 899])).matches(all_vectors[0])] == [0, 1]


@pytest.mark.parametrize(
    ("similarities", "sure"),
    [
        ([0.9, 0.8], True),
        ([0.9], True),
        ([0.74, 0.5], False),  # like nothing that is known
        ([0.9, 0.88], False),  # like two varieties
    ],
)
def test_an_answer_is_sure_if_it_is_similar_and_ahead(similarities: list[float], *, sure: bool) -> None:
    settings = Settings("", min_similarity=0.75, min_margin=0.03)

    assert is_sure([Match(number, value, [0]) for number, value in enumerate(similarities)], settings) is sure
