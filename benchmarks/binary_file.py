"""The same network fed by Spark's own reader: python -m benchmarks.binary_file IMAGES MODEL OUTPUT.

Prints the seconds of the pass, Spark's start not included.
"""

import sys
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

from spark_jobs import extraction, schemas
from spark_jobs.mobilenet import Model
from spark_jobs.reading import Source
from spark_jobs.sessions import spark_session
from spark_jobs.staging import OUTCOMES


def main(images: str, model: str, output: str) -> None:
    spark = spark_session("binary_file", {"spark.ui.enabled": "false"})
    broadcast = spark.sparkContext.broadcast(Model.read(model))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        outcomes = (
            (Source(row["path"], None, None, row["length"]), row["content"])
            for batch in batches
            for row in batch.to_pylist()
        )
        return extraction.extract(outcomes, lambda: extraction.worker_engine(broadcast.value))

    started = time.monotonic()
    frame = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(images)
    frame.select("path", "length", "content").mapInArrow(run, schemas.spark_schema(OUTCOMES)).write.mode(
        "overwrite"
    ).parquet(output)
    print(f"seconds={time.monotonic() - started}")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:4])
