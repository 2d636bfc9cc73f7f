"""The demo's bucket on the local endpoint, filled with images and weights."""

import contextlib
import mimetypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from demo.images import write_bad_images, write_images
from demo.local_airflow import PROJECT

BUCKET = "fruits"
REGION = "eu-west-3"
PER_VARIETY = 50

Log = Callable[[str], None]


class DemoError(Exception):
    """The demo cannot continue; the message says what to do."""


def client(service: str, endpoint_url: str) -> Any:
    """Return a client of the local endpoint, whatever AWS settings this machine has."""
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)  # noqa: S106
    return session.client(service, endpoint_url=endpoint_url)


def image_files(folders: str) -> list[tuple[str, Path]]:
    """List the user's images: the key below `images/`, and the file.

    Args:
        folders: one folder, or several joined with `:`; each holds either folders of varieties or the images of one variety.

    Raises:
        DemoError: if a folder is missing or empty, or if two files would have the same key.
    """
    found: dict[str, Path] = {}
    for name in folders.split(os.pathsep):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise DemoError(f"IMAGES={name}: there is no such folder")
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        if not files:
            raise DemoError(f"IMAGES={name}: the folder is empty")
        one_variety = all(file.parent == folder for file in files)
        for file in files:
            key = file.relative_to(folder).as_posix()
            key = f"{folder.resolve().name}/{key}" if one_variety else key
            if key in found:
                raise DemoError(f"IMAGES={folders}: {found[key]} and {file} would overwrite each other; rename one")
            found[key] = file
    return list(found.items())


def weights_file(log: Log) -> Path:
    """Return the path of ImageNet weights where they can be downloaded, else of random ones; kept for the next run.

    Raises:
        DemoError: if neither could be made.
    """
    folder = PROJECT / ".venv" / "demo-weights"
    for kept in (folder / "imagenet.h5", folder / "random.weights.h5"):
        if kept.exists():
            break
    else:
        log("no WEIGHTS given: trying to download Keras's ImageNet weights")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as images:
            write_images(Path(images), 10)
            done = subprocess.run(
                [PROJECT / ".venv/spark/bin/python", PROJECT / "demo/weights.py", folder, images],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise DemoError(f"could not create weights for the demo: {done.stderr[-600:]}")
        kept = Path(done.stdout.splitlines()[-1])
    if kept.name.startswith("random"):
        log("ImageNet weights could not be downloaded: using seeded RANDOM weights, calibrated on drawn fruit.")
        log("The pipeline is the real one, but the features mean nothing. For real ones: make demo WEIGHTS=file.h5")
    return kept


def upload(s3: Any, file: Path, key: str) -> None:
    """Upload a file with its content type, so that browsers show images instead of saving them."""
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    s3.upload_file(str(file), BUCKET, key, ExtraArgs={"ContentType": kind})


def fill_bucket(endpoint_url: str, images: str | None, weights: str | None, log: Log) -> str:
    """Bring the bucket up to date; return the URI of the weights.

    A bucket that is kept from an earlier start keeps what it has: only images and weights that are named are uploaded to it. A
    new one gets drawn images and weights that can be had where none are named.

    Raises:
        DemoError: if IMAGES or WEIGHTS name something that cannot be used.
    """
    s3 = client("s3", endpoint_url)
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    kept = _uploaded_weights(s3)
    if images or not kept:
        _upload_images(s3, images, log)
    # Weights last: where they are, the images are too, even if an earlier upload was interrupted.
    return _upload_weights(s3, weights, log) if weights or not kept else kept


def queue_of_new_images(endpoint_url: str) -> str:
    """Have the bucket report new images to a queue; return the queue's URL."""
    sqs = client("sqs", endpoint_url)
    url: str = sqs.create_queue(QueueName="new-images")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    images = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "images/"}]}}
    client("s3", endpoint_url).put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": images}]
        },
    )
    return url


def _uploaded_weights(s3: Any) -> str | None:
    """Return the URI of the weights that were uploaded last, if there are any."""
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="weights/").get("Contents", [])
    latest = max(found, key=lambda item: item["LastModified"], default=None)
    return f"s3://{BUCKET}/{latest['Key']}" if latest else None


def _upload_images(s3: Any, folders: str | None, log: Log) -> None:
    with tempfile.TemporaryDirectory(prefix="fruits-demo-") as scratch:
        if not folders:
            log("drawing images of 7 varieties, and a few bad files")
            write_images(Path(scratch), PER_VARIETY)
            write_bad_images(Path(scratch))
        files = image_files(folders or scratch)
        log(f"uploading {len(files)} files to s3://{BUCKET}/images/")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: upload(s3, item[1], f"images/{item[0]}"), files))


def _upload_weights(s3: Any, weights: str | None, log: Log) -> str:
    if weights:
        file = Path(weights).expanduser()
        if not file.is_file():
            raise DemoError(f"WEIGHTS={weights}: there is no such file")
    else:
        file = weights_file(log)
    upload(s3, file, f"weights/{file.name}")
    return f"s3://{BUCKET}/weights/{file.name}"
