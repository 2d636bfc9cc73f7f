"""What Spark ML itself saves, and what it does not; that of `pipeline_files` is in test_pca_model.py."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.errors import JobError
from spark_jobs.reduction.pca import Pca
from spark_jobs.reduction.pipeline_files import pipeline_files
from spark_jobs.reduction.pipeline_reader import read_pipeline

SCALER, REDUCTION = "stages/0_features_standardization", "stages/1_features_pca"
WIDTH, COUNT = 9, 4


def framed(spark: SparkSession, rows: np.ndarray) -> DataFrame:
    frame = spark.createDataFrame([(row.tolist(),) for row in rows], "vector array<double>")
    return frame.select(array_to_vector("vector").alias("features"))


def fitted(data: DataFrame, *, mean: bool = True) -> PipelineModel:
    scaler = StandardScaler(inputCol="features", outputCol="scaled", withMean=mean, withStd=True)
    return Pipeline(stages=[scaler, PCA(k=COUNT, inputCol="scaled", outputCol="reduced")]).fit(data)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, size=(40, WIDTH))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder as `pca_model.save` writes it."""
    generator = np.random.default_rng(0)
    pca = Pca(*(generator.normal(size=size) for size in (WIDTH, WIDTH, (WIDTH, COUNT), COUNT)))
    folder = tmp_path / "my fruits 100%/model"
    for name, content in pipeline_files(pca).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path) -> Pca:
    return read_pipeline(f"file://{folder}")


def assert_same(found: Pca, model: PipelineModel) -> None:
    scaler, reduction = model.stages
    for ours, theirs in (
        (found.mean, scaler.mean),
        (found.scale, scaler.std),
        (found.components, reduction.pc),
        (found.explained_variance_ratio, reduction.explainedVariance),
    ):
        expected = theirs.toArray()
        assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
        assert ours.tobytes() == expected.tobytes()


def test_what_spark_saves_is_read_to_the_bit(spark: SparkSession, rows: np.ndarray, tmp_path: Path) -> None:
    model = fitted(framed(spark, rows))
    model.save(f"file://{tmp_path}/model")
    assert_same(read(tmp_path / "model"), model)


def test_sparse_vectors_are_read_to_the_bit(spark: SparkSession, rows: np.ndarray, tmp_path: Path) -> None:
    """Spark saves the deviations like that if most features are constant."""
    rows[:, [0, 1, 2, 4, 6, 8]] = 0
    model = fitted(framed(spark, rows))
    model.save(f"file://{tmp_path}/model")
    [file] = tmp_path.glob("model/stages/0_*/data/*.parquet")
    assert pq.read_table(file)["std"][0]["type"].as_py() == 0
    assert_same(read(tmp_path / "model"), model)


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = pq.read_table(file)
    [row] = table.to_pylist()
    change(row)
    pq.write_table(pa.Table.from_pylist([row], table.schema), file)


def test_a_matrix_of_rows_is_read_to_the_bit(spark: SparkSession, ours: Path) -> None:
    def transpose(row: dict[str, Any]) -> None:
        row["pc"]["isTransposed"] = True

    changed(ours / REDUCTION / "data/part-00000.zstd.parquet", transpose)
    assert_same(read(ours), PipelineModel.load(f"file://{ours}"))  # needs the fixture's session


def test_part_files_have_any_name_and_all_but_one_may_be_empty(spark: SparkSession, ours: Path) -> None:
    expected = PipelineModel.load(f"file://{ours}")  # needs the fixture's session
    for stage in (SCALER, REDUCTION):
        data = ours / stage / "data"
        file = (data / "part-00000.zstd.parquet").rename(data / "part-00001-7f-c000.snappy.parquet")
        pq.write_table(pq.read_table(file).slice(0, 0), data / "part-00000-7f-c000.snappy.parquet")
        (data / ".part-00001-7f-c000.snappy.parquet.crc").write_bytes(b"crc")
        (data / "_SUCCESS").unlink()
        metadata = ours / stage / "metadata"
        (metadata / "part-00000").rename(metadata / "part-00001-7f-c000.txt")
        (metadata / "part-00000-7f-c000.txt").touch()
    assert_same(read(ours), expected)


def gone(name: str) -> Callable[[Path], Any]:
    return lambda folder: shutil.rmtree(folder / name)


def described(folder: str, **parameters: object) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        file = root / folder / "metadata/part-00000"
        document = json.loads(file.read_text())
        document["paramMap"] |= parameters
        file.write_text(json.dumps(document))

    return change


def replaced(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def put(folder: str, column: str, **parts: object) -> Callable[[Path], Any]:
    return lambda root: changed(root / folder / "data/part-00000.zstd.parquet", lambda row: row[column].update(parts))


def twice(folder: Path) -> None:
    file = folder / REDUCTION / "data/part-00000.zstd.parquet"
    shutil.copy(file, file.with_name("part-00001.zstd.parquet"))


SCALER_DATA, REDUCTION_DATA = (f"{stage}/data/part-00000.zstd.parquet" for stage in (SCALER, REDUCTION))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (gone("metadata"), "model/metadata: no file there: not a Spark ML model, or not all of it"),
        (gone(SCALER), f"{SCALER}/metadata: no file there"),
        (gone(f"{REDUCTION}/data"), f"{REDUCTION}/data: no file there"),
        (replaced("metadata/part-00000", b"{"), "metadata/part-00000: not what Spark ML writes: JSONDecodeError"),
        (replaced("metadata/part-00000", b"[]"), "metadata/part-00000: not what Spark ML writes: TypeError"),
        (replaced("metadata/part-00000", b"\xff"), "metadata/part-00000: not what Spark ML writes: Unicode"),
        (replaced("metadata/part-00000", b'{"class": "a.B", "paramMap": {}}'), "not a PipelineModel, but a.B"),
        (described("", stageUids=["features_standardization"]), r"not .* but \['StandardScalerModel'\]"),
        (described("", stageUids=None), "metadata/part-00000: not what Spark ML writes: TypeError"),
        (described(SCALER, withMean=False), f"{SCALER}/metadata/part-00000: withMean is False, not True"),
        (described(SCALER, withStd=None), f"{SCALER}/metadata/part-00000: withStd is None, not True"),
        (described(REDUCTION, k=5), f"{REDUCTION}/metadata/part-00000: k is 5, not 4"),
        (described(REDUCTION, inputCol="features"), "inputCol is features, not features_scaled"),
        (replaced(SCALER_DATA, b"PAR1"), f"{SCALER_DATA}: not what Spark ML writes: ArrowInvalid"),
        (put(SCALER, "std", values=[1.0] * 8), "9 means, 8 deviations, 9 x 4 components and 4 shares"),
        (put(SCALER, "std", values=None), f"{SCALER_DATA}: not what .*: a list of numbers is missing"),
        (put(SCALER, "mean", type=2), f"{SCALER_DATA}: not what .*: a vector of type 2"),
        (put(SCALER, "mean", type=0, size=9, indices=[9], values=[1.0]), f"{SCALER_DATA}: not what .*: IndexError"),
        (put(SCALER, "mean", values=[float("nan")] * 9), "a number is not finite"),
        (put(REDUCTION, "pc", type=0), f"{REDUCTION_DATA}: not what .*: a matrix of type 0"),
        (put(REDUCTION, "pc", numRows=8), f"{REDUCTION_DATA}: not what .*: ValueError: cannot reshape"),
        (put(REDUCTION, "explainedVariance", values=[0.5]), "9 x 4 components and 1 shares"),
        (lambda folder: shutil.copy(folder / SCALER_DATA, folder / REDUCTION_DATA), f"{REDUCTION_DATA}: .* KeyError"),
        (twice, f"{REDUCTION}/data: 2 rows, not one"),
    ],
)
def test_whatever_else_is_there_is_named(ours: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(ours)
    with pytest.raises(JobError, match=message):
        read(ours)


def test_a_pca_of_rows_that_were_not_centered_is_refused(spark: SparkSession, rows: np.ndarray, tmp_path: Path) -> None:
    """Spark's default, which we would standardize otherwise than it does."""
    fitted(framed(spark, rows), mean=False).save(f"file://{tmp_path}/model")
    with pytest.raises(JobError, match="withMean is False, not True"):
        read(tmp_path / "model")
