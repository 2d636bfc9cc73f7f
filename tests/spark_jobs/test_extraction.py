"""From what was read to rows: order, types, and where the network comes in."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from spark_jobs.extraction import ROWS_PER_BATCH, extract, sources
from spark_jobs.mobilenet import Identity
from spark_jobs.reading import Outcome, Source
from spark_jobs.rejects import Reason, Rejected
from spark_jobs.schemas import FEATURE_COUNT
from spark_jobs.staging import OUTCOMES


@dataclass
class MeanColor:
    """Stands in for the network: every feature is the image's mean."""

    identity: Identity = field(default_factory=lambda: Identity("mean-1", "none", "0" * 64, 8, "none", "v0"))
    images: int = 0

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += 1
        return np.full(FEATURE_COUNT, pixels.mean(), np.float32)


def gray(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (6, 4), value).save(stream, "PNG")
    return stream.getvalue()


def source(number: int) -> Source:
    return Source(f"s3://b/Kiwi/{number}.png", "Kiwi", f"e{number}", 100 + number)


def test_each_image_becomes_a_row_in_order() -> None:
    outcomes: list[Outcome] = [
        (source(1), gray(10)),
        (source(2), b"Dear reader,"),
        (source(3), Rejected(Reason.NOT_FOUND, "gone")),
        (source(4), gray(40)),
    ]
    network = MeanColor()
    [batch] = extract(outcomes, lambda: network)
    rows = batch.to_pylist()

    assert batch.schema == OUTCOMES
    assert network.images == 2
    features = [row.pop("features") for row in rows]
    packed = [None if value is None else np.frombuffer(value, "<f4").tolist() for value in features]
    assert packed == [[10.0] * FEATURE_COUNT, None, None, [40.0] * FEATURE_COUNT]
    assert rows[0] == {
        "path": "s3://b/Kiwi/1.png",
        "label": "Kiwi",
        "etag": "e1",
        "size": 101,
        "model_id": "mean-1",
        "width": 6,
        "height": 4,
        "reason": None,
        "detail": None,
    }
    assert rows[2] == {
        "path": "s3://b/Kiwi/3.png",
        "label": "Kiwi",
        "etag": "e3",
        "size": 103,
        "model_id": "mean-1",
        "width": None,
        "height": None,
        "reason": "not_found",
        "detail": "gone",
    }


def test_batches_are_passed_on_while_images_still_come() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Outcome]:
        for number in range(10**9):
            taken.append(number)
            yield source(number), gray(1)

    batches = extract(endless(), MeanColor)

    assert next(batches).num_rows == ROWS_PER_BATCH
    assert len(taken) == ROWS_PER_BATCH


def test_the_rest_comes_in_a_shorter_batch() -> None:
    network = MeanColor()
    batches = list(extract([(source(number), gray(1)) for number in range(ROWS_PER_BATCH + 1)], lambda: network))

    assert [batch.num_rows for batch in batches] == [ROWS_PER_BATCH, 1]


def test_without_images_no_network_is_built() -> None:
    def build() -> MeanColor:
        raise AssertionError

    assert list(extract([], build)) == []


def test_manifest_rows_become_sources_whatever_else_they_hold() -> None:
    table = pa.table({"size": [7, None], "path": ["a", "b"], "label": ["x", None], "etag": ["1", None], "more": [0, 0]})

    assert list(sources(table.to_batches())) == [Source("a", "x", "1", 7), Source("b", None, None, None)]
