"""The passes over all features, on real Spark."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from spark_jobs.reduction.distributed import FAN_IN, feature_moments, project, scan

from .test_moments import WIDTH, assert_moments_of, ordinary
from .test_pca import badly_scaled, fit_rows
from .test_pca import frame as labeled_frame


def frame(spark: SparkSession, rows: np.ndarray, partitions: int) -> DataFrame:
    data = [(f"s3://b/{index}.jpg", f"label {index}", row.tolist()) for index, row in enumerate(rows)]
    schema = "path string, label string, features array<float>"
    return spark.createDataFrame(spark.sparkContext.parallelize(data, partitions), schema)


@pytest.mark.parametrize("partitions", [1, 5, 20], ids=["one", "few", "more than rows or fan-in"])
def test_one_pass_finds_the_moments_whatever_the_partitions(spark: SparkSession, partitions: int) -> None:
    rows = ordinary(16)
    assert_moments_of(feature_moments(frame(spark, rows, partitions), WIDTH), rows)


@pytest.mark.parametrize("partitions", [1, 20], ids=["one", "more than fan-in"])
def test_the_same_pass_takes_a_sample(spark: SparkSession, partitions: int) -> None:
    rows = ordinary(30)
    found = scan(frame(spark, rows, partitions), WIDTH, F.col("label").isin("label 3", "label 17", "label 29"))
    assert_moments_of(found.moments, rows)
    sample = found.sample.sort_by("path").to_pylist()
    assert [(row["path"], row["label"]) for row in sample] == [
        (f"s3://b/{index}.jpg", f"label {index}") for index in (17, 29, 3)
    ]
    np.testing.assert_array_equal(np.array([row["features"] for row in sample], np.float32), rows[[17, 29, 3]])


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


def test_invalid_rows_are_left_out_counted_and_named(spark: SparkSession) -> None:
    rows = ordinary(40)
    for index, value in ((3, np.nan), (20, np.inf), (21, -np.inf), (39, np.nan)):
        rows[index, index % WIDTH] = value
    moments = feature_moments(frame(spark, rows, 3), WIDTH)

    assert moments.invalid == 4
    assert moments.invalid_paths == ("s3://b/3.jpg", "s3://b/20.jpg", "s3://b/21.jpg")
    assert_moments_of(moments, rows[np.isfinite(rows).all(axis=1)])


def test_no_rows_have_no_moments(spark: SparkSession) -> None:
    moments = feature_moments(frame(spark, ordinary(5), 2).where("path is null"), WIDTH)
    assert (moments.count, moments.invalid) == (0, 0)
    assert moments.scatter.shape == (WIDTH, WIDTH)
    assert scan(frame(spark, ordinary(5), 2).where("path is null"), WIDTH, F.lit(True)).sample.num_rows == 0


def test_projecting_standardizes_and_rotates(spark: SparkSession) -> None:
    data = badly_scaled(60, 20)
    pca = fit_rows(data, components=5).pca
    written = project(labeled_frame(spark, data), pca).orderBy("path")

    assert written.dtypes == [("path", "string"), ("label", "string"), ("features_pca", "array<float>")]
    rows = written.collect()
    assert [row["path"] for row in rows] == [f"{index:05}.jpg" for index in range(60)]
    assert rows[4]["label"] == "label 1"
    vectors = np.array([row["features_pca"] for row in rows])
    exact = data.astype(np.float64)
    varying = np.delete(np.arange(20), [4, 9])
    standardized = (exact - exact.mean(axis=0))[:, varying] / exact.std(axis=0, ddof=1)[varying]
    np.testing.assert_allclose(vectors, standardized @ pca.components[varying], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.cov(vectors.T), np.diag(pca.explained_variance_ratio * 18), atol=1e-5)
