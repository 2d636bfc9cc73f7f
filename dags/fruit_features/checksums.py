"""What the rows of files are, in short texts: those that the cluster computes while it writes a file, computed anew.

The jobs have the same on their side (`spark_jobs/checksums.py`), which says what they are; a test compares the two.
"""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

_MODULUS = 2**64
_NUMBERS = {"features", "features_pca"}  # a file has one of them, or none

# Of a table with `path` and `etag`, which may be empty; 10 million rows take DuckDB 2 s. The sum of 64-bit numbers has 128 bits.
ROWS_AND_SUM = "SELECT count(*), sum(md5_number_lower(concat(path, chr(10), etag))) FROM {}"


def images_checksum(total: int | None) -> str:
    """Return the checksum of images whose numbers have this sum; None for no image."""
    return f"{(total or 0) % _MODULUS:016x}"


def added(checksums: list[str]) -> str:
    """Return the checksum of the images of several files."""
    return images_checksum(sum(int(checksum, 16) for checksum in checksums))


class FileChecksums:
    """The rows and checksums of one file, which is read a batch at a time."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._lines = hashlib.sha256()
        self._numbers = hashlib.sha256()

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the next rows, with `path`, and with `etag` and `features` or `features_pca` if the file has them."""
        columns = batch.schema.names
        etags = pc.fill_null(batch["etag"], "") if "etag" in columns else ""
        keys = pc.binary_join_element_wise(batch["path"], etags, "\n").to_pylist()
        self.rows += len(keys)
        self._sum += sum(_number(key) for key in keys)
        self._lines.update("".join(f"{key}\n" for key in keys).encode())
        for name in _NUMBERS & set(columns):
            self._numbers.update(_bytes(batch[name].flatten()))

    @property
    def images(self) -> str:
        """Return the checksum of the images."""
        return images_checksum(self._sum)

    @property
    def content(self) -> str:
        """Return the checksum of images and numbers, in the order of the rows."""
        return hashlib.sha256(self._lines.digest() + self._numbers.digest()).hexdigest()


def _bytes(numbers: pa.Array) -> pa.Buffer:
    """Return the bytes of numbers, not copied; Airflow needs no NumPy, so that there may be none."""
    width, stored = numbers.type.bit_width // 8, numbers.buffers()[1]
    return stored.slice(numbers.offset * width, len(numbers) * width) if stored else pa.py_buffer(b"")


def _number(key: str) -> int:
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()[8:], "little")
