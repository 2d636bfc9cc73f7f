"""Published results on this disk, as the pipeline lays them out, of varieties that a network of colors tells apart."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.settings import Settings
from spark_jobs.schemas import FEATURE_COUNT, FEATURES, INVENTORY
from tests.chromium import browser

__all__ = ["browser"]

MODEL = "mobilenetv2-colors-224-v1"
COLORS: dict[str, tuple[int, int, int]] = {
    "Cherry": (160, 10, 30),
    "Lemon": (250, 230, 20),
    "Lime": (60, 200, 20),
    "Plum": (60, 10, 160),
}


def photo(color: Sequence[int], size: tuple[int, int] = (64, 48), kind: str = "PNG") -> bytes:
    """An image of one color."""
    drawn = io.BytesIO()
    Image.new("RGB", size, tuple(color)).save(drawn, kind)
    return drawn.getvalue()


class Colors:
    """A network whose features are an image's mean color."""

    def features(self, pixels: np.ndarray) -> np.ndarray:
        vector = np.zeros(FEATURE_COUNT, np.float32)
        vector[:3] = pixels.mean(axis=(0, 1)) / 255
        return vector


def colors(_: bytes) -> Colors:
    return Colors()


@dataclass
class Bucket:
    """A folder with the layout of a bucket; `images` maps the path of an image to its color."""

    folder: Path
    name: str = "fruits"
    images: dict[str, Sequence[int]] = field(default_factory=dict)

    def key(self, path: str) -> str:
        return f"s3://{self.name}/images/{path}"

    def add(self, path: str, color: Sequence[int]) -> None:
        self.images[path] = color
        file = self.folder / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo(color))

    def row(self, path: str, color: Sequence[int], **other: object) -> dict[str, object]:
        vector = np.zeros(FEATURE_COUNT, np.float32)
        vector[:3] = np.array(color) / 255
        known = {
            "path": self.key(path),
            "label": path.split("/", maxsplit=1)[0],
            "etag": "1",
            "size": 9,
            "model_id": MODEL,
        }
        return {**known, "width": 64, "height": 48, "features": vector.tolist(), **other}

    def write_features(
        self, run: str, rows: Sequence[Mapping[str, object]], part: str = "part-00000-a.parquet"
    ) -> Path:
        file = self.folder / f"features/run={run}" / part
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), FEATURES), file)
        return file

    def publish(self, run: str, model: str = MODEL, features: int | None = None) -> None:
        """Write the inventory, the model and latest.json of a run; its features are the test's business."""
        listed = [
            {
                "path": self.key(path),
                "label": path.split("/")[0],
                "etag": "1",
                "size": 9,
                "last_modified": datetime.now(UTC),
            }
            for path in self.images
        ]
        inventory = self.folder / f"results/run={run}/inventory.parquet"
        inventory.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(listed, INVENTORY), inventory)
        (self.folder / f"models/{model}").mkdir(parents=True, exist_ok=True)
        (self.folder / f"models/{model}/model.tflite").write_bytes(b"a model")
        latest = {
            "run": run,
            "model_id": model,
            "features": len(listed) if features is None else features,
            "pca": f"s3://{self.name}/results/run={run}/pca",
            "published": datetime.now(UTC).isoformat(),
        }
        (self.folder / "results/latest.json").write_text(json.dumps(latest))


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """A bucket with one published run, `first`: two images of each of four varieties."""
    made = Bucket(tmp_path / "bucket")
    for variety, color in COLORS.items():
        for number in (1, 2):
            made.add(f"{variety}/{number}.png", [max(0, value - 3 * number) for value in color])
    made.write_features("first", [made.row(path, color) for path, color in made.images.items()])
    made.publish("first")
    return made


@pytest.fixture
def settings(bucket: Bucket) -> Settings:
    return Settings(str(bucket.folder), poll_seconds=0.05, at_once=2, wait_seconds=30, per_minute=1_000_000)
