"""Footers of Parquet files: one request for a file, whatever its size."""

import pyarrow as pa
from pyarrow import parquet

from spark_jobs import uris
from spark_jobs.errors import DamagedFileError
from spark_jobs.stored import Stored

_END = 2**16  # a footer takes 4 kB, or as much more as its key-value metadata


def read_footer(uri: str) -> parquet.FileMetaData:
    """Return the footer of the Parquet file `uri`.

    Raises:
        DamagedFileError: it is not Parquet, or not all of it.
        JobError: it cannot be read.
    """
    return read_stored_footer(uri)[0]


def read_stored_footer(uri: str) -> tuple[parquet.FileMetaData, Stored]:
    """Return the footer of the Parquet file `uri`, and what tells its content from another one.

    Raises:
        DamagedFileError: it is not Parquet, or not all of it.
        JobError: it cannot be read.
    """
    end, stored = uris.read_end(uri, _END)
    length = int.from_bytes(end[-8:-4], "little") + 8
    if end.endswith(b"PAR1") and length > len(end):
        end, stored = uris.read_end(uri, length)
    try:
        return parquet.read_metadata(pa.BufferReader(end)), stored
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{uri}: not a whole Parquet file: {error}") from error


def row_group_lengths(footer: parquet.FileMetaData) -> tuple[int, ...]:
    """Return how many rows each row group of a Parquet file has."""
    return tuple(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
