"""The published features: those of the run that `results/latest.json` names, as docs/architecture.md defines which count."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.storage import Storage, StorageError
from spark_jobs.datasets import check_columns
from spark_jobs.errors import DamagedFileError
from spark_jobs.schemas import FEATURE_COUNT, FEATURES

LATEST = "results/latest.json"
PART = re.compile(r"run=[^/]+/part-[^/]+\.parquet")
COLUMNS = ["path", "label", "etag", "model_id", "features"]
ROWS_AT_ONCE = 4096  # 20 MB

log = logging.getLogger(__name__)


class NotPublishedError(Exception):
    """There are no results yet, or not all that belongs to them."""


@dataclass(frozen=True)
class Published:
    """What one run has published.

    Attributes:
        run: its name.
        version: of what was published: a run that is repeated publishes another one.
        root: URI, as the run wrote it, of the folder that holds its results.
        model_id: of its network.
        paths: of the images, sorted by label.
        names: the labels, sorted.
        starts: where in `paths` each label's images begin.
        vectors: (images, 1280), of length 1, in the order of `paths`.
    """

    run: str
    version: str
    root: str
    model_id: str
    paths: list[str]
    names: list[str]
    starts: npt.NDArray[np.intp]
    vectors: npt.NDArray[Any]


def read_latest(storage: Storage) -> dict[str, Any]:
    """Return what `results/latest.json` says.

    Raises:
        NotPublishedError: it is not there, or is no such document.
        StorageError: it cannot be read.
    """
    try:
        latest = json.loads(storage.read(LATEST))
        usable = all(isinstance(latest[name], str) for name in ("run", "model_id", "pca"))
    except FileNotFoundError:
        raise NotPublishedError(f"no {LATEST} in {storage.root}: run the DAG until its publish task succeeds") from None
    except (ValueError, TypeError, KeyError):
        usable = False
    if not usable:
        raise NotPublishedError(f"{LATEST} in {storage.root} is not what the DAG's publish task writes")
    return dict(latest)


def load(storage: Storage, latest: dict[str, Any], dtype: type[np.floating[Any]]) -> Published:
    """Read the features of every image in the run's inventory.

    Args:
        storage: where the results are.
        latest: as `read_latest` returns it.
        dtype: of the vectors.

    Raises:
        NotPublishedError: the inventory is missing or damaged, or every feature is missing.
        StorageError: something cannot be read.
    """
    run, model_id = latest["run"], latest["model_id"]
    slots = _inventory(storage, run)
    vectors = np.zeros((len(slots), FEATURE_COUNT), dtype)
    labels = [""] * len(slots)
    paths = [path for path, _ in slots]
    source = np.full(len(slots), -1)
    files = [name for name in storage.list("features") if PART.fullmatch(name)]
    for number, name in reversed(
        list(enumerate(files))
    ):  # of an image that two runs have extracted the later row counts
        for batch in _batches(storage, f"features/{name}"):
            keys = zip(batch["path"].to_pylist(), batch["etag"].to_pylist(), strict=True)
            of_network = batch["model_id"].to_pylist()
            rows = [
                (row, slot)
                for row, (key, model) in enumerate(zip(keys, of_network, strict=True))
                if model == model_id and (slot := slots.get(key)) is not None and source[slot] in (-1, number)
            ]
            _fill(batch, rows, vectors, labels)
            source[[slot for _, slot in rows]] = number
    found = np.flatnonzero(source >= 0)
    if not len(found):
        raise NotPublishedError(f"no features of network {model_id} for the images of run {run} in {storage.root}")
    if len(found) != latest.get("features", len(found)):
        log.warning("run %s published %s features, %s are there", run, latest["features"], len(found))
    order = sorted(found.tolist(), key=lambda slot: (labels[slot], paths[slot]))
    names, starts = np.unique(np.array([labels[slot] for slot in order], dtype=object), return_index=True)
    return Published(
        run=run,
        version=hashlib.sha256(json.dumps(latest, sort_keys=True).encode()).hexdigest()[:16],
        root=latest["pca"].removesuffix(f"/results/run={run}/pca"),
        model_id=model_id,
        paths=[paths[slot] for slot in order],
        names=names.tolist(),
        starts=starts,
        vectors=vectors[order],
    )


def _inventory(storage: Storage, run: str) -> dict[tuple[str, str], int]:
    """Return the images of a run, by path and ETag, with the place of each."""
    table = _keys(storage, f"results/run={run}/inventory.parquet")
    if table is None:  # an earlier version has published, which left it where it expires
        table = _keys(storage, f"runs/{run}/inventory/inventory.parquet")
    if table is None:
        raise NotPublishedError(
            f"results/run={run}/inventory.parquet in {storage.root} is missing: trigger the DAG, which publishes anew then"
        )
    keys = zip(table["path"].to_pylist(), table["etag"].to_pylist(), strict=True)
    return {key: slot for slot, key in enumerate(keys)}


def _keys(storage: Storage, name: str) -> pa.Table | None:
    """Return path and ETag of an inventory's images; None if it is not there."""
    try:
        return pq.read_table(storage.path(name), columns=["path", "etag"], filesystem=storage.files, partitioning=None)
    except FileNotFoundError:
        return None
    except pa.ArrowException:
        raise NotPublishedError(
            f"{name} in {storage.root} is damaged: delete it and trigger the DAG, which publishes anew then"
        ) from None
    except OSError as error:
        raise StorageError(f"{name} in {storage.root} cannot be read: {error}") from error


def _batches(storage: Storage, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file of features; none of one that does not count."""
    try:
        with storage.files.open_input_file(storage.path(name)) as stream:
            file = pq.ParquetFile(stream)
            check_columns(file.schema_arrow, FEATURES)
            yield from file.iter_batches(ROWS_AT_ONCE, columns=COLUMNS)
    except (DamagedFileError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and not _is_damaged(storage, name):
            raise StorageError(f"{name} in {storage.root} cannot be read: {error}") from error
        log.warning("%s does not count as features: %s", name, error)


def _is_damaged(storage: Storage, name: str) -> bool:
    """Say whether a file is there, but is no whole Parquet file: Arrow may say the same of it as of a storage that fails."""
    try:
        content = storage.read(name)
    except FileNotFoundError:
        return False
    try:
        pq.ParquetFile(pa.BufferReader(content)).read(COLUMNS)
    except (OSError, pa.ArrowException):
        return True
    return False


def _fill(batch: pa.RecordBatch, rows: list[tuple[int, int]], vectors: npt.NDArray[Any], labels: list[str]) -> None:
    """Copy rows of a batch, scaled to length 1, into their slots."""
    if not rows:
        return
    taken = batch.take(pa.array([row for row, _ in rows]))
    values = taken["features"].flatten().to_numpy(zero_copy_only=False)
    if len(values) != len(rows) * FEATURE_COUNT:
        raise NotPublishedError(f"not every published feature row has {FEATURE_COUNT} numbers: run the DAG again")
    values = values.reshape(len(rows), FEATURE_COUNT)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    slots = [slot for _, slot in rows]
    vectors[slots] = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    for slot, label in zip(slots, taken["label"].to_pylist(), strict=True):
        labels[slot] = label
