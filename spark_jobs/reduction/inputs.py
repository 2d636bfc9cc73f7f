"""The datasets that a reduction reads."""

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame, SparkSession

from spark_jobs.datasets import check_dataset, count_rows, feature_files, read_dataset, reject_files
from spark_jobs.reduction.moments import Moments
from spark_jobs.schemas import FEATURES, INVENTORY, REJECTS
from spark_jobs.session import spark_session, warm_up

# 2,048 rows of features are 10 MB: what a Python worker holds at once, whatever the size of a file.
SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}

# Of the keys that decide which features count, in one task: 5 MB. Spark's own 200 tasks, which it does not merge below a
# DataFrame that is kept, take 6 s for 1,000 images.
KEYS_PER_TASK = 50_000


@dataclass(frozen=True)
class Inputs:
    """The datasets, under the contracts of `schemas`.

    Attributes:
        features: all that count (see `datasets.feature_files`), of any network.
        inventory: the images that count.
        rejects: of any run that finished, if known.
    """

    features: DataFrame
    inventory: DataFrame
    rejects: DataFrame | None


def open_inputs(features: str, inventory: str, rejects: str | None, pool: Executor) -> Inputs:
    """Start Spark and open the datasets at these URIs, which `pool` checks while Spark starts.

    Raises:
        JobError: a dataset is missing or has other columns.
    """
    reading = {
        "features": pool.submit(feature_files, features),
        "inventory": pool.submit(check_dataset, inventory, INVENTORY, "inventory"),
        "rejects": pool.submit(lambda: reject_files(rejects) if rejects else []),
    }
    spark = spark_session("reduce_dimensions", SETTINGS)
    files = {name: found.result() for name, found in reading.items()}
    warm_up(spark.sparkContext, partial(Moments.empty, 1))  # unpickling it imports numpy and Arrow
    set_shuffle_tasks(spark, count_rows(files["inventory"]))
    return Inputs(
        read_dataset(spark, files["features"], FEATURES),
        read_dataset(spark, files["inventory"], INVENTORY),
        read_dataset(spark, files["rejects"], REJECTS) if files["rejects"] else None,
    )


def set_shuffle_tasks(spark: SparkSession, images: int) -> None:
    """Let a shuffle of keys have as many tasks as the number of images asks for, unless spark-submit was given a number."""
    setting = "spark.sql.shuffle.partitions"
    if not spark.sparkContext.getConf().contains(setting):
        spark.conf.set(setting, max(1, math.ceil(images / KEYS_PER_TASK)))
