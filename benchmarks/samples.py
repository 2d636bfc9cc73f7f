"""Images to measure with: real ones where FRUITS_TEST_IMAGES names them, drawn ones otherwise."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from spark_jobs import schemas
from spark_jobs.reading import Source, file_etag

REPOSITORY = Path(__file__).parents[1]


def originals(folder: Path) -> list[Path]:
    """Return the images that all others are copies of."""
    real = os.environ.get("FRUITS_TEST_IMAGES")
    if real:
        return sorted(Path(real).rglob("*.jpg"))
    folder.mkdir(parents=True)
    for number in range(200):
        gradient = Image.radial_gradient("L").resize((100, 100)).rotate(number)
        color = Image.new("RGB", (100, 100), (number, 255 - number, 7 * number % 256))
        Image.composite(color, Image.effect_noise((100, 100), 40).convert("RGB"), gradient).save(
            folder / f"{number}.jpg"
        )
    return sorted(folder.iterdir())


def copies(images: Sequence[Path], number: int, folder: Path) -> list[Path]:
    """Copy images under new names until there are `number`, in folders of 1,000."""
    made = []
    for index, image in enumerate(islice(cycle(images), number)):
        target = folder / f"{image.parent.name} {index // 1000}" / f"{index}_{image.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        made.append(target)
    return made


def manifest(images: Iterable[Path], folder: Path) -> Path:
    """Write the manifest of images on this disk, as the DAG's inventory does."""
    sources = []
    for image in images:
        status = image.stat()
        etag = file_etag(status.st_mtime_ns, status.st_size)
        sources.append(Source(f"file://{image}", image.parent.name, etag, status.st_size))
    return write_manifest(sources, folder)


def write_manifest(sources: Iterable[Source], folder: Path) -> Path:
    """Write a manifest (and inventory) folder."""
    listed = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [{**asdict(source), "last_modified": listed} for source in sources]
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows, schemas.MANIFEST), folder / "part-0.parquet")
    return folder


def weights(folder: Path) -> Path:
    """Return ImageNet weights where FRUITS_TEST_WEIGHTS names them, random ones of the same size otherwise."""
    real = os.environ.get("FRUITS_TEST_WEIGHTS")
    if real:
        return Path(real)
    file = folder / "random.weights.h5"
    code = (
        "import sys, keras; keras.utils.set_random_seed(0);"
        "keras.applications.MobileNetV2(weights=None, include_top=False, pooling='avg').save_weights(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True)
    return file
