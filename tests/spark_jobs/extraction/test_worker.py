"""From what was read to rows: order, types, and where the network comes in."""

import io
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from spark_jobs import schemas
from spark_jobs.extraction.mobilenet import ModelMetadata
from spark_jobs.extraction.processing import Processed, process
from spark_jobs.extraction.reading import ManifestRow, Outcome
from spark_jobs.extraction.rejects import Reason, Rejected
from spark_jobs.extraction.worker import cpu_seconds, extract
from spark_jobs.schemas import FEATURE_COUNT


@dataclass
class MeanColor:
    """Stands in for the network: every feature is the image's mean."""

    metadata: ModelMetadata = field(default_factory=lambda: ModelMetadata("mean-1", "none", "0" * 64, 8, "none", "v0"))
    images: int = 0

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += 1
        return np.full(FEATURE_COUNT, pixels.mean(), np.float32)


def gray(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (6, 4), value).save(stream, "PNG")
    return stream.getvalue()


def listed(number: int) -> ManifestRow:
    return ManifestRow(f"s3://b/Kiwi/{number}.png", "Kiwi", f"e{number}", 100 + number)


def test_each_image_becomes_a_row_of_one_of_the_two_in_order() -> None:
    outcomes: list[Outcome] = [
        (listed(1), gray(10)),
        (listed(2), b"Dear reader,"),
        (listed(3), Rejected(Reason.NOT_FOUND, "gone")),
        (listed(4), gray(40)),
    ]
    network = MeanColor()
    found = extract(outcomes, partial(process, network), "mean-1")
    rows = found.features.to_pylist()

    assert found.features.schema == schemas.FEATURES
    assert network.images == 2
    assert [row.pop("features") for row in rows] == [[10.0] * FEATURE_COUNT, [40.0] * FEATURE_COUNT]
    assert rows[0] == {
        "path": "s3://b/Kiwi/1.png",
        "label": "Kiwi",
        "etag": "e1",
        "size": 101,
        "model_id": "mean-1",
        "width": 6,
        "height": 4,
    }
    assert [row["path"] for row in rows] == ["s3://b/Kiwi/1.png", "s3://b/Kiwi/4.png"]
    assert [reject["reason"] for reject in found.rejects] == ["not_an_image", "not_found"]
    assert found.rejects[1] == {
        "path": "s3://b/Kiwi/3.png",
        "label": "Kiwi",
        "etag": "e3",
        "size": 103,
        "reason": "not_found",
        "detail": "gone",
    }


def test_processor_time_is_that_of_this_process_and_its_children_and_no_waiting() -> None:
    """A second attempt decodes in a child."""
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    of_child = cpu_seconds() - before
    time.sleep(0.3)
    waited = cpu_seconds() - before - of_child

    assert of_child > 0.05
    assert waited < 0.1


def test_without_images_no_network_is_asked() -> None:
    def process_image(content: bytes) -> Processed:
        raise AssertionError

    found = extract([], process_image, "mean-1")
    assert (found.features.num_rows, found.rejects) == (0, [])
    assert found.features.schema == schemas.FEATURES
