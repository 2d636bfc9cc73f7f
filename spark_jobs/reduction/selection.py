"""The current features: those of one network, of images that the inventory lists, each once.

Features accumulate by run and are never deleted, so the folder may also hold those of images deleted or replaced since,
of other networks, and the same image twice. The keys alone, a hundredth of the data, decide: they are read and shuffled
once (`outcomes`), and what they say is one bit for each row of features (`marked_rows`). The features themselves are read
straight from their files and never shuffled. Nothing grows in the driver with the number of images but those bits.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from spark_jobs.errors import JobError
from spark_jobs.reduction.inputs import Inputs

KEY = ["path", "etag"]
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
    examples: list[dict[str, str]] = field(default_factory=list)

    @property
    def images(self) -> int:
        """The number of images with features."""
        return sum(self.features.values())

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


@dataclass(frozen=True)
class Selection:
    """The features to reduce, and what became of every image in the inventory.

    Attributes:
        features: the current ones.
        model_id: of their network.
        summary: of the inventory.
    """

    features: DataFrame
    model_id: str
    summary: InventorySummary


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


def select(inputs: Inputs, requested: str | None) -> Selection:
    """Choose the features to reduce, and account for every image in the inventory.

    Args:
        inputs: everything stored.
        requested: the network to use; None if all features must come from one.

    Raises:
        JobError: as `resolve_model_id`.
    """
    model_id = requested or resolve_model_id(inputs.features, None)
    of_network = inputs.features.where(inputs.features.model_id == model_id)
    known = outcomes(inputs.inventory, of_network, inputs.rejects).persist(StorageLevel.MEMORY_AND_DISK)
    summary, surplus = summarize(known)
    if not summary.features:
        resolve_model_id(inputs.features, requested)  # raises if the network is the cause
    return Selection(current_features(of_network, known) if surplus else of_network, model_id, summary)


def outcomes(inventory: DataFrame, features: DataFrame, rejects: DataFrame | None) -> DataFrame:
    """Return one row for each image, path and ETag, that the inventory lists or that has features.

    One shuffle of keys, whatever the sizes: no side is a table to look up in, so none must fit into memory.

    Args:
        inventory: `path`, `label`, `etag`.
        features: `path`, `etag` of one network, read straight from Parquet: file and position identify a row.
        rejects: `path`, `etag`, `reason`, `detail`, if known; an image with features is not a reject.

    Returns:
        `label`, null where the inventory does not list the image; `copies` of its features; `file` and `row` of the last
        of them; without features `path`, `reason` and `detail`.
    """
    row = F.struct(F.col("_metadata.file_path").alias("file"), F.col("_metadata.row_index").alias("row"))
    nowhere = F.lit(None).cast("struct<file: string, row: bigint>")
    no_reason = F.lit(None).cast("struct<reason: string, detail: string>")
    unlabeled = F.lit(None).cast("string")

    def facts(of: DataFrame, label: Column, at: Column, why: Column) -> DataFrame:
        return of.select(*KEY, label.alias("label"), at.alias("at"), why.alias("why"))

    tables = [facts(inventory, F.col("label"), nowhere, no_reason), facts(features, unlabeled, row, no_reason)]
    if rejects is not None:
        tables.append(facts(rejects, unlabeled, nowhere, F.struct("reason", "detail")))
    images = (
        reduce(DataFrame.union, tables)
        .groupBy(*KEY)
        .agg(
            F.max("label").alias("label"),
            F.max("at").alias("at"),
            F.count("at").alias("copies"),
            F.max("why").alias("why"),
        )
        .where(F.col("label").isNotNull() | (F.col("copies") > 0))
    )
    unused = F.col("copies") == 0
    return images.select(
        "label",
        "copies",
        "at.*",
        F.when(unused, F.col("path")).alias("path"),
        F.when(unused, F.coalesce("why.reason", F.lit(NOT_PROCESSED))).alias("reason"),
        F.when(unused, F.coalesce("why.detail", F.lit(""))).alias("detail"),
    )


def summarize(known: DataFrame) -> tuple[InventorySummary, int]:
    """Return what became of the images in the inventory, and how many rows of features are surplus: stale or duplicates.

    Args:
        known: `outcomes`.
    """
    found: dict[str, int] = {}
    missing: dict[str, dict[str, int]] = {}
    surplus = 0
    counts = known.groupBy("label", "reason").agg(F.count("*").alias("images"), F.sum("copies").alias("copies"))
    for row in sorted(counts.collect(), key=lambda row: (row["label"] or "", row["reason"] or "")):
        surplus += row["copies"]
        if row["label"] is None:
            continue
        if row["reason"] is None:
            found[row["label"]] = row["images"]
            surplus -= row["images"]
        else:
            missing.setdefault(row["label"], {})[row["reason"]] = row["images"]
    some = [row.asDict() for row in examples(known).collect()] if missing else []
    some.sort(key=lambda image: (image["reason"], image["label"], image["path"]))
    return InventorySummary(found, missing, some), surplus


def examples(known: DataFrame) -> DataFrame:
    """Return the first `EXAMPLES` images of each reason, by label and path, of those without features.

    Spark keeps no more of a reason than that many, in each task, before it shuffles them.

    Args:
        known: `outcomes`.
    """
    first = Window.partitionBy("reason").orderBy("label", "path")
    return (
        known.where(F.col("reason").isNotNull())
        .withColumn("number", F.row_number().over(first))
        .where(F.col("number") <= EXAMPLES)
        .select("path", "label", "reason", "detail")
    )


def current_features(features: DataFrame, known: DataFrame) -> DataFrame:
    """Return the rows of `features` that the inventory lists by path and ETag, without stale rows and duplicates.

    The marks are broadcast: a bit for each row, 13 MB for 100 million, and the files' names.

    Args:
        features: those that `known` was made of.
        known: `outcomes`.
    """
    position = F.col("_metadata.row_index") + 1
    marked = marked_rows(known).persist(StorageLevel.MEMORY_AND_DISK)  # for both passes
    bit = F.expr("conv(hex(substring(rows, cast(bit div 8 as int) + 1, 1)), 16, 10)").cast("int")
    return (
        features.withColumn("file", F.col("_metadata.file_path"))
        .withColumn("bucket", F.bitmap_bucket_number(position))
        .withColumn("bit", F.bitmap_bit_position(position))
        .join(F.broadcast(marked), ["file", "bucket"])
        .where(F.getbit(bit, F.col("bit") % 8) == 1)
        .drop("file", "bucket", "bit", "rows")
    )


def marked_rows(known: DataFrame) -> DataFrame:
    """Return which rows of which files are current: `file`, `bucket`, `rows`.

    Args:
        known: `outcomes`.

    Returns:
        A row for each file and 32,768 rows of it. `rows` is binary, Spark's bitmap of such a bucket up to the last bit set.
    """
    position = F.col("row") + 1
    bit = F.bitmap_bit_position(position)
    return (
        known.where(F.col("label").isNotNull() & F.col("file").isNotNull())
        .select("file", F.bitmap_bucket_number(position).alias("bucket"), bit.alias("bit"))
        .repartition("file")  # before they are 4 kB each: every task would have a few bits of every file
        .groupBy("file", "bucket")
        .agg(F.bitmap_construct_agg("bit").alias("bits"), F.max("bit").alias("last"))
        .select("file", "bucket", F.expr("substring(bits, 1, cast(last div 8 as int) + 1)").alias("rows"))
    )


def sampled(size: int, total: int) -> Column:
    """Return whether a row is among about `size` of `total`, chosen by a hash of `path`: the same ones every time."""
    steps = 2**20
    return F.pmod(F.xxhash64("path"), F.lit(steps)) < round(steps * min(1.0, size / max(total, 1)))
