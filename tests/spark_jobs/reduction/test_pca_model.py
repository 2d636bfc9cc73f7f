import json
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pyarrow as pa
import pyspark
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import vectors
from spark_jobs.reduction.feature_rows import COLUMNS
from spark_jobs.reduction.moments import Moments
from spark_jobs.reduction.pca import fit
from spark_jobs.reduction.pca_model import PcaModel


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    data = np.random.default_rng(0).normal(size=(80, 20)).astype(np.float32)
    data[:, 7] = 0.1
    return data


@pytest.fixture(scope="module")
def fitted(rows: np.ndarray) -> PcaModel:
    found = fit(Moments.from_rows(rows.astype(np.float64)), components=6)
    return PcaModel(
        found.pca, "mobilenetv2-0123456789abcdef-224-v1", len(rows), found.cumulative_variance.tolist(), "run 1"
    )


@pytest.fixture(scope="module")
def saved(fitted: PcaModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"file://{tmp_path_factory.mktemp('results')}/my fruits 100%/model"
    pca_model.save(fitted, uri)
    return uri


def test_spark_ml_alone_reproduces_the_written_vectors(
    spark: SparkSession, rows: np.ndarray, fitted: PcaModel, saved: str
) -> None:
    data = [(f"{index:03}", "Fig", row.tolist()) for index, row in enumerate(rows)]
    features = spark.createDataFrame(data, "path string, label string, features array<float>")
    columns = [dict(zip(COLUMNS.names, row, strict=True)) for row in data]
    written = vectors([pa.RecordBatch.from_pylist(columns, COLUMNS)], fitted.pca)["features_pca"].to_pylist()

    asked = features.withColumn("features", array_to_vector("features"))
    transformed = PipelineModel.load(saved).transform(asked).orderBy("path")
    theirs = [row["vector"] for row in transformed.select(vector_to_array("features_pca").alias("vector")).collect()]
    np.testing.assert_allclose(theirs, fitted.pca.project(rows.astype(np.float64)), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.array(theirs, np.float32), np.array(written, np.float32))


def test_it_is_the_pipeline_that_spark_itself_would_fit(saved: str) -> None:
    scaler, pca = PipelineModel.load(saved).stages
    assert (scaler.getWithMean(), scaler.getWithStd(), pca.getK()) == (True, True, 6)
    assert (scaler.getInputCol(), scaler.getOutputCol()) == ("features", "features_scaled")
    assert (pca.getInputCol(), pca.getOutputCol()) == ("features_scaled", "features_pca")


def test_loading_returns_what_was_saved(fitted: PcaModel, saved: str) -> None:
    loaded = pca_model.load(saved)
    assert (loaded.model_id, loaded.rows, loaded.cumulative_variance, loaded.run) == (
        fitted.model_id,
        80,
        fitted.cumulative_variance,
        "run 1",
    )
    for name in ("mean", "scale", "components", "explained_variance_ratio"):
        np.testing.assert_array_equal(getattr(loaded.pca, name), getattr(fitted.pca, name))


def test_the_description_says_what_it_is_without_spark(fitted: PcaModel, saved: str) -> None:
    description = json.loads(Path(f"{saved.removeprefix('file://')}.json").read_text())
    assert description["model_id"] == "mobilenetv2-0123456789abcdef-224-v1"
    assert description["spark"] == pyspark.__version__
    assert (description["rows"], description["features"], description["components"]) == (80, 20, 6)
    assert description["constant_features"] == [7]
    assert description["explained_variances"] == fitted.pca.explained_variance_ratio.tolist()
    assert description["mean"] == fitted.pca.mean.tolist()
    assert description["scale"] == fitted.pca.scale.tolist()
    assert description["scale"][7] == 0


def test_saving_again_replaces(fitted: PcaModel, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/model"
    pca_model.save(fitted, uri)
    again = PcaModel(fitted.pca, "other", 3, [1.0], "run 2")
    pca_model.save(again, uri)
    assert pca_model.load(uri).model_id == "other"


def test_what_was_written_is_told_and_what_something_else_has_put_there_is_named(
    fitted: PcaModel, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    written = pca_model.save(fitted, f"file://{folder}")
    there = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    marks = {name for name in there if name.endswith("/_SUCCESS")}
    assert len(marks) == 5
    assert written == {name: {"size": size, "etag": ""} for name, size in there.items() if name not in marks}

    (folder / "stages/notes.txt").touch()
    with pytest.raises(JobError, match=r"model/stages/notes\.txt: not written by this job"):
        pca_model.save(fitted, f"file://{folder}")
    assert (folder / "stages/notes.txt").exists()


def test_objects_in_s3_are_written_told_and_read_by_the_same_client(fitted: PcaModel, s3: Any) -> None:
    written = pca_model.save(fitted, "s3://fruits/my fruits 100%/model")
    listed = uris.list_stored("s3://fruits/my fruits 100%/model")
    assert written == {name: stored._asdict() for name, stored in listed.items() if not name.endswith("/_SUCCESS")}
    loaded = pca_model.load("s3://fruits/my fruits 100%/model")
    np.testing.assert_array_equal(loaded.pca.components, fitted.pca.components)


def test_a_model_that_is_not_there_is_an_error(saved: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"absent\.json: not found"):
        pca_model.load(f"file://{tmp_path}/absent")
    copy(f"{saved.removeprefix('file://')}.json", tmp_path / "described.json")
    with pytest.raises(JobError, match=r"described/metadata: no file there: not a Spark ML model"):
        pca_model.load(f"file://{tmp_path}/described")


def test_another_pipeline_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    vectors = spark.createDataFrame([([1.0, 2.0],), ([3.0, 5.0],)], "values array<double>").select(
        array_to_vector("values").alias("vector")
    )
    uri = f"file://{tmp_path}/model"
    Pipeline(stages=[StandardScaler(inputCol="vector", outputCol="scaled")]).fit(vectors).save(uri)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(JobError, match=r"not a standardization and a PCA, but \['StandardScalerModel'\]"):
        pca_model.load(uri)


def test_another_description_is_an_error(fitted: PcaModel, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/model"
    pca_model.save(fitted, uri)
    (tmp_path / "model.json").write_text('{"model_id": "net"}')
    with pytest.raises(JobError, match=r"model\.json: not the description of a model: no 'rows'"):
        pca_model.load(uri)
