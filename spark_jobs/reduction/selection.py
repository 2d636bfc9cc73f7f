"""The current features: those of one network, of images that the inventory lists, each once.

Features accumulate by run and are never deleted, so the folder may also hold those of images deleted or replaced since,
of other networks, and the same image twice. The keys alone, a hundredth of the data, decide: rows that are stale or
duplicates are a short list, anti-joined to the features, which are read once and never shuffled.
"""

from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from spark_jobs.errors import JobError
from spark_jobs.reduction.inputs import Inputs

KEY = ["path", "etag"]
_ROW = ["file", "row"]
NOT_PROCESSED = "not processed"
EXAMPLES = 5


@dataclass(frozen=True)
class InventorySummary:
    """What became of the images in the inventory, by label.

    Attributes:
        features: images with features.
        rejects: images without, by the reason they were rejected for; `NOT_PROCESSED` where no run has seen them.
        examples: some of the images without, with `path`, `label`, `reason` and `detail`, up to `EXAMPLES` a reason.
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


def resolve_model_id(features: DataFrame, requested: str | None) -> str:
    """Return the model_id of the features to use.

    Args:
        features: everything stored, with `model_id`.
        requested: the network to use; None if all features must come from one.

    Raises:
        JobError: no features, none of the requested network, or several networks and none requested.
    """
    stored = {row["model_id"]: row["count"] for row in features.groupBy("model_id").count().collect()}
    found = ", ".join(f"{model_id} ({rows} rows)" for model_id, rows in sorted(stored.items())) or "none at all"
    if requested is None and len(stored) > 1:
        raise JobError(f"features of different networks cannot be mixed: found {found}; choose one with --model")
    if not stored or (requested is not None and requested not in stored):
        network = f"network {requested}" if requested else "any network"
        raise JobError(f"no features of {network}: found {found}")
    return requested or next(iter(stored))


def current_features(features: DataFrame, inventory: DataFrame) -> DataFrame:
    """Return the rows of `features` that `inventory` lists by path and etag, without stale rows and duplicates.

    Args:
        features: of one network, read straight from Parquet: file and position identify a row.
        inventory: with `path` and `etag`.
    """
    stored = features.select(
        *KEY, F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row")
    )
    listed = inventory.select(*KEY, F.lit(True).alias("listed")).distinct()
    latest_first = Window.partitionBy(*KEY).orderBy(F.desc("file"), F.desc("row"))
    unwanted = (
        stored.withColumn("copy", F.row_number().over(latest_first))
        .join(listed, KEY, "left")
        .where(F.col("listed").isNull() | (F.col("copy") > 1))
        .select(*_ROW)
    )
    if unwanted.isEmpty():
        return features
    return (
        features.withColumn("file", F.col("_metadata.file_path"))
        .withColumn("row", F.col("_metadata.row_index"))
        .join(F.broadcast(unwanted), _ROW, "left_anti")
        .drop(*_ROW)
    )


def summarize_inventory(inventory: DataFrame, features: DataFrame, rejects: DataFrame | None) -> InventorySummary:
    """Count the images of `inventory` by label and outcome.

    Args:
        inventory: `path`, `label`, `etag`.
        features: `path`, `etag` of one network.
        rejects: `path`, `etag`, `reason`, `detail`, if known; an image with features is not a reject.
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
    outcomes = images.select("label", unused.alias("unused")).groupBy("label", F.col("unused.reason").alias("reason"))
    # `unused` is null for images with features, and collect_list skips nulls: the lists hold rejects only.
    some = F.slice(F.sort_array(F.collect_list("unused")), 1, EXAMPLES).alias("some")

    found: dict[str, int] = {}
    missing: dict[str, dict[str, int]] = {}
    examples: dict[str, list[dict[str, str]]] = {}
    for row in outcomes.agg(F.count("*").alias("images"), some).orderBy("label", "reason").collect():
        if row["reason"] is None:
            found[row["label"]] = row["images"]
        else:
            missing.setdefault(row["label"], {})[row["reason"]] = row["images"]
            examples.setdefault(row["reason"], []).extend(example.asDict() for example in row["some"])
    return InventorySummary(found, missing, [example for some in examples.values() for example in some[:EXAMPLES]])


def select(inputs: Inputs, requested: str | None, pool: Executor) -> tuple[DataFrame, str, InventorySummary]:
    """Choose the features to reduce, and account for every image in the inventory.

    Args:
        inputs: everything stored.
        requested: the network to use; None if all features must come from one.
        pool: runs the two queries side by side.

    Returns:
        The current features, the model_id of their network, and the summary.

    Raises:
        JobError: as `resolve_model_id`.
    """
    model_id = requested or resolve_model_id(inputs.features, None)
    of_network = inputs.features.where(inputs.features.model_id == model_id)
    summarizing = pool.submit(summarize_inventory, inputs.inventory, of_network, inputs.rejects)
    features = current_features(of_network, inputs.inventory)
    summary = summarizing.result()
    if not summary.features:
        resolve_model_id(inputs.features, requested)  # raises if the network is the cause
    return features, model_id, summary


def sample(features: DataFrame, total: int, size: int) -> DataFrame:
    """Return about `size` of `total` rows, chosen by a hash of their `path`: the same ones every time."""
    steps = 2**20
    return features.where(F.pmod(F.xxhash64("path"), F.lit(steps)) < round(steps * min(1.0, size / max(total, 1))))
