"""Chunks in, files of features out: the work of the executors.

Not Spark's `predict_batch_udf`: that takes decoded arrays from a column and fails the task on a bad one, whereas this
reads the next images while the network works on the current ones and turns every bad image into a typed row.
"""

import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Accumulator, Broadcast, TaskContext

from spark_jobs import schemas, uris
from spark_jobs.extraction.chunks import Chunk, read_chunk
from spark_jobs.extraction.deaths import at_work
from spark_jobs.extraction.feature_file import Reject, encode
from spark_jobs.extraction.mobilenet import Interpreter, ModelArtifact
from spark_jobs.extraction.processing import ChildProcess, ProcessImage, process
from spark_jobs.extraction.reading import ManifestRow, Outcome, read_ahead
from spark_jobs.extraction.rejects import Rejected
from spark_jobs.python_worker import lighten
from spark_jobs.stored import Stored


@dataclass(frozen=True)
class Accumulators:
    """Numbers that tasks report to the driver: images, rejects, and seconds of processor time and of the task's slot."""

    images: Accumulator[int]
    rejects: Accumulator[int]
    cpu_seconds: Accumulator[float]
    slot_seconds: Accumulator[float]


@dataclass(frozen=True)
class Extraction:
    """What every task of a job knows.

    Attributes:
        job: a name that no other job has.
        artifact: the network.
        features: URI of the folder to write.
        accumulators: to report to.
    """

    job: str
    artifact: Broadcast[ModelArtifact]
    features: str
    accumulators: Accumulators

    def run(self, chunks: Iterable[Chunk]) -> dict[str, Stored]:
        """Run one task: commit each chunk that is not there. The next images are read and the last file is written meanwhile.

        Another attempt at the same task may be at work, or have been: it writes the same names, and the first one stays.

        Returns:
            What this attempt has written, by the names of the chunks.
        """
        started = time.monotonic(), cpu_seconds()
        context = TaskContext.get()
        is_retry = context is not None and context.attemptNumber() > 0
        todo = self._unfinished(list(chunks)) if is_retry else list(chunks)
        outcomes = read_ahead(row for chunk in todo for row in read_chunk(chunk, self.job))
        model_id = self.artifact.value.metadata.model_id
        writing: list[Future[Stored | None]] = []
        with (
            ThreadPoolExecutor(1, thread_name_prefix="commit") as writer,
            at_work(self.job) as worker_has_died,
            processing(self.artifact.value, isolated=is_retry or worker_has_died) as process_image,
        ):
            for chunk in todo:
                result = extract(islice(outcomes, chunk.images), process_image, model_id)
                if writing:
                    writing[-1].result()
                writing.append(writer.submit(self._commit, chunk, result, model_id))
            written = [future.result() for future in writing]
        self.accumulators.slot_seconds.add(time.monotonic() - started[0])
        self.accumulators.cpu_seconds.add(cpu_seconds() - started[1])
        return {chunk.name: stored for chunk, stored in zip(todo, written, strict=True) if stored}

    def _unfinished(self, chunks: list[Chunk]) -> list[Chunk]:
        done = {chunk.name for chunk in chunks if uris.exists(uris.join(self.features, chunk.name))}
        self.accumulators.images.add(sum(chunk.images for chunk in chunks if chunk.name in done))
        return [chunk for chunk in chunks if chunk.name not in done]

    def _commit(self, chunk: Chunk, result: "Extracted", model_id: str) -> Stored | None:
        content = encode(result.features, result.rejects, model_id)
        written = uris.create(uris.join(self.features, chunk.name), content)
        self.accumulators.images.add(chunk.images)
        self.accumulators.rejects.add(len(result.rejects))
        return written


def cpu_seconds() -> float:
    """Return the processor time that this process has taken, with all its threads and the child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# Module state on purpose: Spark reuses its Python workers, and every task in one shares the interpreter built by the first.
_interpreter: Interpreter | None = None


def worker_interpreter(artifact: ModelArtifact) -> Interpreter:
    """Return this process's interpreter of `artifact`, built on the first call."""
    global _interpreter  # noqa: PLW0603 - see above
    if _interpreter is None or _interpreter.metadata != artifact.metadata:
        lighten()
        _interpreter = Interpreter(artifact)
    return _interpreter


@contextmanager
def processing(artifact: ModelArtifact, *, isolated: bool) -> Iterator[ProcessImage]:
    """Return what turns one image's content into features.

    Args:
        artifact: the network, built with the first image, so that reading starts before.
        isolated: in a child process, since an image may have ended this task's first worker, or another one may end the next.
    """
    if isolated:
        with ChildProcess(artifact) as child:
            yield child.process
    else:
        yield lambda content: process(worker_interpreter(artifact), content)


@dataclass(frozen=True)
class Extracted:
    """Rows of `schemas.FEATURES` and of `schemas.REJECTS`."""

    features: pa.Table
    rejects: list[Reject]


def extract(outcomes: Iterable[Outcome], process_image: ProcessImage, model_id: str) -> Extracted:
    """Run the network on the images that were read.

    Args:
        outcomes: images with their content, or the reason why there is none.
        process_image: gives an image's features, or raises `Rejected`.
        model_id: of the network.

    Returns:
        A row for each image, in order, in one of the two.
    """
    rows: list[tuple[object, ...]] = []
    features: list[npt.NDArray[np.float32]] = []
    rejects: list[Reject] = []
    for row, content in outcomes:
        try:
            if isinstance(content, Rejected):
                raise content
            image = process_image(content)
        except Rejected as rejected:
            rejects.append(_reject(row, rejected))
        else:
            features.append(image.features)
            rows.append((row.path, row.label, row.etag, row.size, model_id, image.width, image.height))
    return Extracted(_table(rows, features), rejects)


def _reject(row: ManifestRow, rejected: Rejected) -> Reject:
    values = (row.path, row.label, row.etag, row.size, str(rejected.reason), rejected.detail)
    return dict(zip(schemas.REJECTS.names, values, strict=True))


def _table(rows: Sequence[tuple[object, ...]], features: Sequence[npt.NDArray[np.float32]]) -> pa.Table:
    """Return rows of `schemas.FEATURES`: every column but the last comes from `rows`."""
    columns: Iterator[Sequence[object]] = iter(zip(*rows, strict=True) if rows else [()] * (len(schemas.FEATURES) - 1))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schemas.FEATURES, strict=False)]
    ends = np.arange(len(rows) + 1, dtype=np.int32) * schemas.FEATURE_COUNT
    values = np.concatenate(features, dtype=np.float32) if features else np.empty(0, np.float32)
    arrays.append(
        pa.ListArray.from_arrays(pa.array(ends), pa.array(values), type=schemas.FEATURES.field("features").type)
    )
    return pa.Table.from_arrays(arrays, schema=schemas.FEATURES)
