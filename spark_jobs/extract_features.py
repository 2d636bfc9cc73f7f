"""Run the network over the images of a manifest: features of those that can be used, a reason for each other.

The network runs once per image. Its results are staged first, by Spark's own committer, and only then merged into the
two outputs (see `staging`), so nothing that fails afterwards runs it again.
"""

import argparse
import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pyspark import Broadcast
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from spark_jobs import extraction, schemas, storage
from spark_jobs.mobilenet import Model
from spark_jobs.progress import Progress
from spark_jobs.sessions import JobError, run, spark_session, warm_up
from spark_jobs.staging import OUTCOMES, merge

IMAGES_PER_TASK = 500  # 4 s of a core; 250 and 1,000 took as long, within 5 % of noise
LEAST_IMAGES_PER_TASK = 50  # half a second's work: less is not worth a task
EXAMPLES = 3  # of each reason, in the error

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "8",  # of counts by reason, nothing larger
    # One result batch of the engine at a time is in memory, not thousands of manifest rows' worth of read-ahead.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
}

# Staged rows are read once and deleted: to compress them costs more than to write them.
STAGED = {"compression": "none", "parquet.enable.dictionary#features": "false"}

log = logging.getLogger("extract_features")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="extract_features", description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", required=True, help="Parquet: the images to work on")
    parser.add_argument("--model", required=True, help="model.tflite, or the pointer JSON of export_model")
    parser.add_argument("--features", required=True, help="Parquet folder to write, replaced if there")
    parser.add_argument("--rejects", required=True, help="Parquet folder to write, replaced if there")
    parser.add_argument(
        "--max-reject-share", type=_share, default=0.05, help="fail if a larger share cannot be used (default 0.05)"
    )
    parser.add_argument(
        "--total-images", type=int, help="what the share is of, where the manifest holds only the new images of them"
    )
    parser.add_argument("--staging", help="folder for results on their way (default: beside --features)")
    parser.add_argument("--progress", help="JSON document to keep up to date while the job runs")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: not between 0 and 1")
    return value


def tasks(images: int, cores: int) -> int:
    """Return how many tasks share the images: a small run must not leave cores idle, a large one not hang on its last task."""
    return max(1, math.ceil(images / IMAGES_PER_TASK), min(cores, math.ceil(images / LEAST_IMAGES_PER_TASK)))


def extract(
    manifest: DataFrame, total: int, model: Broadcast[Model], staging: str, progress_uri: str | None = None
) -> None:
    """Run the network on every image of the manifest and stage one row for each, all of `OUTCOMES`."""
    context = manifest.sparkSession.sparkContext
    started = time.monotonic()
    with Progress(context, total, uri=progress_uri) as progress:
        counters = extraction.Counters(progress.images, progress.rejects, progress.core_seconds)
        (
            manifest.select(*extraction.SOURCE_COLUMNS)
            .repartition(tasks(total, context.defaultParallelism))
            .mapInArrow(extraction.task(model, counters), schemas.spark_schema(OUTCOMES))
            .write.mode("overwrite")
            .options(**STAGED)
            .parquet(staging)
        )
    log.info(progress.summary(progress.images.value, progress.rejects.value, time.monotonic() - started))


def check_rejects(rejects: DataFrame, rejected: int, total: int, max_share: float) -> None:
    """Judge the run by its rejects.

    Raises:
        JobError: more than `max_share` of the images are rejects, or all are; with the counts by reason and a few
            paths of each.
    """
    if not rejected or (rejected / total <= max_share and rejected < total):
        return
    problem = "no image can be used" if rejected == total else f"more than max_reject_share {max_share:g}"
    numbered = rejects.withColumn("number", F.row_number().over(Window.partitionBy("reason").orderBy("path")))
    example = F.when(F.col("number") <= EXAMPLES, F.col("path"))
    reasons = (
        numbered.groupBy("reason")
        .agg(F.count(F.lit(1)).alias("images"), F.sort_array(F.collect_list(example)).alias("examples"))
        .orderBy(F.desc("images"), "reason")
        .collect()
    )
    listed = "; ".join(f"{reason} {images} ({', '.join(examples)})" for reason, images, examples in reasons)
    raise JobError(f"{rejected} of {total} images rejected, {problem}: {listed}")


@contextlib.contextmanager
def staged(folder: str) -> Iterator[str]:
    """Give a place in `folder` that is gone afterwards, whatever happens, and the folder with it if nothing else is there."""
    rows = storage.join(folder, "rows")
    try:
        yield rows
    finally:
        storage.delete(rows)
        storage.delete_empty_folder(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = arguments(argv)
    manifest_uri, features, rejects = map(storage.normalize, (options.manifest, options.features, options.rejects))
    folder, _, name = features.rpartition("/")
    with ThreadPoolExecutor() as meanwhile:  # Spark takes seconds to start
        reading_model = meanwhile.submit(Model.read, options.model)
        counting = meanwhile.submit(schemas.count_rows, manifest_uri, schemas.MANIFEST, "manifest")
        spark = spark_session("extract_features", SETTINGS)
        model, total = reading_model.result(), counting.result()
    shared = spark.sparkContext.broadcast(model)
    warming = warm_up(spark.sparkContext, lambda: extraction.worker_engine(shared.value))
    manifest = schemas.read_files(spark, manifest_uri, schemas.MANIFEST)
    log.info("start images=%d model=%s", total, model.identity.model_id)
    with staged(storage.normalize(options.staging or f"{folder}/_staging-{name}")) as staging:
        extract(manifest, total, shared, staging, options.progress and storage.normalize(options.progress))
        warming.join()
        shared.destroy()
        merged = merge(spark.sparkContext, staging, features, rejects, total)
    of = max(total, options.total_images or total)
    check_rejects(schemas.read_files(spark, rejects, schemas.REJECTS), merged.rejects, of, options.max_reject_share)


if __name__ == "__main__":
    run(main)
