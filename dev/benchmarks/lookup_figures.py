"""Measured in the application's environment: python -m benchmarks.lookup_figures POINTER IMAGES VECTORS GRAPH_VECTORS."""

import io
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.lookup import Lookup, Networks, is_sure
from app.published import Published
from app.search import ExactSearch, GraphSearch, Search
from app.settings import Settings
from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE, Interpreter, ModelArtifact

SETTINGS = Settings("")
AXIS = re.compile(r"(r\d*_)?\d+_100\.jpg")

Vectors = npt.NDArray[np.floating[Any]]


def sorted_by_variety(vectors: Vectors, varieties: list[str]) -> tuple[Vectors, npt.NDArray[np.intp], list[str]]:
    order = np.argsort(np.array(varieties), kind="stable")
    names, starts = np.unique(np.array(varieties)[order], return_index=True)
    return vectors[order], starts, names.tolist()


def accuracy(paths: list[Path], vectors: Vectors) -> dict[str, float]:
    """Return the figures of queries of one rotation axis against a gallery of the other, both ways.

    Frames of one axis are frames of one film: a neighbor on the same axis is nearly the same picture, and proves nothing.
    """
    varieties = [path.parent.name for path in paths]
    upright = np.array([not path.name.startswith("r") for path in paths])
    right, sure, unknown = [], [], []
    for gallery in (upright, ~upright):
        rows = np.flatnonzero(gallery)
        mine, starts, names = sorted_by_variety(vectors[rows], [varieties[row] for row in rows])
        search = ExactSearch(mine, starts)
        without = {name: _without(mine, starts, number) for number, name in enumerate(names)}
        for row in np.flatnonzero(~gallery):
            matches = search.matches(vectors[row].astype(np.float32))
            right.append(names[matches[0].variety] == varieties[row])
            sure.append(is_sure(matches, SETTINGS))
            unknown.append(is_sure(without[varieties[row]].matches(vectors[row].astype(np.float32)), SETTINGS))
    of_sure = [hit for hit, is_it in zip(right, sure, strict=True) if is_it]
    return {
        "lookup_accuracy": float(np.mean(right)),
        "lookup_accuracy_if_sure": float(np.mean(of_sure)),
        "lookup_sure": float(np.mean(sure)),
        "lookup_unknown_sure": float(np.mean(unknown)),
    }


def _without(vectors: Vectors, starts: npt.NDArray[np.intp], number: int) -> ExactSearch:
    ends = np.append(starts[1:], len(vectors))
    kept = np.r_[0 : starts[number], ends[number] : len(vectors)]
    lengths = np.delete(ends - starts, number)
    return ExactSearch(vectors[kept], np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp))


def many(vectors: Vectors, count: int, dtype: type[np.floating[Any]]) -> Vectors:
    """Return `count` vectors near the given ones, as further photographs of the same fruit would be."""
    random = np.random.default_rng(0)
    made = np.empty((count, vectors.shape[1]), dtype)
    for start in range(0, count, 2000):
        size = min(2000, count - start)
        near = vectors[random.integers(0, len(vectors), size)] + random.normal(0, 0.008, (size, vectors.shape[1]))
        made[start : start + size] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return made


@contextmanager
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def milliseconds(search: Search, network: Interpreter, contents: list[bytes]) -> float:
    """Return the median time of an answer, on one core."""
    published = Published("", "", "", "", [], [], np.zeros(0, np.intp), np.zeros((0, 0)))
    lookup = Lookup(published, search, Networks([network], 1))

    def seconds(content: bytes) -> float:
        started = time.perf_counter()
        lookup.answer(content, SETTINGS)
        return time.perf_counter() - started

    with one_core():
        lookup.answer(contents[0], SETTINGS)
        return statistics.median(map(seconds, contents)) * 1000


def timed(make: Callable[[], Search]) -> tuple[Search, float]:
    started = time.perf_counter()
    made = make()
    return made, time.perf_counter() - started


def main() -> None:
    pointer, images, exact, graph = sys.argv[1:]
    model = json.loads(Path(pointer).read_text())["uri"].removeprefix("file://")
    network = Interpreter(ModelArtifact.parse(Path(model).read_bytes()))
    paths = sorted(Path(images).rglob("*.jpg"))
    vectors = np.stack([network.features(decode(path.read_bytes(), INPUT_SIZE).pixels) for path in paths])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    figures = accuracy(paths, vectors) if all(AXIS.fullmatch(path.name) for path in paths) else {}

    contents = [path.read_bytes() for path in paths[:: max(1, len(paths) // 50)]]
    large = io.BytesIO()
    Image.open(paths[0]).convert("RGB").resize((4000, 3000)).save(large, "JPEG", quality=90)
    starts = np.arange(0, int(exact), int(exact) // 100)
    search = ExactSearch(many(vectors, int(exact), np.float32), starts)
    figures["lookup_ms"] = milliseconds(search, network, contents)
    figures["lookup_12_megapixels_ms"] = milliseconds(search, network, [large.getvalue()] * 5)

    starts = np.arange(0, int(graph), int(graph) // 100)
    graph_search, figures["lookup_graph_build_s"] = timed(
        lambda: GraphSearch(many(vectors, int(graph), np.float16), starts)
    )
    figures["lookup_graph_ms"] = milliseconds(graph_search, network, contents)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
