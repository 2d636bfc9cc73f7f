"""The Parquet contracts between the jobs and with the DAG: column names, order and types."""

from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import ArrayType, DataType, StructType

from spark_jobs import storage
from spark_jobs.sessions import JobError

if TYPE_CHECKING:
    from pyarrow import dataset

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


def read_files(spark: SparkSession, uri: str, schema: pa.Schema) -> DataFrame:
    """Read Parquet known to hold `schema`: written by this job, or looked at by `check_files`.

    Spark would start a job of its own to find out, half a second for each dataset.

    Args:
        spark: the session.
        uri: of a file or folder, as `storage.normalize` returns it.
        schema: a contract of this module.

    Returns:
        Exactly the columns of `schema`, in its order, whatever order they are stored in.
    """
    return spark.read.schema(spark_schema(schema)).parquet(glob_escaped(uri)).select(*schema.names)


def check_files(uri: str, schema: pa.Schema, name: str) -> "dataset.Dataset":
    """Look at the footer of the first Parquet file at `uri`, a file or a folder of them, without Spark.

    Args:
        uri: as `storage.normalize` returns it.
        schema: a contract of this module.
        name: what an error calls the dataset ("manifest").

    Raises:
        JobError: nothing to read, or a column is missing or has another type.
    """
    from pyarrow import dataset  # with pandas behind it: a quarter of a second that executors need not spend

    fs, path = storage.filesystem(uri)
    try:
        files = [path] if fs.isfile(path) else sorted(file for file in fs.find(path) if _is_data(file[len(path) :]))
        if not files:
            raise JobError(f"{name} {uri}: no Parquet file there")
        found = dataset.dataset(files, format="parquet", filesystem=fs)
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{name} {uri}: cannot be read: {error}") from error
    check_columns(from_arrow_schema(found.schema), schema, f"{name} {uri}")
    return found


def count_rows(uri: str, schema: pa.Schema, name: str) -> int:
    """Add up the rows that the footers of the files at `uri` tell; arguments and errors are those of `check_files`."""
    found = check_files(uri, schema, name)
    try:
        return found.count_rows()
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{name} {uri}: cannot be read: {error}") from error


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
