"""Decoding in a child process: what is an image's fault, and what is not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark_jobs.errors import JobError
from spark_jobs.extraction.mobilenet import ModelArtifact
from spark_jobs.extraction.processing import ChildProcess
from spark_jobs.extraction.rejects import Reason, Rejected
from spark_jobs.models import read_artifact
from tests.conftest import PROJECT

KILLING_DECODER = """
import os, signal
from pathlib import Path
from spark_jobs.extraction import images

def decode(content, size, decode=images.decode):
    for number in range({times}):
        death = Path({folder!r}, str(number))
        if not death.exists():
            death.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return decode(content, size)

images.decode = decode
"""


@pytest.fixture
def model(model_pointer: Path) -> ModelArtifact:
    return read_artifact(str(model_pointer))


def photograph() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (10, 10), (250, 100, 0)).save(stream, "JPEG")
    return stream.getvalue()


def kill(times: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children that decode be killed so many times."""
    (folder / "sitecustomize.py").write_text(KILLING_DECODER.format(times=times, folder=str(folder)))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{PROJECT}")


def test_a_network_that_computes_something_else_is_no_images_fault(model: ModelArtifact) -> None:
    flatbuffer = model.content[: model.content.index(b"PK\x03\x04")]
    other = ModelArtifact.pack(flatbuffer, model.metadata, model.check_features + np.float32(0.001))

    with pytest.raises(JobError, match="features of the test pattern differ"), ChildProcess(other) as child:
        child.process(photograph())


def test_a_child_that_ends_before_it_is_ready_is_no_images_fault(model: ModelArtifact) -> None:
    broken = ModelArtifact.pack(b"no network", model.metadata, model.check_features)

    with pytest.raises(JobError, match=r"ended with exit code 1 before the first one"), ChildProcess(broken) as child:
        child.process(photograph())


def test_a_child_that_something_else_has_killed_costs_no_image(
    model: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(1, tmp_path, monkeypatch)
    with ChildProcess(model) as child:
        assert (child.process(photograph()).width, len(list(tmp_path.glob("0")))) == (10, 1)


def test_an_image_whose_child_is_killed_twice_is_a_reject(
    model: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(2, tmp_path, monkeypatch)
    with ChildProcess(model) as child:
        with pytest.raises(Rejected) as rejected:
            child.process(photograph())
        assert child.process(photograph()).width == 10  # the next one is not concerned

    assert (rejected.value.reason, rejected.value.detail) == (
        Reason.CRASHED_WORKER,
        "the process that decoded it ended with exit code -9",
    )
