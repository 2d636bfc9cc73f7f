"""Which features count: those of one network, of images that the inventory lists, each once.

Features accumulate by run and are never deleted, so the folder may also hold those of images deleted or replaced since,
of other networks, and the same image twice. All of it is settled on the keys alone, a hundredth of the data: what does
not count is a short list, anti-joined to the features, so that these are read once and never shuffled.
"""

from collections import Counter
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.sessions import JobError

KEY = ["path", "etag"]
_ROW = ["file", "row"]
NOT_PROCESSED = "not processed"


@dataclass(frozen=True)
class Coverage:
    """What became of the images in the inventory, by label.

    Attributes:
        features: images with features.
        rejects: images without, by the reason they were rejected for; `NOT_PROCESSED` where no run has seen them.
    """

    features: dict[str, int]
    rejects: dict[str, dict[str, int]]

    @property
    def rejects_by_reason(self) -> dict[str, int]:
        """The rejects of all labels together, most frequent first."""
        total: Counter[str] = Counter()
        for reasons in self.rejects.values():
            total.update(reasons)
        return dict(total.most_common())

    @property
    def labels(self) -> list[str]:
        """Every label in the inventory, sorted."""
        return sorted({*self.features, *self.rejects})


def network_of(features: DataFrame, asked: str | None) -> str:
    """Return the model_id whose features count.

    Args:
        features: everything stored, with `model_id`.
        asked: the network to take; None if all features must come from one.

    Raises:
        JobError: no features, none of the network asked for, or several networks where none was asked for.
    """
    stored = {row["model_id"]: row["count"] for row in features.groupBy("model_id").count().collect()}
    found = ", ".join(f"{model_id} ({rows} rows)" for model_id, rows in sorted(stored.items())) or "none at all"
    if asked is None and len(stored) > 1:
        raise JobError(f"features of different networks cannot be mixed: found {found}; choose one with --network")
    if not stored or (asked is not None and asked not in stored):
        raise JobError(f"no features of network {asked or '(any)'}: found {found}")
    return asked or next(iter(stored))


def counting(features: DataFrame, inventory: DataFrame) -> DataFrame:
    """Return the rows of `features` that `inventory` lists by path and etag, each image once.

    Args:
        features: of one network, read straight from Parquet (rows are told apart by file and position).
        inventory: with `path` and `etag`.
    """
    stored = features.select(
        *KEY, F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row")
    )
    listed = inventory.select(*KEY, F.lit(True).alias("listed")).distinct()
    latest_first = Window.partitionBy(*KEY).orderBy(F.desc("file"), F.desc("row"))
    surplus = (
        stored.withColumn("copy", F.row_number().over(latest_first))
        .join(listed, KEY, "left")
        .where(F.col("listed").isNull() | (F.col("copy") > 1))
        .select(*_ROW)
    )
    return (
        features.withColumn("file", F.col("_metadata.file_path"))
        .withColumn("row", F.col("_metadata.row_index"))
        .join(F.broadcast(surplus), _ROW, "left_anti")
        .drop(*_ROW)
    )


def coverage(inventory: DataFrame, features: DataFrame, rejects: DataFrame | None) -> Coverage:
    """Count the images of `inventory` by label and by what became of them.

    Args:
        inventory: `path`, `label`, `etag`.
        features: `path`, `etag` of one network.
        rejects: `path`, `etag`, `reason`, if known; an image that has features is none.
    """
    images = inventory.select(*KEY, "label").distinct()
    images = images.join(features.select(*KEY).distinct().withColumn("used", F.lit(True)), KEY, "left")
    if rejects is None:
        images = images.withColumn("reason", F.lit(None).cast("string"))
    else:
        images = images.join(rejects.groupBy(*KEY).agg(F.max("reason").alias("reason")), KEY, "left")
    reason = F.when(F.col("used"), None).otherwise(F.coalesce("reason", F.lit(NOT_PROCESSED)))
    used: dict[str, int] = {}
    unused: dict[str, dict[str, int]] = {}
    for row in images.groupBy("label", reason.alias("reason")).count().collect():
        if row["reason"] is None:
            used[row["label"]] = row["count"]
        else:
            unused.setdefault(row["label"], {})[row["reason"]] = row["count"]
    return Coverage(used, unused)
