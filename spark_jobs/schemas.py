"""The Parquet contracts between the jobs and with the DAG: column names, order and types."""

from collections.abc import Iterable

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import ArrayType, DataType, StructType

from spark_jobs import storage
from spark_jobs.sessions import JobError

FEATURE_COUNT = 1280

_IMAGE = [("path", pa.string()), ("label", pa.string()), ("etag", pa.string()), ("size", pa.int64())]

INVENTORY = pa.schema([*_IMAGE, ("last_modified", pa.timestamp("us", tz="UTC"))])
MANIFEST = INVENTORY
FEATURES = pa.schema(
    [
        *_IMAGE,
        ("model_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("features", pa.list_(pa.field("element", pa.float32()))),
    ]
)
REJECTS = pa.schema([*_IMAGE, ("reason", pa.string()), ("detail", pa.string())])
PCA = pa.schema(
    [("path", pa.string()), ("label", pa.string()), ("features_pca", pa.list_(pa.field("element", pa.float32())))]
)


def spark_schema(schema: pa.Schema) -> StructType:
    """Return the Spark form of `schema`; every column is nullable, as in any Parquet that Spark reads."""
    return from_arrow_schema(schema)


def read_dataset(spark: SparkSession, uris: str | Iterable[str], schema: pa.Schema, name: str) -> DataFrame:
    """Read Parquet files or folders that hold `schema`, whatever order their columns are in.

    Args:
        spark: the session.
        uris: one or more URIs, as `storage.normalize` returns them.
        schema: a contract of this module.
        name: what an error calls the dataset ("manifest").

    Returns:
        Exactly the columns of `schema`, in its order.

    Raises:
        JobError: nothing to read, or a column is missing or has another type.
    """
    uris = [uris] if isinstance(uris, str) else list(uris)
    try:
        frame = spark.read.parquet(*(glob_escaped(uri) for uri in uris))
    except AnalysisException as error:
        raise JobError(f"{name} {', '.join(uris)}: cannot be read: {str(error).splitlines()[0]}") from error
    check_columns(frame.schema, schema, f"{name} {', '.join(uris)}")
    return frame.select(*schema.names)


def read_files(spark: SparkSession, uri: str, schema: pa.Schema) -> DataFrame:
    """Read Parquet known to hold `schema`: written by this job, or looked at by `check_files`.

    Unlike `read_dataset` it starts no Spark job to find out, which saves a small run two seconds.
    """
    return spark.read.schema(spark_schema(schema)).parquet(glob_escaped(uri))


def check_files(uri: str, schema: pa.Schema, name: str) -> int:
    """Look at the footers of the Parquet file or folder `uri`, without Spark.

    Returns:
        Number of rows.

    Raises:
        JobError: it cannot be read, or a column is missing or has another type.
    """
    from pyarrow import dataset  # with pandas behind it: a quarter of a second that executors need not spend

    fs, path = storage.filesystem(uri)
    try:
        files = [path] if fs.isfile(path) else sorted(file for file in fs.find(path) if _is_data(file[len(path) :]))
        if not files:
            raise JobError(f"{name} {uri}: no Parquet file there")
        parts = dataset.dataset(files, format="parquet", filesystem=fs)
        rows = parts.count_rows()
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{name} {uri}: cannot be read: {error}") from error
    check_columns(from_arrow_schema(parts.schema), schema, f"{name} {uri}")
    return rows


def _is_data(relative: str) -> bool:
    """Say whether Spark would read the file; it skips names that begin with `_` or `.`."""
    return not any(part.startswith(("_", ".")) for part in relative.split("/"))


def check_columns(found: StructType, schema: pa.Schema, name: str) -> None:
    """Compare the columns of a dataset with the contract, by name and type; extra columns are let pass.

    Raises:
        JobError: every difference at once.
    """
    types = {field.name: _comparable(field.dataType) for field in found.fields}
    differences = [
        f"{field.name}: expected {expected}, found {types.get(field.name, 'no such column')}"
        for field in spark_schema(schema).fields
        if types.get(field.name) != (expected := _comparable(field.dataType))
    ]
    if differences:
        raise JobError(f"{name}: wrong columns: {'; '.join(differences)}")


def _comparable(data_type: DataType) -> str:
    if isinstance(data_type, ArrayType):  # whether elements may be null is not part of the contract
        return f"array<{_comparable(data_type.elementType)}>"
    return data_type.simpleString()


def glob_escaped(uri: str) -> str:
    """Return `uri` so that Spark's readers, which expand globs, take it literally."""
    return "".join(f"\\{character}" if character in r"\{}[]*?" else character for character in uri)
