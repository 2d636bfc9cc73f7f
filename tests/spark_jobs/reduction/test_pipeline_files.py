"""That Spark loads the files, and gets the numbers: see test_pca_model.py."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import MatrixUDT, VectorUDT
from pyspark.sql import SparkSession
from pyspark.sql.types import StructField, StructType

from spark_jobs.reduction.pca import Pca
from spark_jobs.reduction.pipeline_files import pipeline_files, row_metadata


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    components = np.arange(12.0).reshape(4, 3)
    return pipeline_files(Pca(np.arange(4.0), np.ones(4), components, np.array([0.5, 0.25, 0.125])))


def test_the_types_are_described_as_spark_describes_them() -> None:
    ours = row_metadata({"pc": "MatrixUDT", "explainedVariance": "VectorUDT"})
    theirs = StructType([StructField("pc", MatrixUDT()), StructField("explainedVariance", VectorUDT())])
    assert json.loads(ours) == json.loads(theirs.json())


def test_spark_writes_the_same_columns_and_parameters(
    spark: SparkSession, files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, content in files.items():
        file = tmp_path / "ours" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    PipelineModel.load(f"file://{tmp_path}/ours").save(f"file://{tmp_path}/theirs")  # needs the fixture's session

    for stage in ("0_features_standardization", "1_features_pca"):
        ours, theirs = (tmp_path / side / "stages" / stage for side in ("ours", "theirs"))
        assert _row(ours) == _row(theirs)
        assert _parameters(ours) == _parameters(theirs)
    assert _parameters(tmp_path / "ours") == _parameters(tmp_path / "theirs")


def _row(stage: Path) -> pa.Table:
    (file,) = (stage / "data").glob("*.parquet")
    return pq.ParquetFile(file).read().replace_schema_metadata()


def _parameters(folder: Path) -> dict[str, object]:
    (file,) = (folder / "metadata").glob("part-*")  # Spark 3.5 and 4.0 name it differently
    document = json.loads(file.read_text())
    return {key: document[key] for key in ("class", "sparkVersion", "uid", "paramMap")}
