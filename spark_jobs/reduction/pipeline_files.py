"""A PCA in the files that `PipelineModel.load` reads, made without Spark.

Spark's Python API can only fit models, not build one from numbers, and its writer runs nine small jobs, 2 s of any
reduction. The files are those of Spark's `DefaultParamsWriter`, `Pipeline.SharedReadWrite`, `StandardScalerModel` and
`PCAModel` (mllib/src/main/scala/org/apache/spark/ml): for the pipeline and each stage a JSON line of parameters, and for each
stage a row of Parquet with vectors and matrices in the form of their user-defined types. The same from Spark 2.3 on.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyspark
from pyarrow import parquet

from spark_jobs.reduction.pca import Pca

INPUT, SCALED, OUTPUT = "features", "features_scaled", "features_pca"
STAGES = ("features_standardization", "features_pca")

_DENSE = 1  # the type of a dense vector or matrix; a sparse one is 0

# Spark's name for a type, and Arrow's, of a vector's and of a matrix's parts, each with whether it may be null.
_INTEGERS = (
    {"type": "array", "elementType": "integer", "containsNull": False},
    pa.list_(pa.field("element", pa.int32(), nullable=False)),
)
_DOUBLES = (
    {"type": "array", "elementType": "double", "containsNull": False},
    pa.list_(pa.field("element", pa.float64(), nullable=False)),
)
_VECTOR = {
    "type": ("byte", pa.int8(), False),
    "size": ("integer", pa.int32(), True),
    "indices": (*_INTEGERS, True),
    "values": (*_DOUBLES, True),
}
_MATRIX = {
    "type": ("byte", pa.int8(), False),
    "numRows": ("integer", pa.int32(), False),
    "numCols": ("integer", pa.int32(), False),
    "colPtrs": (*_INTEGERS, True),
    "rowIndices": (*_INTEGERS, True),
    "values": (*_DOUBLES, True),
    "isTransposed": ("boolean", pa.bool_(), False),
}
_PARTS = {"VectorUDT": _VECTOR, "MatrixUDT": _MATRIX}
_ROW_METADATA = "org.apache.spark.sql.parquet.row.metadata"  # where Spark looks for user-defined types


def pipeline_files(pca: Pca) -> dict[str, bytes]:
    """Return the content of each file of a PipelineModel by its path in the model's folder.

    `transform` of that model standardizes the vector column `features` and projects it to `features_pca`.
    """
    scaler, reduction = STAGES
    rows, columns = pca.components.shape
    matrix = {
        "type": _DENSE,
        "numRows": rows,
        "numCols": columns,
        "values": pca.components.ravel(order="F").tolist(),  # as Spark's matrices: column by column
        "isTransposed": False,
    }
    return {
        **_parameters("", "PipelineModel", "fruit_features", {"stageUids": STAGES}),
        **_parameters(
            f"stages/0_{scaler}/",
            "feature.StandardScalerModel",
            scaler,
            {"inputCol": INPUT, "outputCol": SCALED, "withMean": True, "withStd": True},
        ),
        **_data(
            f"stages/0_{scaler}/", {"std": _vector(pca.scale), "mean": _vector(pca.mean)}, "VectorUDT", "VectorUDT"
        ),
        **_parameters(
            f"stages/1_{reduction}/",
            "feature.PCAModel",
            reduction,
            {"inputCol": SCALED, "outputCol": OUTPUT, "k": pca.n_components},
        ),
        **_data(
            f"stages/1_{reduction}/",
            {"pc": matrix, "explainedVariance": _vector(pca.explained_variance_ratio)},
            "MatrixUDT",
            "VectorUDT",
        ),
    }


def _parameters(folder: str, name: str, uid: str, parameters: Mapping[str, Any]) -> dict[str, bytes]:
    document = {
        "class": f"org.apache.spark.ml.{name}",
        "timestamp": int(time.time() * 1000),
        "sparkVersion": pyspark.__version__,
        "uid": uid,
        "paramMap": parameters,
        "defaultParamMap": {},
    }
    return {f"{folder}metadata/part-00000": json.dumps(document).encode() + b"\n", f"{folder}metadata/_SUCCESS": b""}


def _vector(values: Any) -> dict[str, Any]:
    return {"type": _DENSE, "values": values.tolist()}


def _data(folder: str, row: Mapping[str, Any], *kinds: str) -> dict[str, bytes]:
    """Return the Parquet file of one row, whose columns have these kinds, and its mark."""
    columns = dict(zip(row, kinds, strict=True))
    schema = pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in columns.items()])
    stream = pa.BufferOutputStream()
    with parquet.ParquetWriter(stream, schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(pa.Table.from_pylist([dict(row)], schema))
        writer.add_key_value_metadata({_ROW_METADATA: row_metadata(columns)})
    return {f"{folder}data/part-00000.zstd.parquet": stream.getvalue().to_pybytes(), f"{folder}data/_SUCCESS": b""}


def _arrow_type(kind: str) -> pa.DataType:
    return pa.struct([pa.field(name, arrow, nullable) for name, (_, arrow, nullable) in _PARTS[kind].items()])


def row_metadata(columns: Mapping[str, str]) -> str:
    """Return Spark's own description of columns of these kinds, `VectorUDT` or `MatrixUDT`."""

    def field(name: str, kind: Any, nullable: bool) -> dict[str, Any]:  # noqa: FBT001 - a tuple's parts
        return {"name": name, "type": kind, "nullable": nullable, "metadata": {}}

    def column(name: str, kind: str) -> dict[str, Any]:
        stored = [field(part, spark, nullable) for part, (spark, _, nullable) in _PARTS[kind].items()]
        user_defined = {
            "type": "udt",
            "class": f"org.apache.spark.ml.linalg.{kind}",
            "pyClass": f"pyspark.ml.linalg.{kind}",
            "sqlType": {"type": "struct", "fields": stored},
        }
        return field(name, user_defined, nullable=True)

    return json.dumps({"type": "struct", "fields": [column(name, kind) for name, kind in columns.items()]})
