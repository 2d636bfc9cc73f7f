"""Exporting: once per weights, and a clear word about weights that are none."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spark_jobs import export_model
from spark_jobs.errors import JobError
from spark_jobs.extraction import exporter, mobilenet
from spark_jobs.extraction.mobilenet import ModelArtifact
from spark_jobs.models import read_artifact
from tests.conftest import PROJECT

HDF5 = exporter.HDF5_MAGIC + b"whatever follows"
MODEL_ID = f"mobilenetv2-{hashlib.sha256(HDF5).hexdigest()[:16]}-224-v1"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights 100%.h5"
    file.write_bytes(HDF5)
    return file


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[mobilenet.ModelMetadata]:
    """Stands in for TensorFlow, which takes 20 s: `model_pointer` has been through the real one."""
    calls: list[mobilenet.ModelMetadata] = []

    def convert(weights: bytes, metadata: mobilenet.ModelMetadata) -> ModelArtifact:
        calls.append(metadata)
        return ModelArtifact.pack(b"flatbuffer", metadata, np.zeros(1280, np.float32))

    monkeypatch.setattr(exporter, "convert", convert)
    return calls


def test_the_model_is_made_once_and_the_pointer_every_time(
    tmp_path: Path, weights: Path, conversions: list[mobilenet.ModelMetadata]
) -> None:
    for name in ("first", "second"):
        export_model.main(
            ["--weights", f"{weights}", "--models", f"{tmp_path}/m", "--pointer", f"{tmp_path}/{name}.json"]
        )

    assert [metadata.model_id for metadata in conversions] == [MODEL_ID]
    assert json.loads((tmp_path / "second.json").read_text())["model_id"] == MODEL_ID


def test_half_a_model_of_an_interrupted_run_is_made_anew(
    tmp_path: Path, weights: Path, conversions: list[mobilenet.ModelMetadata]
) -> None:
    folder = tmp_path / "m" / MODEL_ID
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"flatbu")
    exporter.export(str(weights), f"{tmp_path}/m")

    assert len(conversions) == 1
    assert read_artifact(f"{folder}/model.tflite").metadata.model_id == MODEL_ID


def test_another_model_than_expected(tmp_path: Path, weights: Path, conversions: list[mobilenet.ModelMetadata]) -> None:
    with pytest.raises(JobError, match=f"these weights give model {MODEL_ID}, not the expected other"):
        exporter.export(str(weights), f"{tmp_path}/m", "other")
    assert conversions == []


def test_imagenet_is_looked_up_before_it_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[mobilenet.ModelMetadata]
) -> None:
    downloads: list[bytes] = []

    def download() -> bytes:
        downloads.append(HDF5)
        return HDF5

    monkeypatch.setattr(exporter, "_imagenet_weights", download)
    pointers = [exporter.export("imagenet", f"{tmp_path}/m") for _ in range(2)]

    assert pointers[0] == pointers[1] == json.loads((tmp_path / "m/imagenet-224-v1.json").read_text())
    assert len(downloads) == len(conversions) == 1


def test_weights_that_are_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_text("<html>not found</html>")

    with pytest.raises(JobError, match=r"weights\.h5: not an HDF5 file"):
        exporter.export(f"{tmp_path}/weights.h5", f"{tmp_path}/m")


def test_hdf5_weights_of_another_network(tmp_path: Path) -> None:
    """In a process of its own: TensorFlow is not for the tests' one."""
    code = (
        "import sys, keras, numpy as np; layer = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]);"
        "layer.save_weights(sys.argv[1] + '/other.weights.h5');"
        "from spark_jobs.extraction import exporter; from spark_jobs.errors import JobError\n"
        "try: exporter.export(sys.argv[1] + '/other.weights.h5', sys.argv[1] + '/m')\n"
        "except JobError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )

    assert "other.weights.h5: not the weights of MobileNetV2 without its top" in result.stdout
