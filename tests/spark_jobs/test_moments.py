import functools

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.moments import FAN_IN, Moments, batch_moments, feature_moments, matrix

WIDTH = 12


def frame(spark: SparkSession, rows: np.ndarray, partitions: int) -> DataFrame:
    data = [(f"s3://b/{index}.jpg", row.tolist()) for index, row in enumerate(rows)]
    return spark.createDataFrame(spark.sparkContext.parallelize(data, partitions), "path string, features array<float>")


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


@pytest.mark.parametrize("partitions", [1, 5, 20], ids=["one", "few", "more than rows or fan-in"])
def test_one_pass_finds_the_moments_whatever_the_partitions(spark: SparkSession, partitions: int) -> None:
    rows = ordinary(16)
    assert_moments_of(feature_moments(frame(spark, rows, partitions), WIDTH), rows)


def test_blocks_within_a_batch_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_jobs.moments.BLOCK_ROWS", 7)
    rows = ordinary(50)
    assert_moments_of(batch_moments([batch(rows[:30].tolist()), batch(rows[30:].tolist())], WIDTH), rows)


def test_means_a_million_deviations_away_keep_their_deviations() -> None:
    rows = np.random.default_rng(2).normal(1e6, 1.0, (5000, WIDTH)).astype(np.float32)
    halves = [Moments.of(half.astype(np.float64)) for half in np.split(rows, 2)]
    together = halves[0].merge(halves[1])

    exact = rows.astype(np.longdouble).std(axis=0, ddof=1).astype(float)
    np.testing.assert_allclose(together.deviation, exact, rtol=1e-12)
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
    moments = functools.reduce(Moments.merge, map(Moments.of, np.split(rows, [1100, 1101, 3777, 5000])))

    assert np.flatnonzero(moments.constant).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(moments.deviation == 0).tolist() == [0, 1, 2, 3, 4]


def test_the_driver_merges_few_partial_matrices_however_many_partitions(spark: SparkSession) -> None:
    context = spark.sparkContext
    context.setJobGroup("fan-in", "moments")
    feature_moments(frame(spark, ordinary(100), 24), WIDTH)
    context.setJobGroup("other", "")

    tracker = context.statusTracker()
    stages = [
        tracker.getStageInfo(stage)
        for job in tracker.getJobIdsForGroup("fan-in")
        for stage in tracker.getJobInfo(job).stageIds
    ]
    last = max((stage for stage in stages if stage), key=lambda stage: stage.stageId)
    assert last.numTasks <= FAN_IN + 1


def test_workers_use_one_blas_thread_each(spark: SparkSession) -> None:
    def threads(batches):
        import os

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"threads": [os.environ.get("OMP_NUM_THREADS")]})

    assert spark.range(1).coalesce(1).mapInArrow(threads, "threads string").first()["threads"] == "1"


def test_unusable_rows_are_left_out_counted_and_named(spark: SparkSession) -> None:
    rows = ordinary(40)
    for index, value in ((3, np.nan), (20, np.inf), (21, -np.inf), (39, np.nan)):
        rows[index, index % WIDTH] = value
    moments = feature_moments(frame(spark, rows, 3), WIDTH)

    assert moments.unusable == 4
    assert moments.unusable_paths == ("s3://b/3.jpg", "s3://b/20.jpg", "s3://b/21.jpg")
    assert_moments_of(moments, rows[np.isfinite(rows).all(axis=1)])


def test_missing_features_and_other_numbers_of_them_are_unusable_too() -> None:
    moments = batch_moments([batch([[1.0, 2.0], None, [1.0, None], [3.0, 4.0], [5.0, 6.0, 7.0], []])], 2)
    assert (moments.count, moments.unusable, moments.unusable_paths) == (2, 4, ("p1", "p2", "p4"))
    assert moments.mean.tolist() == [2.0, 3.0]


def test_no_rows_have_no_moments(spark: SparkSession) -> None:
    moments = feature_moments(frame(spark, ordinary(5), 2).where("path is null"), WIDTH)
    assert (moments.count, moments.unusable) == (0, 0)
    assert moments.scatter.shape == (WIDTH, WIDTH)


def test_a_slice_of_a_batch_is_its_own_matrix() -> None:
    column = batch([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).slice(1, 2).column("features")
    assert matrix(column, 2).tolist() == [[3.0, 4.0], [5.0, 6.0]]
