"""The same network fed by Spark's own reader: python -m benchmarks.binary_file IMAGES MODEL OUTPUT.

Prints the seconds of the pass, Spark's start not included.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import pyarrow as pa

from spark_jobs.datasets import spark_schema
from spark_jobs.extraction import worker
from spark_jobs.extraction.processing import process
from spark_jobs.extraction.reading import ManifestRow
from spark_jobs.models import read_artifact
from spark_jobs.schemas import FEATURES
from spark_jobs.session import spark_session


def main(images: str, model: str, output: str) -> None:
    spark = spark_session("binary_file", {"spark.ui.enabled": "false"})
    broadcast = spark.sparkContext.broadcast(read_artifact(model))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        outcomes = (
            (ManifestRow(row["path"], None, None, row["length"]), row["content"])
            for batch in batches
            for row in batch.to_pylist()
        )
        network, model_id = worker.worker_interpreter(broadcast.value), broadcast.value.metadata.model_id
        while some := list(islice(outcomes, 64)):
            yield from worker.extract(some, partial(process, network), model_id).features.to_batches()

    started = time.monotonic()
    frame = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(images)
    chosen = frame.select("path", "length", "content")
    chosen.mapInArrow(run, spark_schema(FEATURES)).write.mode("overwrite").parquet(output)
    print(f"seconds={time.monotonic() - started}")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:4])
