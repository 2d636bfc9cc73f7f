from pathlib import Path

import numpy as np
import pytest
from pyspark.ml import PipelineModel, feature
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.pipeline import Pipeline
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.errors import JobError
from spark_jobs.reduction.moments import Moments
from spark_jobs.reduction.pca import Fit, components_for, explained_share, fit, flip_signs


def correlated(rows: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(width, width)) * np.geomspace(1, 0.01, width)[:, np.newaxis]
    return (generator.normal(size=(rows, width)) @ mixing).astype(np.float32)


def fit_rows(rows: np.ndarray, **options: float) -> Fit:
    return fit(Moments.from_rows(rows.astype(np.float64)), **options)


def frame(spark: SparkSession, rows: np.ndarray) -> DataFrame:
    data = [(f"{index:05}.jpg", f"label {index % 3}", row.tolist()) for index, row in enumerate(rows)]
    return spark.createDataFrame(data, "path string, label string, features array<float>")


def spark_ml(vectors: DataFrame, components: int) -> PipelineModel:
    scaler = feature.StandardScaler(inputCol="vector", outputCol="scaled", withMean=True, withStd=True)
    return Pipeline(stages=[scaler, feature.PCA(k=components, inputCol="scaled", outputCol="pca")]).fit(vectors)


def badly_scaled(rows: int, width: int) -> np.ndarray:
    """Means a million deviations away, deviations over ten orders of magnitude, two constant columns."""
    scale = np.geomspace(1e-5, 1e5, width)
    data = correlated(rows, width).astype(np.float64)
    data = ((data / data.std(axis=0) + 1e6) * scale).astype(np.float32)
    data[:, 4] = 0.1
    data[:, 9] = 0.0
    return data


def reference(path: Path) -> np.ndarray:
    return np.load(path)["features"]


@pytest.mark.parametrize("data", [correlated(300, 40), badly_scaled(300, 40)], ids=["ordinary", "badly scaled"])
def test_agrees_with_spark_ml(spark: SparkSession, data: np.ndarray) -> None:
    assert_agrees_with_spark_ml(spark, data, components=12)


def test_agrees_with_spark_ml_on_real_features(spark: SparkSession, reference_features: Path) -> None:
    assert_agrees_with_spark_ml(spark, reference(reference_features), components=40)


def assert_agrees_with_spark_ml(spark: SparkSession, data: np.ndarray, components: int) -> None:
    ours = fit_rows(data, components=components).pca
    vectors = frame(spark, data).withColumn("vector", array_to_vector("features")).cache()
    model = spark_ml(vectors, components)
    theirs = model.stages[1].pc.toArray()
    signs = np.sign((ours.components * theirs).sum(axis=0))

    np.testing.assert_allclose(
        ours.explained_variance_ratio, model.stages[1].explainedVariance.toArray(), rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(ours.components, theirs * signs, rtol=0, atol=1e-6)
    transformed = model.transform(vectors).orderBy("path").select(vector_to_array("pca").alias("pca")).toPandas()
    np.testing.assert_allclose(ours.project(data.astype(np.float64)), np.stack(transformed["pca"]) * signs, atol=1e-6)
    vectors.unpersist()


def test_the_published_figures_of_the_real_features(reference_features: Path) -> None:
    data = reference(reference_features)
    found = fit_rows(data, variance=0.8)

    assert found.pca.n_components == 40
    assert found.cumulative_variance[38:40].round(5).tolist() == [0.79964, 0.80285]
    assert fit_rows(data, variance=0.95).pca.n_components == 140
    assert np.count_nonzero(found.pca.scale == 0) == 44
    assert len(found.cumulative_variance) == 315
    assert found.cumulative_variance[-1] == pytest.approx(1, abs=1e-12)


def test_variance_is_reached_with_as_few_components_as_possible() -> None:
    curve = np.array([0.5, 0.8, 0.95, 1 - 1e-15])
    reached = {variance: components_for(variance, curve) for variance in (0.1, 0.5, 0.5001, 0.8, 0.95, 0.96, 1.0)}
    assert reached == {0.1: 1, 0.5: 1, 0.5001: 2, 0.8: 2, 0.95: 3, 0.96: 4, 1.0: 4}


@pytest.mark.parametrize(
    ("rows", "width", "asked", "kept"),
    [(10, 30, 20, 9), (50, 8, 20, 6), (50, 8, 6, 6), (2, 30, 5, 1)],
    ids=["fewer rows", "fewer varying features", "as many as there are", "two rows"],
)
def test_components_never_exceed_what_the_data_has(rows: int, width: int, asked: int, kept: int) -> None:
    data = correlated(rows, width)
    if width == 8:
        data[:, :2] = 7.5  # so that 6 vary
    assert fit_rows(data, components=asked).pca.components.shape == (width, kept)


def test_all_of_the_variance_takes_the_rank_of_the_data() -> None:
    once = correlated(6, 10)
    found = fit_rows(np.concatenate([once, once, once]), variance=1.0)
    assert found.pca.n_components == 5
    assert len(found.cumulative_variance) == 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (correlated(0, 5), "0 images with features: at least two are needed"),
        (correlated(1, 5), "1 image with features: at least two are needed"),
        (np.tile(correlated(1, 5), (30, 1)), "the features of all 30 images are identical"),
    ],
    ids=["none", "one", "identical"],
)
def test_without_variance_there_is_a_clear_error(data: np.ndarray, message: str) -> None:
    moments = Moments.from_rows(data.astype(np.float64)) if len(data) else Moments.empty(5)
    with pytest.raises(JobError, match=message):
        fit(moments, variance=0.8)


def test_signs_are_fixed_and_ignore_rounding() -> None:
    vectors = np.array([[0.6, 0.0, -0.5], [-0.8, 1.0, 0.5], [0.0, 0.0, -0.5], [0.0, 0.0, 0.5]])
    expected = [[-0.6, 0.0, 0.5], [0.8, 1.0, -0.5], [0.0, 0.0, 0.5], [0.0, 0.0, -0.5]]
    assert flip_signs(vectors).tolist() == expected
    assert flip_signs(-vectors).tolist() == expected
    rounded = vectors.copy()
    rounded[1, 2] += 1e-12  # now strictly the largest of its column
    np.testing.assert_allclose(flip_signs(rounded), expected, atol=1e-11)


def test_the_same_rows_in_another_order_give_the_same_model() -> None:
    data = correlated(200, 30)
    one = fit_rows(data, components=8).pca
    other = fit_rows(data[np.random.default_rng(3).permutation(200)], components=8).pca
    np.testing.assert_allclose(one.components, other.components, atol=1e-9)


def test_the_explained_share_of_other_rows_is_their_own() -> None:
    data = correlated(500, 20)
    found = fit_rows(data, components=4)
    assert explained_share(Moments.from_rows(data.astype(float)), found.pca) == pytest.approx(
        found.cumulative_variance[3], abs=1e-12
    )

    unlike = np.random.default_rng(5).normal(size=(5000, 20)) * found.pca.scale
    assert explained_share(Moments.from_rows(unlike), found.pca) == pytest.approx(4 / 20, abs=0.02)
    assert explained_share(Moments.from_rows(data[:1].astype(float)), found.pca) is None
