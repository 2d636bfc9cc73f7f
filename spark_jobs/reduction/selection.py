"""The current features: those of one network, of images that the inventory lists, each once.

Features accumulate by run and are never deleted, so the folder may also hold those of images deleted or replaced since,
of other networks, and the same image twice. The keys alone, a hundredth of the data, decide: they are read once, in the
driver if they are few, else by tasks that shuffle them. What they say is one bit for each row of a file that has rows which
do not count. Nothing else grows in the driver with the number of images.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import RDD, SparkContext, StorageLevel

from spark_jobs.errors import JobError
from spark_jobs.reduction.feature_rows import Features, pack
from spark_jobs.reduction.inputs import Inputs
from spark_jobs.reduction.keys import READ_AT_ONCE, Keys, Outcome, Source, account, by_file, sources

# Of all datasets together, 150 bytes each. Fewer are worth no task: a shuffle takes half a second.
KEYS_AT_ONCE = 200_000


@dataclass(frozen=True)
class InventorySummary:
    """What became of the images in the inventory, by label.

    Attributes:
        features: images with features.
        rejects: images without, by the reason they were rejected for; `keys.NOT_PROCESSED` where no run has seen them.
        examples: some of the images without, with `path`, `label`, `reason` and `detail`, up to `keys.EXAMPLES` a reason.
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

    features: Features
    model_id: str
    summary: InventorySummary


def select(context: SparkContext, inputs: Inputs, requested: str | None) -> Selection:
    """Choose the features to reduce, and account for every image in the inventory.

    Args:
        context: of the job.
        inputs: everything stored.
        requested: the network to use; None if all features must come from one.

    Raises:
        JobError: as `resolve_model_id`, or a file cannot be read.
    """
    model_id = requested or resolve_model_id(networks(inputs), None)
    with_keys = sources(inputs.inventory, inputs.features, inputs.rejects)
    if sum(source.rows for source in with_keys) <= KEYS_AT_ONCE:
        outcome = account(Keys.read(with_keys), model_id)
        unused = {number: pack(rows) for number, rows in by_file(outcome.unused)}
    else:
        outcome, unused = distributed_account(context, with_keys, model_id)
    if not outcome.features:
        resolve_model_id(outcome.networks, requested)  # raises if the network is the cause
    return Selection(Features(inputs.features, unused), model_id, summarize(outcome))


def resolve_model_id(stored: Counter[str], requested: str | None) -> str:
    """Return the model_id of the features to use.

    Args:
        stored: rows of features by model_id.
        requested: the network to use; None if all features must come from one.

    Raises:
        JobError: no features, none of the requested network, or several networks and none requested.
    """
    found = ", ".join(f"{model_id} ({rows} rows)" for model_id, rows in sorted(stored.items())) or "none at all"
    if requested is None and len(stored) > 1:
        raise JobError(f"features of different networks cannot be mixed: found {found}; choose one with --model")
    if not stored or (requested is not None and requested not in stored):
        network = f"network {requested}" if requested else "any network"
        raise JobError(f"no features of {network}: found {found}")
    return requested or next(iter(stored))


def networks(inputs: Inputs) -> Counter[str]:
    """Count the rows of features by model_id.

    Args:
        inputs: everything stored.
    """
    column = pa.schema([("model_id", pa.string())])
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        tables = pool.map(Source.read, [Source(file, column) for file in inputs.features])
        return sum((Counter(table["model_id"].to_pylist()) for table in tables), Counter())


def summarize(outcome: Outcome) -> InventorySummary:
    """Return what became of the images in the inventory, with all labels and examples in order."""
    missing: dict[str, dict[str, int]] = {}
    for (label, reason), images in sorted(outcome.missing.items()):
        missing.setdefault(label, {})[reason] = images
    order = [(name, "ascending") for name in ("reason", "label", "path")]
    return InventorySummary(
        dict(sorted(outcome.features.items())), missing, outcome.examples.sort_by(order).to_pylist()
    )


def distributed_account(
    context: SparkContext, with_keys: list[Source], model_id: str, at_once: int = KEYS_AT_ONCE
) -> tuple[Outcome, dict[int, bytes]]:
    """Return what `account` finds, without positions, and the rows that do not count, packed, by number of their file.

    One shuffle of keys by the hash of their paths, whatever the sizes: no side is a table to look up in. A second one, of
    positions, only if some rows do not count.

    Args:
        context: of the job.
        with_keys: all files.
        model_id: of the network whose features count.
        at_once: about how many keys a task holds.
    """
    groups = grouped(with_keys, at_once)
    buckets = -(-sum(source.rows for source in with_keys) // at_once)

    def route(some: list[Source]) -> Iterator[tuple[int, pa.Table]]:
        return Keys.read(some).routed(buckets)

    def account_bucket(routed: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, Any]]:
        outcome = account(Keys.of(table for _, table in routed), model_id)
        yield from by_file(outcome.unused)
        yield _SUMMARY, Outcome(outcome.networks, outcome.features, outcome.missing, outcome.examples)

    routed = context.parallelize(groups, len(groups)).flatMap(route)
    found = routed.partitionBy(buckets, int).mapPartitions(account_bucket).persist(StorageLevel.MEMORY_AND_DISK)
    outcomes = found.filter(lambda item: item[0] == _SUMMARY).values().treeReduce(Outcome.merge)
    unused = _packed(found.filter(lambda item: item[0] != _SUMMARY), buckets)
    found.unpersist()
    return outcomes, unused


_SUMMARY = -1  # where the number of a file would be


def _packed(rows: "RDD[tuple[int, Any]]", partitions: int) -> dict[int, bytes]:
    """Put the rows of each file together, which many tasks have found, and pack them."""
    grouped = rows.groupByKey(partitions).mapValues(lambda parts: pack(np.concatenate(list(parts))))
    return dict(grouped.collect())


def grouped(with_keys: Iterable[Source], at_once: int) -> list[list[Source]]:
    """Group files, in order, so that each group has about as many rows as a task holds.

    Large files are cut: an inventory is one, and a Python process takes 350 bytes for each of its rows.
    """
    groups: list[list[Source]] = []
    left = 0
    for source in (part for file in with_keys for part in file.cut(at_once)):
        if not groups or source.rows > left:
            groups.append([])
            left = at_once
        groups[-1].append(source)
        left -= source.rows
    return groups
