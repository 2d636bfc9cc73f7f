"""What is in S3, and what of it is new.

The listing is the truth: an event that says "an image has landed" only wakes the DAG up. An image is known by its path and
its ETag; it is new until a run has its features, made by the network that this run uses, or has rejected it for good.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import datasets
from fruit_features.config import EXPORTER, IMAGENET, INPUT_SIZE, NETWORK, RunConfig

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Rejects for these reasons may be images that were unlucky, not bad: the next runs try them again, until that many have.
TRANSIENT_REASONS = frozenset({"not_found", "access_denied", "changed", "read_timeout", "read_error"})
MAX_TRIES = 3


@dataclass(frozen=True)
class ListedImage:
    """One object below the images prefix; ``size`` in bytes."""

    key: str
    etag: str
    size: int
    last_modified: datetime

    @property
    def label(self) -> str:
        """The name of the folder that holds the image, taken as it is."""
        return self.key.rsplit("/", 2)[-2]


def is_image_key(key: str) -> bool:
    """Whether a key can be an image: not a folder's marker, nor one of the files that desktops and tools leave behind.

    What is inside does not matter here: every other object is either extracted or reported in ``rejects``.
    """
    name = key.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".") and name not in {"_SUCCESS", "Thumbs.db", "desktop.ini"}


def list_images(hook: S3Hook, config: RunConfig) -> list[ListedImage]:
    """Every image below the prefix, in key order.

    Raises:
        AirflowFailException: naming the bucket that is missing or closed, the prefix that holds no image, or the images
            that lie outside a variety's folder.
    """
    images = []
    ignored: Counter[str] = Counter()
    for item in _list_objects(hook, config):
        if is_image_key(item["Key"]):
            images.append(ListedImage(item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"]))
        elif item["Size"]:
            ignored[item["Key"].rsplit("/", 1)[-1]] += 1
    for name, count in ignored.most_common(10):
        hook.log.info("ignored: %d × %s", count, name)

    where = f"s3://{config.bucket}/{config.images_prefix}"
    if not images:
        raise AirflowFailException(
            f"no images under {where}: upload them as {where}<Variety>/<file>, or set the images_prefix param"
        )
    unlabelled = [
        image.key for image in images if "/" not in image.key.removeprefix(config.images_prefix) or not image.label
    ]
    if unlabelled:
        raise AirflowFailException(
            f"{len(unlabelled)} image(s) under {where} have no variety folder, e.g. {unlabelled[0]!r}: "
            f"move them to {where}<Variety>/<file>"
        )
    return images


def _list_objects(hook: S3Hook, config: RunConfig) -> Iterator[dict[str, Any]]:
    paginator = hook.get_conn().get_paginator("list_objects_v2")
    try:
        region = hook.get_conn().head_bucket(Bucket=config.bucket).get("BucketRegion", config.region)
        if region != config.region:
            raise AirflowFailException(
                f"bucket {config.bucket!r} is in {region}, the cluster would be in {config.region}: set the region param"
            )
        for page in paginator.paginate(Bucket=config.bucket, Prefix=config.images_prefix):
            yield from page.get("Contents", [])
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchBucket", "404"}:
            raise AirflowFailException(
                f"bucket {config.bucket!r} does not exist: create it in {config.region}, or set the bucket param"
            ) from None
        if code in {"AccessDenied", "403"}:
            raise AirflowFailException(
                f"bucket {config.bucket!r} refuses s3:ListBucket to Airflow's credentials: allow it in their policy"
            ) from None
        raise


def network_id(hook: S3Hook, config: RunConfig) -> str | None:
    """The model_id that ``export_model`` will give the weights, or None before Keras's own were ever exported.

    Raises:
        AirflowFailException: naming the weights file that is missing, closed or not HDF5.
    """
    if config.weights == IMAGENET:
        pointer = config.key("models", f"{IMAGENET}-{INPUT_SIZE}-{EXPORTER}.json")
        if not hook.check_for_key(pointer, config.bucket):
            return None
        return json.loads(hook.read_key(pointer, config.bucket))["model_id"]

    bucket, key = hook.parse_s3_url(config.weights)
    try:
        body = hook.get_conn().get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise AirflowFailException(
                f"weights {config.weights} do not exist: upload the file, or set the weights param"
            ) from None
        if status == 403:
            raise AirflowFailException(
                f"weights {config.weights} are refused to Airflow's credentials: allow s3:GetObject in their policy"
            ) from None
        raise
    content = body.read(len(HDF5_SIGNATURE))
    if content == HDF5_SIGNATURE:
        content += body.read()
    else:
        raise AirflowFailException(
            f"weights {config.weights} are not an HDF5 file: it takes what Keras saves with save_weights('….weights.h5') "
            "or its own mobilenet_v2 ….h5"
        )
    return f"{NETWORK}-{hashlib.sha256(content).hexdigest()[:16]}-{INPUT_SIZE}-{EXPORTER}"


def inventory_table(config: RunConfig, images: Iterable[ListedImage]) -> pa.Table:
    """The listing with the ``inventory`` schema, one row per image."""
    rows = [
        (f"s3://{config.bucket}/{image.key}", image.label, image.etag, image.size, image.last_modified)
        for image in images
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(datasets.INVENTORY)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, datasets.INVENTORY, strict=True)]
    return pa.table(arrays, schema=datasets.INVENTORY)


def image_keys(table: pa.Table) -> list[tuple[str, str]]:
    """What an image is known by, path and ETag, for each row."""
    return list(zip(table["path"].to_pylist(), table["etag"].to_pylist(), strict=True))


def extracted_images(hook: S3Hook, config: RunConfig, model_id: str, without: str = "") -> pa.Table:
    """Path and ETag of every image that some run has extracted with this network, but for the folder ``without``."""
    data = _finished_data(hook, config, "features", datasets.FEATURES, without)
    return data.to_table(["path", "etag"], filter=pc.field("model_id") == model_id)


def rejected_images(hook: S3Hook, config: RunConfig, without: str = "") -> pa.Table:
    """Path and ETag of every image that is not worth another try: rejected for good, or by bad luck ``MAX_TRIES`` times.

    The rejects of the folder ``without`` do not count.
    """
    data = _finished_data(hook, config, "rejects", datasets.REJECTS, without)
    transient = pc.field("reason").isin(sorted(TRANSIENT_REASONS))
    unlucky = (
        data.to_table(["path", "etag"], filter=transient).group_by(["path", "etag"]).aggregate([([], "count_all")])
    )
    given_up = unlucky.filter(pc.field("count_all") >= MAX_TRIES).select(["path", "etag"])
    return pa.concat_tables([data.to_table(["path", "etag"], filter=~transient), given_up])


def _finished_data(hook: S3Hook, config: RunConfig, kind: str, schema: pa.Schema, without: str) -> ds.Dataset:
    folders = datasets.finished_folders(hook, config.bucket, config.key(kind, ""))
    kept = [folder for folder in folders if folder.rstrip("/") != without]
    return datasets.dataset(datasets.filesystem(hook), config.bucket, kept, schema)


def new_images(inventory: pa.Table, *known: pa.Table) -> pa.Table:
    """The rows of the inventory whose path and ETag are in none of the ``known`` tables, in the inventory's order."""
    seen = {key for table in known for key in image_keys(table)}
    return inventory.filter(pa.array([key not in seen for key in image_keys(inventory)], pa.bool_()))


def fingerprint(config: RunConfig, inventory: pa.Table, model_id: str | None) -> str:
    """What the results depend on, as a hash: the same fingerprint, the same results."""
    digest = hashlib.sha256(json.dumps([model_id, config.variance, config.refit]).encode())
    for path, etag in image_keys(inventory):
        digest.update(f"\n{path}\t{etag}".encode())
    return digest.hexdigest()


def latest_results(hook: S3Hook, config: RunConfig) -> dict[str, Any]:
    """The pointer to the latest good results; empty before there are any."""
    if not hook.check_for_key(config.latest_key, config.bucket):
        return {}
    return json.loads(hook.read_key(config.latest_key, config.bucket))


def find_new(hook: S3Hook, config: RunConfig) -> dict[str, Any]:
    """List the images, write the run's inventory and manifest, and tell what there is to do.

    Returns:
        ``images`` and ``new`` (counts), ``model_id`` (None before Keras's own weights were ever exported), ``pca_model`` (the
        fitted model to keep, None to fit anew), and ``work``: whether a cluster is needed. It is also
        needed without new images when the results do not show the present ones: images were deleted, an earlier run failed
        after the extraction, or the asked variance changed.
    """
    inventory = inventory_table(config, list_images(hook, config))
    latest = latest_results(hook, config)
    if latest.get("run") == config.run:
        raise AirflowFailException(f"run {config.run} is published: clearing it would overwrite it; trigger a new run")
    model_id = network_id(hook, config)
    if not config.refit and model_id and latest.get("model_id", model_id) != model_id:
        raise AirflowFailException(
            f"refit is off, but the published space is of the network {latest['model_id']} and these weights give {model_id}: "
            "vectors of two networks cannot be compared; set refit, or the former weights"
        )
    # What this very run wrote before it was cleared or retried does not count: it will be overwritten.
    known = [rejected_images(hook, config, without=config.rejects_key())]
    if model_id:
        known.append(extracted_images(hook, config, model_id, without=config.features_key()))
    manifest = new_images(inventory, *known)
    published = latest.get("fingerprint") == fingerprint(config, inventory, model_id)

    files = datasets.filesystem(hook)
    datasets.write(files, config.bucket, config.inventory_key, inventory)
    datasets.write(files, config.bucket, config.manifest_key, manifest)
    hook.log.info("%d images under %s, %d of them new", len(inventory), config.images_prefix, len(manifest))
    return {
        "images": len(inventory),
        "new": len(manifest),
        "model_id": model_id,
        "pca_model": None if config.refit else latest.get("pca_model"),
        "work": bool(len(manifest)) or not published,
    }
