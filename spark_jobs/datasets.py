"""Parquet datasets under the contracts of `schemas`: read with Spark, checked without it."""

import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from spark_jobs import uris
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.footers import read_footer
from spark_jobs.schemas import FEATURES, REJECTS

PART = re.compile(r"(run=[^/]+/)?part-[^/]+\.parquet")
FOOTERS_AT_ONCE = 32

log = logging.getLogger(__name__)


def spark_schema(schema: pa.Schema) -> StructType:
    """Return the Spark form of `schema`; every column is nullable, as in any Parquet that Spark reads."""
    return from_arrow_schema(schema)


def read_dataset(spark: SparkSession, paths: str | Sequence[str], schema: pa.Schema) -> DataFrame:
    """Read Parquet known to hold `schema`: written by this job, or checked by one of the functions below.

    Spark would infer the schema with a job of its own, half a second for each dataset.

    Args:
        spark: the session.
        paths: URIs of files or folders, as `uris.normalize` returns them.
        schema: a contract of `schemas`.

    Returns:
        Exactly the columns of `schema`, in its order, whatever order they are stored in.
    """
    read = [paths] if isinstance(paths, str) else paths
    return spark.read.schema(spark_schema(schema)).parquet(*map(glob_escaped, read)).select(*schema.names)


def check_dataset(uri: str, schema: pa.Schema, name: str) -> list[str]:
    """Check the footers of the Parquet files at `uri`, a file or a folder of them, without Spark; return their URIs.

    Args:
        uri: as `uris.normalize` returns it.
        schema: a contract of `schemas`.
        name: of the dataset in errors ("manifest").

    Raises:
        JobError: nothing to read, or a column is missing or has another type.
    """
    files = [uris.join(uri, file) for file in data_files(uri)]
    if not files and uris.exists(uri):
        files = [uri]
    if not files:
        raise JobError(f"{name} {uri}: no Parquet file there")
    for file, problem in zip(files, _problems(files, schema), strict=True):
        if problem:
            raise JobError(f"{name} {file}: {problem}")
    return files


def count_rows(files: Sequence[str]) -> int:
    """Return how many rows these Parquet files have, by their footers."""
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return sum(footer.num_rows for footer in pool.map(read_footer, files))


def feature_files(uri: str) -> list[str]:
    """Return what to read at `uri` to get the features that count.

    Those are the rows of every whole Parquet file `part-….parquet` that has the columns of `schemas.FEATURES`, whether or
    not its run has ended: such a file never changes.

    Args:
        uri: the root of the folders `run=…` of all runs, or one such folder.

    Raises:
        JobError: there is none.
    """
    files = data_files(uri)
    counting = _counting(uri, files, _parts(files), FEATURES, "features")
    if not counting:
        raise JobError(f"features {uri}: no Parquet file there")
    return _shortest(uri, counting, files)


def reject_files(uri: str) -> list[str]:
    """Return what to read at `uri` to get the rejects that count: those in folders with `_SUCCESS`, of runs that finished.

    Args:
        uri: as for `feature_files`.
    """
    there = uris.list_files(uri)
    finished = {folder for folder, _, name in (file.rpartition("/") for file in there) if name == "_SUCCESS"}
    files = [file for file in there if _is_data(file)]
    of_finished = [file for file in files if file.rpartition("/")[0] in finished]
    return _shortest(uri, _counting(uri, of_finished, _parts(of_finished), REJECTS, "rejects"), files)


def _parts(files: list[str]) -> list[str]:
    """Return those of `files` that a job has written into a run's folder: this one, if it has no folders `run=…`."""
    parts = [file for file in files if PART.fullmatch(file)]
    of_runs = [file for file in parts if file.startswith("run=")]
    return of_runs or parts


def _counting(uri: str, files: list[str], parts: list[str], schema: pa.Schema, name: str) -> list[str]:
    """Return the `parts` that hold `schema`; log a warning for every other one of the `files`."""
    problems: dict[str, str | None] = dict.fromkeys(files, "not a file part-….parquet of a run")
    problems |= zip(parts, _problems([uris.join(uri, file) for file in parts], schema), strict=True)
    for file, problem in sorted(problems.items()):
        if problem:
            log.warning("%s does not count as %s: %s", uris.join(uri, file), name, problem)
    return [file for file in files if not problems[file]]


def data_files(uri: str) -> list[str]:
    """Return the paths in the folder `uri` of the files that Spark would read; it skips names that begin with `_` or `.`."""
    return [file for file in uris.list_files(uri) if _is_data(file)]


def _is_data(file: str) -> bool:
    return not any(part.startswith(("_", ".")) for part in file.split("/"))


def _shortest(uri: str, counting: list[str], files: list[str]) -> list[str]:
    """Return the URIs of `counting`; the folder's alone if that means the same, since Spark lists a folder at once."""
    return [uri] if counting and counting == files else [uris.join(uri, file) for file in counting]


def _problems(files: list[str], schema: pa.Schema) -> list[str | None]:
    """Return for each of these URIs why it does not hold `schema`, or None if it does."""

    def problem(uri: str) -> str | None:
        try:
            check_columns(read_footer(uri).schema.to_arrow_schema(), schema)
        except DamagedFileError as error:
            return str(error).removeprefix(f"{uri}: ")
        return None

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return list(pool.map(problem, files))


def check_columns(found: pa.Schema, schema: pa.Schema) -> None:
    """Compare the columns of a dataset with the contract, by name and type; extra columns are allowed.

    Raises:
        DamagedFileError: every difference at once.
    """
    types = {field.name: plain_type(field.type) for field in found}
    differences = [
        f"{field.name}: expected {expected}, found {types.get(field.name, 'no such column')}"
        for field in schema
        if types.get(field.name) != (expected := plain_type(field.type))
    ]
    if differences:
        raise DamagedFileError(f"wrong columns: {'; '.join(differences)}")


def plain_type(kind: pa.DataType) -> str:
    """Return the name of what Parquet stores; long strings, dictionaries and names for a list's elements are Arrow's."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{plain_type(kind.value_type)}>"
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    return "string" if pa.types.is_large_string(kind) else str(kind)


def glob_escaped(uri: str) -> str:
    """Return `uri` so that Spark's readers, which expand globs, take it literally."""
    return "".join(f"\\{character}" if character in r"\{}[]*?" else character for character in uri)
