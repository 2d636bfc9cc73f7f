"""With the real network: the application computes what the pipeline has published."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.follower import interpreter
from app.lookup import Lookup, Networks
from app.published import Published
from app.search import ExactSearch
from app.settings import Settings
from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE, Interpreter
from tests.conftest import PROJECT

VARIETIES = ("Banana", "Kiwi", "Strawberry")


@pytest.fixture
def network(real_weights: Path, tmp_path: Path) -> Interpreter:
    pointer = tmp_path / "pointer.json"
    command = [PROJECT / ".venv/spark/bin/python", "-m", "spark_jobs.export_model", "--weights", real_weights]
    command += ["--models", tmp_path, "--pointer", pointer]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return interpreter(Path(json.loads(pointer.read_text())["uri"].removeprefix("file://")).read_bytes())


def test_a_photograph_of_another_side_gets_its_variety_and_a_published_one_itself(
    network: Interpreter, real_images: Path
) -> None:
    gallery = [path for name in VARIETIES for path in sorted((real_images / name).glob("r_*.jpg"))[:12]]
    vectors = np.stack([network.features(decode(path.read_bytes(), INPUT_SIZE).pixels) for path in gallery])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    starts = np.array([0, 12, 24])
    published = Published("", "", "", "", [], list(VARIETIES), starts, vectors[:0])
    lookup = Lookup(published, ExactSearch(vectors, starts), Networks([network], 1))

    for row in (0, 17, 35):
        (first, *_) = lookup.answer(gallery[row].read_bytes(), Settings("")).matches
        assert first.rows[0] == row
        assert first.similarity == pytest.approx(1, abs=1e-5)
    for number, name in enumerate(VARIETIES):
        other_side = sorted((real_images / name).glob("[0-9]*.jpg"))[:5]
        answers = [lookup.answer(path.read_bytes(), Settings("")).matches[0].variety for path in other_side]
        assert answers == [number] * len(other_side)
