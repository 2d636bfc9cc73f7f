"""Parquet datasets under the contracts of `schemas`: which of their files count, checked by their footers."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from spark_jobs import uris
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.footers import read_footer, row_group_lengths
from spark_jobs.schemas import FEATURES, REJECTS

PART = re.compile(r"(run=[^/]+/)?part-[^/]+\.parquet")
FOOTERS_AT_ONCE = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataFile:
    """A Parquet file that counts.

    Attributes:
        uri: its name.
        row_groups: how many rows each of its row groups has.
        size: in bytes; 0 if it is not known.
    """

    uri: str
    row_groups: tuple[int, ...]
    size: int = 0

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(self.row_groups)

    def fetch(self, most: int) -> bytes | None:
        """Return the whole content, read in one request, if it has at most so many bytes; otherwise None.

        Raises:
            JobError: it cannot be read; the message names it.
        """
        return uris.read_bytes(self.uri) if 0 < self.size <= most else None

    @contextmanager
    def opened(self, content: bytes | None) -> Iterator[Any]:
        """Open what `fetch` has returned; if that is None, a stream that reads exactly what it is asked for.

        Raises:
            JobError: it cannot be read, or is not the Parquet file that it should be; the message names it.
        """
        if content is None:
            with uris.open_for_reading(self.uri) as stream:
                yield stream
            return
        try:
            yield pa.BufferReader(content)
        except (OSError, pa.ArrowException) as error:
            raise DamagedFileError(f"{self.uri}: cannot be read: {error}") from error


def check_dataset(uri: str, schema: pa.Schema, name: str) -> list[DataFile]:
    """Check the footers of the Parquet files at `uri`, a file or a folder of them, and return the files.

    Args:
        uri: as `uris.normalize` returns it.
        schema: a contract of `schemas`.
        name: of the dataset in errors ("manifest").

    Raises:
        JobError: nothing to read, or a column is missing or has another type.
    """
    sizes = {uris.join(uri, file): size for file, size in data_files(uri).items()}
    if not sizes and uris.exists(uri):
        sizes = {uri: 0}
    if not sizes:
        raise JobError(f"{name} {uri}: no Parquet file there")
    checked = _checked(sizes, schema)
    for file, found in checked.items():
        if isinstance(found, DamagedFileError):
            raise JobError(f"{name} {file}: {_problem(found, file)}")
    return [found for found in checked.values() if isinstance(found, DataFile)]


def feature_files(uri: str) -> list[DataFile]:
    """Return the files at `uri` whose features count, in order of their names.

    Those are the whole Parquet files `part-….parquet` that have the columns of `schemas.FEATURES`, whether or not their run
    has ended: such a file never changes.

    Args:
        uri: the root of the folders `run=…` of all runs, or one such folder.

    Raises:
        JobError: there is none.
    """
    files = data_files(uri)
    counting = _counting(uri, files, _parts(files), FEATURES, "features")
    if not counting:
        raise JobError(f"features {uri}: no Parquet file there")
    return counting


def reject_files(uri: str) -> list[DataFile]:
    """Return the files at `uri` whose rejects count: those in folders with `_SUCCESS`, of runs that finished.

    Args:
        uri: as for `feature_files`.
    """
    there = uris.list_files(uri)
    finished = {folder for folder, _, name in (file.rpartition("/") for file in there) if name == "_SUCCESS"}
    files = {file: size for file, size in there.items() if is_data(file) and file.rpartition("/")[0] in finished}
    return _counting(uri, files, _parts(files), REJECTS, "rejects")


def _parts(files: Iterable[str]) -> list[str]:
    """Return those of `files` that a job has written into a run's folder: this one, if it has no folders `run=…`."""
    parts = [file for file in files if PART.fullmatch(file)]
    of_runs = [file for file in parts if file.startswith("run=")]
    return of_runs or parts


def _counting(uri: str, files: Mapping[str, int], parts: list[str], schema: pa.Schema, name: str) -> list[DataFile]:
    """Return the `parts` that hold `schema`; log a warning for every other one of the `files`."""
    checked = _checked({uris.join(uri, file): files[file] for file in parts}, schema)
    for file in sorted(uris.join(uri, file) for file in files):
        found = checked.get(file)
        if not isinstance(found, DataFile):
            problem = _problem(found, file) if found else "not a file part-….parquet of a run"
            log.warning("%s does not count as %s: %s", file, name, problem)
    return [found for found in checked.values() if isinstance(found, DataFile)]


def data_files(uri: str) -> dict[str, int]:
    """Return the sizes of the files in the folder `uri` by their paths in it, of those that `is_data` alone."""
    return {file: size for file, size in uris.list_files(uri).items() if is_data(file)}


def is_data(file: str) -> bool:
    """Say whether Spark and Hive would read a file, by its path in the folder: no part begins with `_` or `.`."""
    return not any(part.startswith(("_", ".")) for part in file.split("/"))


def _checked(sizes: Mapping[str, int], schema: pa.Schema) -> dict[str, DataFile | DamagedFileError]:
    """Return each of the files with these URIs and sizes, or why it does not hold `schema`."""

    def check(uri: str) -> DataFile | DamagedFileError:
        try:
            footer = read_footer(uri)
            check_columns(footer.schema.to_arrow_schema(), schema)
        except DamagedFileError as error:
            return error
        return DataFile(uri, row_group_lengths(footer), sizes[uri])

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return dict(zip(sizes, pool.map(check, sizes), strict=True))


def _problem(error: DamagedFileError, uri: str) -> str:
    return str(error).removeprefix(f"{uri}: ")


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
