"""Manifest rows in, network results out: the work of the executors."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Accumulator, Broadcast

from spark_jobs.images import Decoded, decode
from spark_jobs.mobilenet import Engine, Identity, Model
from spark_jobs.reading import Outcome, Source, read_ahead
from spark_jobs.rejects import Rejected
from spark_jobs.staging import OUTCOMES

SOURCE_COLUMNS = ["path", "label", "etag", "size"]

# 330 kB of features, on its way to Spark's writer while the next ones are computed; 16 and 256 took as long, within 5 %.
ROWS_PER_BATCH = 64

Batches = Iterable[pa.RecordBatch]


class FeatureExtractor(Protocol):
    """What turns pixels, uint8 (224, 224, 3), into features, float32 (1280,)."""

    identity: Identity

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features of one image."""


@dataclass(frozen=True)
class Counters:
    """What tasks report to the driver as they end."""

    images: Accumulator[int]
    rejects: Accumulator[int]
    core_seconds: Accumulator[float]


def task(model: Broadcast[Model], counters: Counters) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow`; a worker builds the engine on its first images and keeps it."""

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        started = time.monotonic()
        outcomes = read_ahead(sources(batches))
        for batch in extract(outcomes, lambda: worker_engine(model.value)):
            counters.images.add(batch.num_rows)
            counters.rejects.add(batch.column("features").null_count)
            yield batch
        counters.core_seconds.add(time.monotonic() - started)

    return run


_engine: Engine | None = None


def worker_engine(model: Model) -> Engine:
    """Return this process's engine for `model`, built on the first call."""
    global _engine
    if _engine is None or _engine.identity != model.identity:
        _engine = Engine(model)
    return _engine


def sources(batches: Batches) -> Iterator[Source]:
    """Yield the rows of manifest batches."""
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in SOURCE_COLUMNS)
        yield from map(Source, *columns)


def extract(outcomes: Iterable[Outcome], engine: Callable[[], FeatureExtractor]) -> Iterator[pa.RecordBatch]:
    """Run the network on what was read.

    Args:
        outcomes: images with their bytes, or the reason why there are none.
        engine: gives the engine; called once the first image is read, so that reading starts before it is built.

    Yields:
        Batches of `OUTCOMES`, a row for each image, in order.
    """
    rows = _Rows()
    for source, content in outcomes:
        network = engine()
        try:
            if isinstance(content, Rejected):
                raise content
            image = decode(content, network.identity.input_size)
            rows.add(source, network.identity.model_id, image, network.features(image.pixels))
        except Rejected as rejected:
            rows.reject(source, network.identity.model_id, rejected)
        if len(rows) == ROWS_PER_BATCH:
            yield rows.batch()
            rows = _Rows()
    if len(rows):
        yield rows.batch()


class _Rows:
    """Rows on their way into one Arrow batch."""

    def __init__(self) -> None:
        self._rows: list[tuple[object, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, source: Source, model_id: str, image: Decoded, features: npt.NDArray[np.float32]) -> None:
        packed = features.astype("<f4", copy=False).tobytes()
        self._rows.append((*_values(source), model_id, image.width, image.height, packed, None, None))

    def reject(self, source: Source, model_id: str, rejected: Rejected) -> None:
        self._rows.append((*_values(source), model_id, None, None, None, str(rejected.reason), rejected.detail))

    def batch(self) -> pa.RecordBatch:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, OUTCOMES, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=OUTCOMES)


def _values(source: Source) -> tuple[str, str | None, str | None, int | None]:
    return source.path, source.label, source.etag, source.size
