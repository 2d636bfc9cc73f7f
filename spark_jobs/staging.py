"""Between the network's pass and the outputs: a row for each image, with its features as bytes, in many small files.

Spark's own writer stages the rows; as bytes, since it handles arrays number by number, which costs a twentieth of the
pass. Arrow then merges what was committed into the two outputs. Every merged file depends on committed rows alone: a
task that runs twice writes the same file twice, and a job that fails here never runs the network again for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet
from pyspark import SparkContext

from spark_jobs import schemas, storage
from spark_jobs.sessions import JobError

# What is staged: the columns of both outputs, `reason` null where there are features; those as float32, little-endian.
OUTCOMES = pa.schema(
    [
        *(pa.field("features", pa.binary()) if field.name == "features" else field for field in schemas.FEATURES),
        schemas.REJECTS.field("reason"),
        schemas.REJECTS.field("detail"),
    ]
)

STAGED_BYTES_PER_FILE = 200 * 2**20  # zstd leaves 64 % of real features: files of 128 MB
ROWS_PER_GROUP = 1_000  # at least, but for the last group: 5 MB, so that every core finds some in a small run's file
PART_BYTES = 8 * 2**20  # of an upload to S3: s3fs's own 50 MB would take more memory than the rest of a worker

# 12,000 real images' features: zstd 40 MB in 0.34 s, Snappy 46 MB in 0.24 s, none 63 MB in 0.16 s; further levels of
# zstd win 4 %. Hardly two features are alike, so a dictionary of them saves nothing, nor do statistics.
_PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["label", "model_id", "reason"],
    "write_statistics": ["path", "label"],
}


@dataclass(frozen=True)
class Merged:
    """Number of rows that went into one file, or into all."""

    features: int
    rejects: int


def merge(context: SparkContext, staging: str, features: str, rejects: str, total: int) -> Merged:
    """Write the staged rows to where they belong, as few files as reach 128 MB, and mark both outputs as finished.

    Args:
        context: of the session; each file is a task.
        staging: URI of a folder of Parquet files that hold `OUTCOMES`.
        features: URI of the folder to write, replaced if there.
        rejects: likewise.
        total: number of rows that must be staged.

    Raises:
        JobError: there are more or fewer rows; the outputs are not marked.
    """
    groups = list(enumerate(_groups(_files(staging))))
    for folder in (features, rejects):
        storage.delete(folder)
    files = context.parallelize(groups, len(groups)).map(lambda group: write(*group, features, rejects)).collect()
    merged = Merged(sum(file.features for file in files), sum(file.rejects for file in files))
    if merged.features + merged.rejects != total:
        raise JobError(f"{total} images in the manifest, results: {merged}: a bug, please report it")
    for folder in (features, rejects):
        storage.write_bytes(storage.join(folder, "_SUCCESS"), b"")
    return merged


def _files(folder: str) -> list[tuple[str, int]]:
    """Return the data files in a folder that Spark wrote, with their sizes."""
    fs, path = storage.filesystem(folder)
    sizes = {file.rpartition("/")[2]: found["size"] for file, found in fs.find(path, detail=True).items()}
    return [(storage.join(folder, name), sizes[name]) for name in sorted(sizes) if not name.startswith(("_", "."))]


def _groups(files: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Part files, in order, into groups that make one output file each; at least one group, though it be empty."""
    groups: list[list[str]] = [[]]
    size = 0
    for file, its_size in files:
        if groups[-1] and size + its_size > STAGED_BYTES_PER_FILE:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += its_size
    return groups


def write(number: int, files: Sequence[str], features: str, rejects: str) -> Merged:
    """Merge `files` into the file `number` of features and, if there are any or it is the first, of rejects.

    Raises:
        JobError: a file cannot be read or written; the message names it.
    """
    name = f"part-{number:05}.parquet"
    usable = 0
    rejected = [schemas.REJECTS.empty_table()]
    with _writer(storage.join(features, name), schemas.FEATURES) as writer:
        pending: list[pa.Table] = []
        for file in files:
            rows = parquet.ParquetFile(pa.BufferReader(storage.read_bytes(file))).read(OUTCOMES.names)
            rejected.append(rows.filter(compute.is_valid(rows.column("reason"))).select(schemas.REJECTS.names))
            pending.append(with_numbers(rows.filter(compute.is_null(rows.column("reason")))))
            usable += pending[-1].num_rows
            if sum(table.num_rows for table in pending) >= ROWS_PER_GROUP or file == files[-1]:
                writer.write_table(pa.concat_tables(pending))
                pending.clear()
    rejects_table = pa.concat_tables(rejected)
    if rejects_table.num_rows or number == 0:
        with _writer(storage.join(rejects, name), schemas.REJECTS) as writer:
            writer.write_table(rejects_table)
    return Merged(usable, rejects_table.num_rows)


@contextmanager
def _writer(uri: str, schema: pa.Schema) -> Iterator[parquet.ParquetWriter]:
    with storage.create(uri, PART_BYTES) as stream, parquet.ParquetWriter(stream, schema, **_PARQUET) as writer:
        yield writer


def with_numbers(outcomes: pa.Table) -> pa.Table:
    """Return outcomes that all have features as rows of `schemas.FEATURES`."""
    packed = b"".join(outcomes.column("features").to_pylist())
    numbers = np.frombuffer(packed, "<f4").reshape(outcomes.num_rows, schemas.FEATURE_COUNT)
    ends = np.arange(outcomes.num_rows + 1, dtype=np.int32) * schemas.FEATURE_COUNT
    field = schemas.FEATURES.field("features")
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers.reshape(-1)), type=field.type)
    index = outcomes.schema.get_field_index("features")
    return outcomes.set_column(index, field, lists).select(schemas.FEATURES.names)
