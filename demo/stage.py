"""A bucket with images and weights in it, ready for the DAG."""

import contextlib
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

Say = Callable[[str], None]


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


def client(service: str, endpoint_url: str) -> Any:
    """A client of the local endpoint, whatever AWS settings this machine has."""
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)  # noqa: S106
    return session.client(service, endpoint_url=endpoint_url)


def image_files(folders: str) -> list[tuple[str, Path]]:
    """Key below ``images/`` and file for each of one's own images.

    ``folders`` is a folder of variety folders, or several folders joined with ``:``, each either of those or a variety's own.
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


def weights_file(say: Say) -> Path:
    """ImageNet weights where they can be downloaded, else random ones; made once and kept."""
    folder = PROJECT / ".venv" / "demo-weights"
    for kept in (folder / "imagenet.h5", folder / "random.weights.h5"):
        if kept.exists():
            break
    else:
        say("no WEIGHTS given: trying to download Keras's ImageNet weights")
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
            raise DemoError(f"no weights could be made: {done.stderr[-600:]}")
        kept = Path(done.stdout.splitlines()[-1])
    if kept.name.startswith("random"):
        say("ImageNet weights cannot be downloaded here: using seeded RANDOM weights, calibrated on drawn fruit.")
        say("The pipeline is the real one, the features mean nothing. For real ones: make demo WEIGHTS=file.h5")
    return kept


def fill_bucket(endpoint_url: str, images: str | None, weights: str | None, say: Say) -> str:
    """Create the bucket and upload images (drawn ones by default) and weights; return the URI of the weights."""
    s3 = client("s3", endpoint_url)
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # filling it was interrupted
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    with tempfile.TemporaryDirectory(prefix="fruits-demo-") as scratch:
        if not images:
            say("drawing images of 7 varieties, and some bad files among them")
            write_images(Path(scratch), PER_VARIETY)
            write_bad_images(Path(scratch))
        files = image_files(images or scratch)
        say(f"uploading {len(files)} files to s3://{BUCKET}/images/")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: s3.upload_file(str(item[1]), BUCKET, f"images/{item[0]}"), files))

    if weights:
        file = Path(weights).expanduser()
        if not file.is_file():
            raise DemoError(f"WEIGHTS={weights}: there is no such file")
    else:
        file = weights_file(say)
    s3.upload_file(str(file), BUCKET, f"weights/{file.name}")
    return f"s3://{BUCKET}/weights/{file.name}"
