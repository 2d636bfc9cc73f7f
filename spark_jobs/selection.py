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
EXAMPLES = 5


@dataclass(frozen=True)
class Coverage:
    """What became of the images in the inventory, by label.

    Attributes:
        features: images with features.
        rejects: images without, by the reason they were rejected for; `NOT_PROCESSED` where no run has seen them.
        examples: some of the latter, with `path`, `label`, `reason` and `detail`, up to `EXAMPLES` a reason.
    """

    features: dict[str, int]
    rejects: dict[str, dict[str, int]]
    examples: list[dict[str, str]]

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
    if surplus.isEmpty():
        return features
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
        rejects: `path`, `etag`, `reason`, `detail`, if known; an image that has features is none.
    """
    images = inventory.select(*KEY, "label").distinct()
    images = images.join(features.select(*KEY, F.lit(True).alias("used")).distinct(), KEY, "left")
    why = F.struct(F.lit(NOT_PROCESSED).alias("reason"), F.lit("").alias("detail"))
    if rejects is not None:
        latest = rejects.groupBy(*KEY).agg(F.max(F.struct("reason", "detail")).alias("why"))
        images = images.join(latest, KEY, "left")
        why = F.coalesce("why", why)
    unused = F.when(
        F.col("used").isNull(), F.struct("path", "label", why["reason"].alias("reason"), why["detail"].alias("detail"))
    )
    fates = images.select("label", unused.alias("unused")).groupBy("label", F.col("unused.reason").alias("reason"))
    # Of what was used, `unused` is null and nothing is collected: the lists are as short as the rejects are few.
    some = F.slice(F.sort_array(F.collect_list("unused")), 1, EXAMPLES).alias("some")

    found: dict[str, int] = {}
    missing: dict[str, dict[str, int]] = {}
    examples: dict[str, list[dict[str, str]]] = {}
    for row in fates.agg(F.count("*").alias("images"), some).orderBy("label", "reason").collect():
        if row["reason"] is None:
            found[row["label"]] = row["images"]
        else:
            missing.setdefault(row["label"], {})[row["reason"]] = row["images"]
            examples.setdefault(row["reason"], []).extend(example.asDict() for example in row["some"])
    return Coverage(found, missing, [example for some in examples.values() for example in some[:EXAMPLES]])


def sample(features: DataFrame, total: int, size: int) -> DataFrame:
    """Return about `size` of `total` rows, chosen by a hash of their `path`: the same ones every time."""
    steps = 2**20
    return features.where(F.pmod(F.xxhash64("path"), F.lit(steps)) < round(steps * min(1.0, size / max(total, 1))))
