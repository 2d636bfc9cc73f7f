"""What is in S3, and what of it is new.

The listing is the truth: an event that says "an image has landed" only wakes the DAG up. An image is known by its path and
its ETag; it is new until a run has its features, made by the network that this run uses, or has rejected it for good.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import datasets, history, model, publishing
from fruit_features.run import Plan, Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedImage:
    """One object below the images prefix; `size` in bytes."""

    key: str
    etag: str
    size: int
    last_modified: datetime

    @property
    def label(self) -> str:
        """Return the name of the folder that holds the image, taken as it is."""
        return self.key.rsplit("/", 2)[-2]


def is_image_key(key: str) -> bool:
    """Say whether a key can be an image: not a folder's marker, nor one of the files that desktops and tools leave behind.

    What is inside does not matter here: every other object is either extracted or reported in `rejects`.
    """
    name = key.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".") and name not in {"_SUCCESS", "Thumbs.db", "desktop.ini"}


def list_images(hook: S3Hook, run: Run) -> list[ListedImage]:
    """Return every image below the prefix, in key order.

    Raises:
        AirflowFailException: naming the bucket that is missing or closed, the prefix that holds no image, or the images
            that lie outside a variety's folder.
    """
    images = []
    ignored: Counter[str] = Counter()
    for item in _list_objects(hook, run):
        if is_image_key(item["Key"]):
            images.append(ListedImage(item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"]))
        elif item["Size"]:
            ignored[item["Key"].rsplit("/", 1)[-1]] += 1
    for name, count in ignored.most_common(10):
        hook.log.info("ignored: %d × %s", count, name)
    _check_images(images, run.layout.images_prefix, run.settings.bucket)
    return images


def _check_images(images: list[ListedImage], prefix: str, bucket: str) -> None:
    where = f"s3://{bucket}/{prefix}"
    if not images:
        raise AirflowFailException(
            f"no images under {where}: upload them as {where}<Variety>/<file>, or set the images_prefix param"
        )
    unlabelled = [image.key for image in images if "/" not in image.key.removeprefix(prefix) or not image.label]
    if unlabelled:
        raise AirflowFailException(
            f"{len(unlabelled)} image(s) under {where} have no variety folder, e.g. {unlabelled[0]!r}: "
            f"move them to {where}<Variety>/<file>"
        )


@contextmanager
def _explained(run: Run) -> Iterator[None]:
    """Say what to do about a bucket that is missing or closed."""
    bucket = run.settings.bucket
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchBucket", "404"}:
            raise AirflowFailException(
                f"bucket {bucket!r} does not exist: create it in {run.settings.region}, or set the bucket param"
            ) from None
        if code in {"AccessDenied", "403"}:
            raise AirflowFailException(
                f"bucket {bucket!r} refuses s3:ListBucket to Airflow's credentials: allow it in their policy"
            ) from None
        raise


def reach_bucket(hook: S3Hook, run: Run) -> str:
    """Check that the bucket is there and in the run's region; return the time by S3's clock (ISO 8601, UTC).

    Raises:
        AirflowFailException: naming the bucket that is missing, closed or elsewhere.
    """
    bucket, region = run.settings.bucket, run.settings.region
    with _explained(run):
        answer = hook.get_conn().head_bucket(Bucket=bucket)
    found = answer.get("BucketRegion", region)
    if found != region:
        raise AirflowFailException(
            f"bucket {bucket!r} is in {found}, the cluster would be in {region}: set the region param"
        )
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC).isoformat()


def _list_objects(hook: S3Hook, run: Run) -> Iterator[dict[str, Any]]:
    paginator = hook.get_conn().get_paginator("list_objects_v2")
    with _explained(run):
        for page in paginator.paginate(Bucket=run.settings.bucket, Prefix=run.layout.images_prefix):
            yield from page.get("Contents", [])


def inventory_table(run: Run, images: Iterable[ListedImage]) -> pa.Table:
    """Return the listing with the `inventory` schema, one row per image."""
    rows = [
        (f"s3://{run.settings.bucket}/{image.key}", image.label, image.etag, image.size, image.last_modified)
        for image in images
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(datasets.INVENTORY)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, datasets.INVENTORY, strict=True)]
    return pa.table(arrays, schema=datasets.INVENTORY)


def new_images(inventory: pa.Table, *known: pa.Table) -> pa.Table:
    """Return the rows of the inventory whose path and ETag are in none of the `known` tables, in the inventory's order."""
    seen = {key for table in known for key in datasets.identity_keys(table)}
    return inventory.filter(pa.array([key not in seen for key in datasets.identity_keys(inventory)], pa.bool_()))


def find_new(hook: S3Hook, run: Run) -> Plan:
    """List the images, write the run's inventory and manifest, and say what there is to do.

    Raises:
        AirflowFailException: naming what is missing, closed or contradictory.
    """
    listed = reach_bucket(hook, run)
    latest = publishing.check_unpublished(hook, run)
    inventory = inventory_table(run, list_images(hook, run))
    model_id = model.model_id(hook, run)
    _check_space(run, latest, model_id)
    manifest = new_images(inventory, *_known(hook, run, model_id))
    published = latest.get("fingerprint") == publishing.fingerprint(run, inventory, model_id)

    hook.log.info("%d images under %s, %d of them new", len(inventory), run.layout.images_prefix, len(manifest))
    needs_cluster = bool(len(manifest)) or not published
    if run.settings.dry_run:
        log.info("dry run: %s; nothing is written", _outlook(run, len(inventory), len(manifest), needs_cluster))
        needs_cluster = False
    else:
        files = datasets.filesystem(hook)
        datasets.write(files, run.layout.inventory, inventory)
        datasets.write(files, run.layout.manifest, manifest)
    return Plan(
        listed=listed,
        images=len(inventory),
        new=len(manifest),
        model_id=model_id,
        model_exported=not run.settings.dry_run and model.point_to(hook, run, model_id),
        pca_model=None if run.settings.refit else latest.get("pca_model"),
        previous=latest["report"].rpartition("/")[0] if latest.get("report") else None,
        needs_cluster=needs_cluster,
    )


def _known(hook: S3Hook, run: Run, model_id: str | None) -> Iterator[pa.Table]:
    """Yield path and ETag of the images that the run need not extract.

    What this very run wrote before it was cleared or retried does not count: it will be overwritten.
    """
    layout = run.layout
    if run.settings.full_refresh:
        return
    if not run.settings.retry_rejects:
        yield history.rejected_images(hook, layout.rejects, exclude=layout.run_rejects)
    if model_id:
        yield history.extracted_images(hook, layout.features, model_id, exclude=layout.run_features)


def _outlook(run: Run, images: int, new: int, needs_cluster: bool) -> str:  # noqa: FBT001 - as the plan says
    """Say what a run would do."""
    if not needs_cluster:
        return "a run would stop here, as the published results show the present images"
    settings = run.settings
    nodes = f"1 {settings.primary_instance_type} and {settings.core_instance_count} {settings.core_instance_type}"
    return f"a run would create a cluster of {nodes}, extract {new} images and reduce the features of {images}"


def _check_space(run: Run, latest: dict[str, Any], model_id: str | None) -> None:
    if not run.settings.refit and model_id and latest.get("model_id", model_id) != model_id:
        raise AirflowFailException(
            f"refit is off, but the published space is of the network {latest['model_id']} and these weights give {model_id}: "
            "vectors of two networks cannot be compared; set refit, or the former weights"
        )
