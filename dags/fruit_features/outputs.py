"""Checks of the Parquet outputs, and publishing.

The checks read what was really written, not what a job says of itself.
"""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets
from fruit_features.config import RunConfig
from fruit_features.inventory import extracted_images, fingerprint, image_keys

FEATURES_PER_IMAGE = 1280


class OutputError(AirflowFailException):
    """An output breaks a promise; the message says which and where. Running the check again would not help."""


def require(holds: bool, broken: str) -> None:
    """Raise OutputError with ``broken`` unless ``holds``."""
    if not holds:
        raise OutputError(broken)


def check_schema(where: str, actual: pa.Schema, expected: pa.Schema) -> None:
    """Field names, order and types; nullability and metadata do not count, Spark writes them its own way."""
    written = [(field.name, datasets.plain_type(field.type)) for field in actual]
    promised = [(field.name, datasets.plain_type(field.type)) for field in expected]
    require(written == promised, f"{where} has the columns {written}, expected {promised}")


def check_extraction(manifest: pa.Table, features: pa.Table, rejects: pa.Table, where: str) -> None:
    """Every image of the manifest is in features or in rejects, once. Tables need ``path`` and ``etag``."""
    asked = Counter(image_keys(manifest))
    done = Counter(image_keys(features)) + Counter(image_keys(rejects))
    if lost := asked - done:
        raise OutputError(
            f"{where}: {lost.total()} image(s) of the manifest are in neither features nor rejects, e.g. {min(lost)[0]!r}"
        )
    if added := done - asked:
        raise OutputError(
            f"{where}: {added.total()} row(s) of features and rejects are there twice or were not asked for, "
            f"e.g. {min(added)[0]!r}"
        )


def check_feature_batch(batch: pa.RecordBatch, model_id: str, where: str) -> None:
    """Every row has 1280 finite floats, made by the run's network. The batch needs ``path``, ``model_id`` and ``features``."""
    _check_lists(batch, "features", FEATURES_PER_IMAGE, where)
    other = pc.index(pc.fill_null(pc.equal(batch["model_id"], model_id), False), False).as_py()
    if other >= 0:
        raise OutputError(f"{where}: {batch['path'][other].as_py()!r} was not made by the network {model_id}")


def _check_lists(batch: pa.RecordBatch, column: str, length: int, where: str) -> None:
    """Each list of ``column`` has ``length`` elements, all of them finite numbers."""
    right_length = pc.fill_null(pc.equal(pc.list_value_length(batch[column]), length), False)
    wrong = pc.index(right_length, False).as_py()
    if wrong >= 0:
        raise OutputError(f"{where}: {batch['path'][wrong].as_py()!r} does not have {length} numbers in {column}")
    finite = pc.fill_null(pc.is_finite(batch[column].flatten()), False)
    infinite = pc.index(finite, False).as_py()
    if infinite >= 0:
        path = batch["path"][infinite // length].as_py()
        raise OutputError(f"{where}: {path!r} has a number in {column} that is not finite")


def check_components(report: dict[str, Any], variance: float, fitted: bool, where: str) -> None:
    """``components`` is the smallest number that reaches the asked share of the variance, unless an earlier model was kept.

    ``variance_curve`` holds the share that the first 1, 2, 3… components explain together.
    """
    k, curve = report["components"], report["variance_curve"]
    require(len(curve) >= k > 0, f"{where}: components is {k}, its variance curve has {len(curve)} points")
    if not fitted:
        return
    # The last bits of a share that is 1 up to rounding must not fail the check.
    reaching = (number for number, share in enumerate(curve, start=1) if share >= variance - 1e-9)
    smallest = next(reaching, len(curve))
    require(
        k == smallest,
        f"{where}: {k} components, but {smallest} are the fewest that explain {variance:.4g} of the variance",
    )


def check_outputs(hook: S3Hook, config: RunConfig, images: dict[str, Any]) -> dict[str, Any]:
    """Prove the invariants of the run's outputs in S3.

    Args:
        images: what ``find_new_images`` returned.

    Returns:
        What ``publish`` writes into ``latest.json``: the counts, k, the explained variance, and where everything is.

    Raises:
        OutputError: naming the invariant that does not hold and an image or a file where it does not.
    """
    files = datasets.filesystem(hook)

    def table(key: str, columns: list[str]) -> pa.Table:
        return pq.read_table(f"{config.bucket}/{key}", columns=columns, filesystem=files, partitioning=None)

    def finished(key: str, schema: pa.Schema) -> Any:
        where = config.as_uri(key)
        require(
            hook.check_for_key(f"{key}/_SUCCESS", config.bucket), f"{where} is not finished: it has no _SUCCESS marker"
        )
        data = datasets.dataset(files, config.bucket, [key + "/"], schema)
        for fragment in data.get_fragments():
            check_schema(f"s3://{fragment.path}", fragment.physical_schema, schema)
        return data

    network = json.loads(hook.read_key(config.network_key, config.bucket))
    model_id = network["model_id"]
    features = finished(config.features_key(), datasets.FEATURES)
    rejects = finished(config.rejects_key(), datasets.REJECTS).to_table()
    check_extraction(
        table(config.manifest_key, ["path", "etag"]),
        features.to_table(["path", "etag"]),
        rejects,
        f"run {config.run}",
    )
    for batch in features.to_batches(["path", "model_id", "features"], batch_size=4096):
        check_feature_batch(batch, model_id, config.as_uri(config.features_key()))

    report_key = config.results_key("report.json")
    report = json.loads(hook.read_key(report_key, config.bucket))
    check_components(report, config.variance, not images.get("pca_model"), config.as_uri(report_key))
    pca = finished(config.results_key("pca"), datasets.PCA)
    inventory = table(config.inventory_key, ["path", "etag"])
    usable = set(image_keys(inventory)) & set(image_keys(extracted_images(hook, config, model_id)))
    check_vectors(pca, report["components"], {path for path, _ in usable}, config.as_uri(config.results_key("pca")))

    rows = pca.count_rows()
    rejected = images["images"] - rows
    require(rows > 0, f"none of the {images['images']} images could be used: see {config.uri('rejects')}")
    require(
        rejected <= config.max_reject_share * images["images"],
        f"{rejected} of {images['images']} images are unusable, more than max_reject_share = {config.max_reject_share}: "
        f"see {config.uri('rejects')}",
    )
    return {
        "run": config.run,
        "images": images["images"],
        "features": rows,
        "rejects": rejected,
        "rejects_by_reason": report["rejects_by_reason"],
        "components": report["components"],
        "explained_variance": report["explained_variance"],
        "model_id": model_id,
        "pca": config.as_uri(config.results_key("pca")),
        "pca_model": config.as_uri(config.results_key("model")),
        "report": config.as_uri(config.results_key("report.html")),
        "fingerprint": fingerprint(config, inventory, model_id),
    }


def check_vectors(pca: Any, k: int, usable: set[str], where: str) -> None:
    """Each usable image has one vector of k finite numbers, and nothing else has one. ``pca`` is a dataset."""
    seen: set[str] = set()
    for batch in pca.to_batches(columns=["path", "features_pca"], batch_size=16384):
        _check_lists(batch, "features_pca", k, where)
        for path in batch["path"].to_pylist():
            require(path in usable, f"{where}: {path!r} is not an image of the inventory that has features")
            require(path not in seen, f"{where}: {path!r} is there twice")
            seen.add(path)
    missing = usable - seen
    require(
        not missing,
        f"{where}: {len(missing)} image(s) that have features are missing, e.g. {min(missing, default='')!r}",
    )


def publish(hook: S3Hook, config: RunConfig, results: dict[str, Any]) -> None:
    """Move ``latest.json`` to this run's results, in one PUT: readers see the old ones or the new ones, never a mixture."""
    document = {**results, "published": datetime.now(UTC).isoformat(timespec="seconds")}
    hook.load_string(json.dumps(document, indent=2, ensure_ascii=False), config.latest_key, config.bucket, replace=True)
    hook.log.info("published %s", config.as_uri(config.latest_key))
