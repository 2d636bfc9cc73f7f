import functools

import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.reduction.moments import Moments, batch_moments, matrix

WIDTH = 12


def batch(rows: list[list[float | None] | None]) -> pa.RecordBatch:
    features = pa.array(rows, pa.list_(pa.float32()))
    return pa.RecordBatch.from_pydict({"path": [f"p{index}" for index in range(len(rows))], "features": features})


def ordinary(rows: int) -> np.ndarray:
    return np.random.default_rng(1).gamma(2.0, size=(rows, WIDTH)).astype(np.float32)


def assert_moments_of(moments: Moments, rows: np.ndarray) -> None:
    exact = rows.astype(np.longdouble)
    centered = exact - exact.mean(axis=0)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0).astype(float), rtol=1e-14)
    np.testing.assert_allclose(moments.scatter, (centered.T @ centered).astype(float), rtol=1e-11, atol=1e-11)


def test_blocks_within_a_batch_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_jobs.reduction.moments.BLOCK_ROWS", 7)
    rows = ordinary(50)
    assert_moments_of(batch_moments([batch(rows[:30].tolist()), batch(rows[30:].tolist())], WIDTH), rows)


def test_means_a_million_deviations_away_keep_their_deviations() -> None:
    rows = np.random.default_rng(2).normal(1e6, 1.0, (5000, WIDTH)).astype(np.float32)
    halves = [Moments.from_rows(half.astype(np.float64)) for half in np.split(rows, 2)]
    together = halves[0].merge(halves[1])

    exact = rows.astype(np.longdouble).std(axis=0, ddof=1).astype(float)
    np.testing.assert_allclose(together.std, exact, rtol=1e-12)
    naive = np.sqrt(((rows**2).mean(axis=0) - rows.mean(axis=0) ** 2).clip(0))
    assert np.abs(naive / exact - 1).max() > 1e-2, "the data is too tame to prove anything"


def test_a_constant_feature_has_no_deviation_at_all_and_a_barely_varying_one_has() -> None:
    rows = ordinary(6000).astype(np.float64)
    constants = np.array([0.0, 0.1, 1 / 3, -7e-41, 3.4e38], np.float32)
    rows[:, : len(constants)] = constants
    rows[:, 5] = np.float32(0.1)
    rows[4321, 5] = np.nextafter(np.float32(0.1), np.float32(1))
    rows[:, 6] = 0
    rows[4321, 6] = np.float32(1e-45)  # the smallest there is
    moments = functools.reduce(Moments.merge, map(Moments.from_rows, np.split(rows, [1100, 1101, 3777, 5000])))

    assert np.flatnonzero(moments.constant).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(moments.std == 0).tolist() == [0, 1, 2, 3, 4]


def test_missing_features_and_other_numbers_of_them_are_invalid_too() -> None:
    moments = batch_moments([batch([[1.0, 2.0], None, [1.0, None], [3.0, 4.0], [5.0, 6.0, 7.0], []])], 2)
    assert (moments.count, moments.invalid, moments.invalid_paths) == (2, 4, ("p1", "p2", "p4"))
    assert moments.mean.tolist() == [2.0, 3.0]


def test_a_slice_of_a_batch_is_its_own_matrix() -> None:
    column = batch([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).slice(1, 2).column("features")
    assert matrix(column, 2).tolist() == [[3.0, 4.0], [5.0, 6.0]]
