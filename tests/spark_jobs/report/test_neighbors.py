import numpy as np
import pytest

from spark_jobs.report.neighbors import (
    closest_pairs,
    confusions,
    knn_accuracy,
    knn_votes,
    nearest_rows,
    right_by_label,
)


def test_each_row_is_judged_by_the_others_only() -> None:
    # Two pairs and a stray: the nearest other row of each in a pair is its twin, that of the stray is a "b".
    vectors = np.array([[0.0], [0.1], [5.0], [5.1], [5.3]])
    assert knn_accuracy(vectors, ["a", "a", "b", "b", "c"], neighbors=1) == 4 / 5


def test_the_majority_of_the_nearest_decides() -> None:
    vectors = np.array([[0.0], [1.0], [2.0], [3.0], [100.0], [101.0], [102.0]])
    labels = ["a", "b", "a", "a", "b", "b", "b"]
    # The "b" at 1 has three "a" for its nearest; everyone else is among their own.
    assert knn_accuracy(vectors, labels, neighbors=3) == 6 / 7


def test_of_equally_many_the_nearest_wins() -> None:
    vectors = np.array([[0.0], [1.0], [-2.0]])
    # Around 0 and around 1 a "b" is nearer than the "a"; around -2 there are only "b".
    assert knn_accuracy(vectors, ["b", "b", "a"], neighbors=2) == 2 / 3


def test_of_equally_many_the_nearest_wins_wherever_the_others_are() -> None:
    # Around 0 there are, from near to far, a b b c a: as many "a" as "b", an "a" is the nearest, and "b" have the better ranks.
    vectors = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    labels = ["a", "a", "b", "b", "c", "a"]
    assert knn_votes(vectors, labels)[0] == "a"
    assert knn_votes(vectors, ["a", "b", "a", "a", "c", "b"])[0] == "b"


def test_a_majority_beats_the_nearest() -> None:
    vectors = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    assert knn_votes(vectors, ["a", "a", "b", "c", "b", "b"])[0] == "b"


def test_noise_tells_nothing_apart_and_separate_clouds_everything() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c", "d"], 200)
    noise = generator.normal(size=(800, 10))
    assert knn_accuracy(noise, labels) == pytest.approx(0.25, abs=0.05)
    clouds = noise + 20 * np.repeat(np.eye(4, 10), 200, axis=0)
    assert knn_accuracy(clouds, labels) == 1.0


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    vectors, labels = generator.normal(size=(100, 3)), generator.integers(0, 3, 100)
    whole = knn_accuracy(vectors, labels)
    monkeypatch.setattr("spark_jobs.report.neighbors._CHUNK", 7)
    assert knn_accuracy(vectors, labels) == whole


@pytest.mark.parametrize(("rows", "expected"), [(0, None), (1, None), (2, 1.0)])
def test_few_rows(rows: int, expected: float | None) -> None:
    assert knn_accuracy(np.zeros((rows, 4)), ["a"] * rows) == expected


def test_what_is_taken_for_what_is_counted() -> None:
    votes = np.array(["A", "B", "B", "B", "C", "A"])
    labels = ["A", "A", "A", "B", "C", "C"]

    assert right_by_label(votes, labels) == {"A": (1, 3), "B": (1, 1), "C": (1, 2)}
    assert confusions(votes, labels, 1) == [("A", "B", 2)]
    assert confusions(votes, labels, 9) == [("A", "B", 2), ("C", "A", 1)]


def test_a_copy_is_the_closest_of_pairs() -> None:
    features = np.random.default_rng(0).random((20, 8))
    features[17] = 2 * features[3]  # the cosine does not see the length
    features[9] = 0  # has no direction
    (first, second, cosine), *rest = closest_pairs(
        features, nearest_rows(features / features.sum(axis=1, keepdims=True).clip(1)), 5
    )

    assert (first, second) == (3, 17)
    assert cosine == pytest.approx(1)
    assert all(pair[2] < 0.9999 for pair in rest)
    assert closest_pairs(features[:1], nearest_rows(features[:1]), 5) == []
