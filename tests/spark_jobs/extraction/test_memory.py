"""What the largest accepted images take of a worker's memory: no more than the executors are cut for (docs/cluster.md)."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fruit_features.executors import LARGEST_IMAGE_MB, WORKER_MB
from spark_jobs import schemas
from spark_jobs.extraction.chunks import IMAGES
from spark_jobs.extraction.images import MAX_MEMORY, MAX_PIXELS, MAX_SIDE, decode
from spark_jobs.extraction.rejects import Reason, Rejected
from tests.conftest import PROJECT

# A worker that has the network: it reads a file twice, ahead as always, and prints by how many MB it grew meanwhile.
WORKER = """
import re, sys
from pathlib import Path
from spark_jobs.extraction.processing import process
from spark_jobs.extraction.reading import ManifestRow, read_ahead
from spark_jobs.extraction.worker import worker_interpreter
from spark_jobs.models import read_artifact

def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

network = worker_interpreter(read_artifact(sys.argv[1]))
small, large = Path(sys.argv[2]), Path(sys.argv[3])
rows = [ManifestRow(f"file://{file}", "", None, file.stat().st_size) for file in (small, large, large)]
before = 0
for row, content in read_ahead(rows):
    process(network, content)
    before = before or megabytes("VmRSS")
print(before, megabytes("VmHWM") - before)
"""
# A worker that runs a task, as Spark's do, of two of the longest chunks, from S3 to S3; it prints its peak.
TASK = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
from pyspark import SparkFiles
from spark_jobs.extraction.chunks import IMAGES, Chunk
from spark_jobs.extraction.worker import Accumulators, Extraction
from spark_jobs.models import read_artifact
from spark_jobs.python_worker import lighten

lighten()
SparkFiles.getRootDirectory = lambda: sys.argv[2]
broadcast = SimpleNamespace(value=read_artifact(sys.argv[1]))
chunks = [Chunk(f"part-{number}", "s3://fruits/long/manifest.parquet", number * IMAGES[1], IMAGES[1]) for number in (0, 1)]
ignored = Accumulators(*[SimpleNamespace(add=lambda _: None)] * 4)
assert len(Extraction("a job", broadcast, "s3://fruits/long/features", ignored).run(chunks)) == 2
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""
SQUARE = int(MAX_PIXELS**0.5)
WIDE = (MAX_SIDE, MAX_PIXELS // MAX_SIDE)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def side_of(per_pixel: int) -> int:
    """The side of the largest square that is accepted at so many bytes a pixel."""
    return int((MAX_MEMORY / per_pixel) ** 0.5) - 40


def noise(mode: str, side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (side, side, len(mode)), np.uint8), mode)


# Format, pixels, options. All but the noise are of one color: what they take is their pixels', their files are small.
LARGEST = {
    "JPEG turned": ("JPEG", lambda: Image.new("RGB", WIDE[::-1]), {"exif": TURNED}),
    "JPEG progressive, turned": (
        "JPEG",
        lambda: Image.new("RGB", (SQUARE, SQUARE)),
        {"exif": TURNED, "progressive": True, "subsampling": 0},
    ),
    "JPEG progressive, four colors": (
        "JPEG",
        lambda: Image.new("CMYK", (side_of(12), side_of(12))),
        {"progressive": True},
    ),
    "PNG with alpha, turned": ("PNG", lambda: Image.new("RGBA", WIDE), {"exif": TURNED}),
    "PNG of noise": ("PNG", lambda: noise("RGBA", 4_900), {"compress_level": 0}),
    "PNG of 16 bits": ("PNG", lambda: Image.new("I;16", (SQUARE, SQUARE)), {"exif": TURNED}),
    "PNG with a palette": ("PNG", lambda: Image.new("P", (SQUARE, SQUARE)), {"transparency": b"\x00\xff"}),
    "GIF": ("GIF", lambda: Image.new("P", (SQUARE, SQUARE)), {}),
    "WebP with alpha, turned": ("WEBP", lambda: Image.new("RGBA", (side_of(17), side_of(17))), {"exif": TURNED}),
    "WebP, lossless": ("WEBP", lambda: Image.new("RGB", (side_of(17), side_of(17))), {"lossless": True}),
}


# What takes most, in every test run; FRUITS_TEST_ALL_KINDS=1 measures the others too.
MEASURED = ["JPEG progressive, four colors", "PNG with alpha, turned", "PNG of noise", "WebP with alpha, turned"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", LARGEST if os.environ.get("FRUITS_TEST_ALL_KINDS") else MEASURED)
def test_a_worker_holds_the_largest_image(kind: str, tmp_path: Path, model_pointer: Path) -> None:
    file_format, pixels, options = LARGEST[kind]
    small, large = tmp_path / "small.png", tmp_path / "large"
    Image.new("RGB", (100, 100)).save(small)
    pixels().save(large, file_format, **options)
    command = [sys.executable, "-c", WORKER, model_pointer, small, large]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    before, grown = map(int, done.stdout.split())

    assert before <= WORKER_MB
    assert 90 < grown <= LARGEST_IMAGE_MB, f"{before} MB, and {grown} more"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_holds_the_longest_chunks_and_the_clients_of_s3(s3: Any, tmp_path: Path, model_pointer: Path) -> None:
    photograph = BytesIO()
    noise("RGB", 100).save(photograph, "JPEG")
    etag = s3.put_object(Bucket="fruits", Key="long/1.jpg", Body=photograph.getvalue())["ETag"].strip('"')
    row = {"path": "s3://fruits/long/1.jpg", "label": "Kiwi", "etag": etag, "size": photograph.tell()}
    manifest = BytesIO()
    pq.write_table(pa.Table.from_pylist([row] * IMAGES[1] * 2, schemas.MANIFEST), manifest)
    s3.put_object(Bucket="fruits", Key="long/manifest.parquet", Body=manifest.getvalue())
    command = [sys.executable, "-c", TASK, model_pointer, tmp_path]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)

    assert 100 < int(done.stdout) <= WORKER_MB


@pytest.mark.parametrize("kind", ["WEBP", "JPEG"])
def test_an_image_that_would_take_more_is_rejected_before_it_is_decoded(kind: str, tmp_path: Path) -> None:
    side = side_of(17 if kind == "WEBP" else 12) + 80
    image = Image.new("RGB" if kind == "WEBP" else "CMYK", (side, side))
    image.save(tmp_path / "large", kind, **({"lossless": True} if kind == "WEBP" else {"progressive": True}))

    with pytest.raises(Rejected, match=rf"{side} x {side} pixels of {kind} .* the limit is 550") as rejected:
        decode((tmp_path / "large").read_bytes(), 224)
    assert rejected.value.reason == Reason.TOO_LARGE
