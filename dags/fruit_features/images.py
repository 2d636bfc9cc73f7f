"""The images that a bucket lists.

The listing is the truth: an event that says "an image has landed" only wakes the DAG up.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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

from fruit_features import datasets, listing, s3_inventory
from fruit_features.layout import Location
from fruit_features.listing import Listed
from fruit_features.run import Run
from fruit_features.s3_inventory import Report
from fruit_features.workspace import Collector, Workspace

log = logging.getLogger(__name__)

REPORTS_AT_ONCE = 2  # files of an inventory: each is up to 200 MB, of which row groups are held
SOME = "SELECT min(path), max(path), min_by(path, etag) FROM listed"


def is_image_key(key: str) -> bool:
    """Say whether a key can be an image: not a folder's marker, nor one of the files that desktops and tools leave behind.

    What is inside does not matter here: every other object is either extracted or reported in `rejects`.
    """
    name = key.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".") and name not in {"_SUCCESS", "Thumbs.db", "desktop.ini"}


class Images:
    """The images of a listing, collected from several threads; and what was not taken for one."""

    def __init__(self, run: Run, collector: Collector) -> None:
        self._bucket = run.layout.images.bucket
        self._prefix = run.layout.images_prefix
        self._keys = run.layout.image_keys
        self._collector = collector
        self._lock = Lock()
        self._ignored: Counter[str] = Counter()
        self._left_out = 0
        self._unlabelled: list[str] = []

    def add(self, page: Iterable[Listed]) -> None:
        """Take the images of a page of the listing."""
        images, ignored, unlabelled, left_out = [], Counter[str](), [], 0
        for found in page:
            if found.key not in self._keys:
                left_out += 1
                continue
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
            self._left_out += left_out
            self._unlabelled += unlabelled

    def check(self) -> None:
        """Say what was ignored.

        Raises:
            AirflowFailException: naming the prefix that holds no image, or the images that lie outside a variety's folder.
        """
        for name, count in self._ignored.most_common(10):
            log.info("ignored: %d × %s", count, name)
        if self._left_out:
            log.info(
                "left out by include and exclude: %s objects, not counting folders that were not listed",
                f"{self._left_out:,}",
            )
        where = f"s3://{self._bucket}/{self._prefix}"
        if not self._collector.rows and (self._keys.include or self._keys.exclude):
            raise AirflowFailException(
                f"no images under {where} match include and exclude ({self._left_out} objects do not): patterns begin "
                f"with what follows {where}"
            )
        if not self._collector.rows:
            raise AirflowFailException(
                f"no images under {where}: upload them as {where}<Variety>/<file>, or set the params images_bucket and "
                "images_prefix"
            )
        if self._unlabelled:
            raise AirflowFailException(
                f"{len(self._unlabelled)} image(s) under {where} have no variety folder, e.g. {min(self._unlabelled)!r}: "
                f"move them to {where}<Variety>/<file>, or exclude them"
            )


def inventory_table(images: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return images with the `inventory` schema; the time of the last change is text, in ISO 8601."""
    columns = zip(*images, strict=True) if images else [()] * len(datasets.INVENTORY)
    kinds = [*datasets.INVENTORY.types[:-1], pa.string()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, datasets.INVENTORY.names).cast(datasets.INVENTORY)


def collect_images(hook: S3Hook, run: Run, work: Workspace) -> str | None:
    """List the images, several requests at a time, into the table `listed` of a workspace.

    Returns:
        The time (ISO 8601, UTC) of the inventory that was read in place of a listing, if one was.

    Raises:
        AirflowFailException: naming the bucket that is missing or closed, or as `Images.check`.
    """
    source = run.settings.inventory_source
    report = s3_inventory.find_report(hook, source, run.layout.images.bucket) if source else None
    with work.collect("listed", datasets.INVENTORY) as collector:
        images = Images(run, collector)
        if report:
            log.info("inventory %s of %s, instead of a listing", report.manifest, report.created)
            _take_report(hook, report, images)
        else:
            _take_listing(hook, run, images)
    images.check()
    return report.created if report else None


def _take_listing(hook: S3Hook, run: Run, images: Images) -> None:
    client, bucket, keys = hook.get_conn(), run.layout.images.bucket, run.layout.image_keys

    def take(between: tuple[str, str | None]) -> None:
        for page in listing.pages(client, bucket, keys.prefix, *between):
            images.add(page)

    with _explained(run, bucket), listing.own_parser(client), ThreadPoolExecutor(listing.AT_ONCE) as pool:
        for _ in pool.map(take, listing.ranges(client, bucket, keys.prefix, keys.skip)):
            pass


def _take_report(hook: S3Hook, report: Report, images: Images) -> None:
    def take(file: Location) -> None:
        for rows in s3_inventory.read_rows(hook, report, file):
            images.add(rows)

    with ThreadPoolExecutor(REPORTS_AT_ONCE) as pool:
        for _ in pool.map(take, report.files):
            pass


@contextmanager
def _explained(run: Run, bucket: str) -> Iterator[None]:
    """Say what to do about a bucket that is missing or closed."""
    foreign = bucket != run.settings.bucket
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchBucket", "404"}:
            param = "images_bucket" if foreign else "bucket"
            raise AirflowFailException(
                f"bucket {bucket!r} does not exist: create it in {run.settings.region}, or set the {param} param"
            ) from None
        if code in {"AccessDenied", "403"}:
            also = " and in the bucket's own, if it is another account's" if foreign else ""
            raise AirflowFailException(
                f"bucket {bucket!r} refuses s3:ListBucket to Airflow's credentials: allow it in their policy{also}"
            ) from None
        raise


def reach_buckets(hook: S3Hook, run: Run) -> str:
    """Check that the buckets are there and in the run's region; return the time by S3's clock (ISO 8601, UTC).

    Raises:
        AirflowFailException: naming the bucket that is missing, closed or elsewhere.
    """
    times = [_reach(hook, run, bucket) for bucket in dict.fromkeys((run.settings.bucket, run.layout.images.bucket))]
    return times[0]


def _reach(hook: S3Hook, run: Run, bucket: str) -> str:
    region = run.settings.region
    with _explained(run, bucket):
        answer = hook.get_conn().head_bucket(Bucket=bucket)
    found = answer.get("BucketRegion", region)
    if found != region:
        raise AirflowFailException(
            f"bucket {bucket!r} is in {found}, the cluster would be in {region}: set the region param"
        )
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC).isoformat()


def check_reading(hook: S3Hook, run: Run, work: Workspace) -> None:
    """Check that images of another bucket than the pipeline's own can be read, by a byte of some of the table `listed`.

    A bucket's owner may show its keys and close its objects, or encrypt them with a key of their own. The nodes would find out
    when they are paid for. That a few objects are closed is no reason to fail: they become rejects.

    Raises:
        AirflowFailException: none of them can be read.
    """
    bucket = run.layout.images.bucket
    if bucket == run.settings.bucket:
        return
    problems = []
    for path in sorted(set(work.row(SOME))):
        try:
            hook.get_conn().get_object(Bucket=bucket, Key=path.removeprefix(f"s3://{bucket}/"), Range="bytes=0-0")
        except ClientError as error:
            if error.response["Error"]["Code"] in {"AccessDenied", "403"}:
                problems.append(f"{path} ({error.response['Error'].get('Message') or 'access denied'})")
                continue
            log.info("%s: not checked before the cluster starts (%s)", path, error)
        return
    raise AirflowFailException(
        f"the images cannot be read, e.g. {problems[0]}: bucket {bucket!r} must allow s3:GetObject to Airflow and to the nodes, "
        "in its own policy too if it is another account's, and kms:Decrypt if its objects are encrypted with a KMS key "
        "(docs/aws.md, Images in another bucket)"
    )
