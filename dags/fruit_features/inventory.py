"""What is in S3, and what of it is new.

The listing is the truth: an event that says "an image has landed" only wakes the DAG up. An image is known by its path and
its ETag; it is new until a run has its features, made by the network that this run uses, or has rejected it for good.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import datasets, history, listing, model, publishing
from fruit_features.layout import Location
from fruit_features.listing import Listed
from fruit_features.run import Plan, Run
from fruit_features.workspace import Collector, Workspace, workspace

log = logging.getLogger(__name__)

NEW_IMAGES = "SELECT listed.* FROM listed ANTI JOIN known USING (path, etag) ORDER BY path"


def is_image_key(key: str) -> bool:
    """Say whether a key can be an image: not a folder's marker, nor one of the files that desktops and tools leave behind.

    What is inside does not matter here: every other object is either extracted or reported in `rejects`.
    """
    name = key.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".") and name not in {"_SUCCESS", "Thumbs.db", "desktop.ini"}


class Images:
    """The images of a listing, collected from several threads; and what was not taken for one."""

    def __init__(self, run: Run, collector: Collector) -> None:
        self._bucket = run.settings.bucket
        self._prefix = run.layout.images_prefix
        self._collector = collector
        self._lock = Lock()
        self._ignored: Counter[str] = Counter()
        self._unlabelled: list[str] = []

    def add(self, page: Iterable[Listed]) -> None:
        """Take the images of a page of the listing."""
        images, ignored, unlabelled = [], Counter[str](), []
        for found in page:
            if not is_image_key(found.key):
                if found.size:
                    ignored[found.key.rsplit("/", 1)[-1]] += 1
                continue
            folder, slash, _ = found.key.removeprefix(self._prefix).rpartition("/")
            label = folder.rpartition("/")[2] if slash else ""
            if not label:
                unlabelled.append(found.key)
            path = f"s3://{self._bucket}/{found.key}"
            images.append((path, label, found.etag, found.size, found.last_modified))
        self._collector.add(inventory_table(images))
        with self._lock:
            self._ignored += ignored
            self._unlabelled += unlabelled

    def check(self) -> None:
        """Say what was ignored.

        Raises:
            AirflowFailException: naming the prefix that holds no image, or the images that lie outside a variety's folder.
        """
        for name, count in self._ignored.most_common(10):
            log.info("ignored: %d × %s", count, name)
        where = f"s3://{self._bucket}/{self._prefix}"
        if not self._collector.rows:
            raise AirflowFailException(
                f"no images under {where}: upload them as {where}<Variety>/<file>, or set the images_prefix param"
            )
        if self._unlabelled:
            raise AirflowFailException(
                f"{len(self._unlabelled)} image(s) under {where} have no variety folder, e.g. {min(self._unlabelled)!r}: "
                f"move them to {where}<Variety>/<file>"
            )


def inventory_table(images: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return images with the `inventory` schema; the time of the last change is text, in ISO 8601."""
    columns = zip(*images, strict=True) if images else [()] * len(datasets.INVENTORY)
    kinds = [*datasets.INVENTORY.types[:-1], pa.string()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, datasets.INVENTORY.names).cast(datasets.INVENTORY)


def collect_images(hook: S3Hook, run: Run, work: Workspace) -> None:
    """List the images, several requests at a time, into the table `listed` of a workspace.

    Raises:
        AirflowFailException: naming the bucket that is missing or closed, or as `Images.check`.
    """
    client, bucket, prefix = hook.get_conn(), run.settings.bucket, run.layout.images_prefix
    with work.collect("listed", datasets.INVENTORY) as collector:
        images = Images(run, collector)

        def collect(keys: tuple[str, str | None]) -> None:
            for page in listing.pages(client, bucket, prefix, *keys):
                images.add(page)

        with _explained(run), listing.own_parser(client), ThreadPoolExecutor(listing.AT_ONCE) as pool:
            for _ in pool.map(collect, listing.ranges(client, bucket, prefix)):
                pass
    images.check()


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


def find_new(hook: S3Hook, run: Run) -> Plan:
    """List the images, write the run's inventory and manifest, and say what there is to do.

    Raises:
        AirflowFailException: naming what is missing, closed or contradictory.
    """
    listed = reach_bucket(hook, run)
    latest = publishing.check_unpublished(hook, run)
    with workspace() as work:
        collect_images(hook, run, work)
        model_id = model.model_id(hook, run)
        _check_space(run, latest, model_id)
        collect_known(hook, run, work, model_id)
        images, new, fingerprint = _count_and_write(hook, run, work, model_id)

    log.info("%d images under %s, %d of them new", images, run.layout.images_prefix, new)
    needs_cluster = bool(new) or latest.get("fingerprint") != fingerprint
    if run.settings.dry_run:
        log.info("dry run: %s; nothing is written", _outlook(run, images, new, needs_cluster))
        needs_cluster = False
    return Plan(
        listed=listed,
        images=images,
        new=new,
        model_id=model_id,
        model_exported=not run.settings.dry_run and model.point_to(hook, run, model_id),
        pca_model=None if run.settings.refit else latest.get("pca_model"),
        previous=latest["report"].rpartition("/")[0] if latest.get("report") else None,
        needs_cluster=needs_cluster,
    )


def collect_known(hook: S3Hook, run: Run, work: Workspace, model_id: str | None) -> None:
    """Make the table `known` of a workspace: path and ETag of the images that the run need not extract.

    What this very run wrote before it was cleared or retried does not count: it will be overwritten.
    """
    layout = run.layout
    history.collect_outcomes(hook, layout, work, model_id, exclude=(layout.run_features, layout.run_rejects))
    counts = "false" if run.settings.full_refresh else "true"
    rejects_count = "false" if run.settings.retry_rejects else counts
    work.run(f"CREATE VIEW known AS FROM extracted WHERE {counts} UNION ALL FROM rejected WHERE {rejects_count}")


def _count_and_write(hook: S3Hook, run: Run, work: Workspace, model_id: str | None) -> tuple[int, int, str]:
    """Write inventory and manifest, but in a dry run; return their rows and the fingerprint of the results to come."""
    fingerprint = publishing.Fingerprint(run, model_id)
    files = datasets.filesystem(hook)

    def write(name: str, sql: str, where: Location, see: Callable[[pa.RecordBatch], None]) -> int:
        rows = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in work.stream(name, sql, datasets.INVENTORY, datasets.ROWS_PER_GROUP):
                rows += len(batch)
                see(batch)
                yield batch

        if run.settings.dry_run:
            deque(batches(), maxlen=0)
        else:
            datasets.write_stream(files, where, datasets.INVENTORY, batches())
        return rows

    images = write("inventory", "SELECT * FROM listed ORDER BY path", run.layout.inventory, fingerprint.add)
    new = write("manifest", NEW_IMAGES, run.layout.manifest, lambda _: None)
    return images, new, fingerprint.hexdigest()


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
