"""The two passes of a reduction over all features, with Spark: moments and a sample in, vectors out."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from spark_jobs.datasets import spark_schema
from spark_jobs.reduction.moments import Moments, batch_moments, matrix
from spark_jobs.reduction.pca import Pca
from spark_jobs.schemas import PCA

# How many partial results meet in one place, the driver included: 8 x 13 MB for 1,280 features.
FAN_IN = 8

_SAMPLE = pa.schema([("path", pa.string()), ("label", pa.string()), ("features", pa.list_(pa.float32()))])
_PARTIAL = "count bigint, mean binary, scatter binary, invalid bigint, invalid_paths array<string>, sample binary"


@dataclass(frozen=True)
class Scan:
    """What one pass over features finds.

    Attributes:
        moments: of all rows.
        sample: `path`, `label` and `features` of some of them, in any order.
    """

    moments: Moments
    sample: pa.Table

    @classmethod
    def empty(cls, width: int) -> Self:
        """Return what a pass over no rows of `width` features finds."""
        return cls(Moments.empty(width), _SAMPLE.empty_table())

    def merge(self, other: Self) -> Self:
        """Return what one pass over the rows of both would have found."""
        return type(self)(self.moments.merge(other.moments), pa.concat_tables([self.sample, other.sample]))


def scan(features: DataFrame, width: int, sampled: Column) -> Scan:
    """Return the moments of a DataFrame and a sample of it.

    Partitions merge in a tree: the driver receives at most `FAN_IN` partial matrices, however many partitions there are.

    Args:
        features: columns `path` and `label` string, `features` list of `width` floats.
        width: d.
        sampled: whether a row is one of the sample, which must fit into the driver's memory.
    """

    def scan_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        some = []

        def watched() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                chosen = batch.filter(batch.column("sampled"))
                some.append(chosen.select(_SAMPLE.names).cast(_SAMPLE))
                yield batch

        moments = batch_moments(watched(), width)
        if moments.count or moments.invalid:
            yield _to_batch(Scan(moments, pa.Table.from_batches(some, _SAMPLE)))

    def merge_partials(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # One at a time: a row is a matrix, a batch up to `FAN_IN` of them.
        rows = (batch.slice(number, 1).to_pylist()[0] for batch in batches for number in range(batch.num_rows))
        yield _to_batch(_merged(rows, width))

    rows = features.select("path", "label", "features", sampled.alias("sampled"))
    partials = rows.mapInArrow(scan_partition, _PARTIAL)
    partitions = features.rdd.getNumPartitions()
    while partitions > FAN_IN:
        partitions = math.ceil(partitions / FAN_IN)
        partials = partials.repartition(partitions).mapInArrow(merge_partials, _PARTIAL)
    # By Arrow: with `collect()` the driver's JVM took 270 MB more, at 200,000 rows.
    collected: Any = partials.toPandas()
    return _merged(collected.to_dict("records"), width)


def feature_moments(features: DataFrame, width: int) -> Moments:
    """Return the moments alone; arguments as for `scan`."""
    return scan(features, width, F.lit(False)).moments


def project(features: DataFrame, pca: Pca) -> DataFrame:
    """Return the `schemas.PCA` rows of a DataFrame with `path`, `label` and `features`, one for one."""
    broadcast = features.sparkSession.sparkContext.broadcast(pca)

    def project_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        width = len(broadcast.value.mean)
        for batch in batches:
            vectors = broadcast.value.project(matrix(batch.column("features"), width)).astype(np.float32)
            columns = [batch.column("path"), batch.column("label"), _lists(vectors)]
            yield pa.RecordBatch.from_arrays(columns, names=PCA.names)

    return features.select("path", "label", "features").mapInArrow(project_partition, spark_schema(PCA))


def _lists(rows: npt.NDArray[np.float32]) -> pa.ListArray:
    count, width = rows.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, rows.ravel())


def _to_batch(found: Scan) -> pa.RecordBatch:
    moments = found.moments
    columns = {
        "count": pa.array([moments.count], pa.int64()),
        "mean": pa.array([moments.mean.tobytes()]),
        "scatter": pa.array([moments.scatter.tobytes()]),
        "invalid": pa.array([moments.invalid], pa.int64()),
        "invalid_paths": pa.array([list(moments.invalid_paths)], pa.list_(pa.string())),
        "sample": pa.array([_to_stream(found.sample)]),
    }
    return pa.RecordBatch.from_pydict(columns)


def _to_stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def _merged(partials: Iterable[Mapping[str, Any]], width: int) -> Scan:
    return reduce(Scan.merge, map(_from_row, partials), Scan.empty(width))


def _from_row(row: Mapping[str, Any]) -> Scan:
    mean, scatter = np.frombuffer(row["mean"]), np.frombuffer(row["scatter"])
    paths = tuple(row["invalid_paths"])
    moments = Moments(row["count"], mean, scatter.reshape(len(mean), len(mean)), row["invalid"], paths)
    return Scan(moments, pa.ipc.open_stream(row["sample"]).read_all())
