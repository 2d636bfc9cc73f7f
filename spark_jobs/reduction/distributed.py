"""The two passes of a reduction over all features, with Spark: moments in, vectors out."""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from spark_jobs.datasets import spark_schema
from spark_jobs.reduction.moments import Moments, batch_moments, matrix
from spark_jobs.reduction.pca import Pca
from spark_jobs.schemas import PCA

# How many partial results meet in one place, the driver included: 8 x 13 MB for 1,280 features.
FAN_IN = 8

_PARTIAL = "count bigint, mean binary, scatter binary, invalid bigint, invalid_paths array<string>"


def feature_moments(features: DataFrame, width: int) -> Moments:
    """Return the moments of a DataFrame.

    Partitions merge in a tree: the driver receives at most `FAN_IN` partial matrices, however many partitions there are.

    Args:
        features: columns `path` string and `features` list of `width` floats.
        width: d.
    """

    def partition_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = batch_moments(batches, width)
        if total.count or total.invalid:
            yield _to_batch(total)

    def merge_partials(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # One at a time: a row is a matrix, a batch up to `FAN_IN` of them.
        rows = (batch.slice(number, 1).to_pylist()[0] for batch in batches for number in range(batch.num_rows))
        yield _to_batch(_merged(rows, width))

    partials = features.select("path", "features").mapInArrow(partition_moments, _PARTIAL)
    partitions = features.rdd.getNumPartitions()
    while partitions > FAN_IN:
        partitions = math.ceil(partitions / FAN_IN)
        partials = partials.repartition(partitions).mapInArrow(merge_partials, _PARTIAL)
    # By Arrow: with `collect()` the driver's JVM took 270 MB more, at 200,000 rows.
    collected: Any = partials.toPandas()
    return _merged(collected.to_dict("records"), width)


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


def _to_batch(moments: Moments) -> pa.RecordBatch:
    columns = {
        "count": pa.array([moments.count], pa.int64()),
        "mean": pa.array([moments.mean.tobytes()]),
        "scatter": pa.array([moments.scatter.tobytes()]),
        "invalid": pa.array([moments.invalid], pa.int64()),
        "invalid_paths": pa.array([list(moments.invalid_paths)], pa.list_(pa.string())),
    }
    return pa.RecordBatch.from_pydict(columns)


def _merged(partials: Iterable[Mapping[str, Any]], width: int) -> Moments:
    return reduce(Moments.merge, map(_from_row, partials), Moments.empty(width))


def _from_row(row: Mapping[str, Any]) -> Moments:
    mean, scatter = np.frombuffer(row["mean"]), np.frombuffer(row["scatter"])
    paths = tuple(row["invalid_paths"])
    return Moments(row["count"], mean, scatter.reshape(len(mean), len(mean)), row["invalid"], paths)
