"""Exporting: once per weights, and a clear word about weights that are none."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spark_jobs import export_model, mobilenet
from spark_jobs.mobilenet import Model
from spark_jobs.sessions import JobError

HDF5 = export_model.HDF5_MAGIC + b"whatever follows"
MODEL_ID = f"mobilenetv2-{hashlib.sha256(HDF5).hexdigest()[:16]}-224-v1"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights 100%.h5"
    file.write_bytes(HDF5)
    return file


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[mobilenet.Identity]:
    """Stands in for TensorFlow, which takes 20 s: `model_pointer` has been through the real one."""
    calls: list[mobilenet.Identity] = []

    def convert(weights: bytes, identity: mobilenet.Identity) -> Model:
        calls.append(identity)
        return Model.pack(b"flatbuffer", identity, np.zeros(1280, np.float32))

    monkeypatch.setattr(export_model, "convert", convert)
    return calls


def test_the_pointer_tells_everything_about_the_model(model_pointer: Path) -> None:
    pointer = json.loads(model_pointer.read_text())

    assert list(pointer) == [
        "model_id", "weights", "weights_sha256", "input_size", "preprocessing", "exporter", "uri", "created",
    ]  # fmt: skip
    assert pointer["uri"] == f"file://{model_pointer.parent}/{pointer['model_id']}/model.tflite"
    assert pointer["model_id"] == f"mobilenetv2-{pointer['weights_sha256'][:16]}-224-v1"
    assert Model.read(pointer["uri"]).identity.model_id == pointer["model_id"]


def test_the_model_is_made_once_and_the_pointer_every_time(
    tmp_path: Path, weights: Path, conversions: list[mobilenet.Identity]
) -> None:
    for name in ("first", "second"):
        export_model.main(
            ["--weights", f"{weights}", "--models", f"{tmp_path}/m", "--pointer", f"{tmp_path}/{name}.json"]
        )

    assert [identity.model_id for identity in conversions] == [MODEL_ID]
    assert json.loads((tmp_path / "second.json").read_text())["model_id"] == MODEL_ID


def test_half_a_model_of_an_interrupted_run_is_made_anew(
    tmp_path: Path, weights: Path, conversions: list[mobilenet.Identity]
) -> None:
    folder = tmp_path / "m" / MODEL_ID
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"flatbu")
    export_model.export(str(weights), f"{tmp_path}/m")

    assert len(conversions) == 1
    assert Model.read(f"{folder}/model.tflite").identity.model_id == MODEL_ID


def test_another_model_than_expected(tmp_path: Path, weights: Path, conversions: list[mobilenet.Identity]) -> None:
    with pytest.raises(JobError, match=f"these weights give model {MODEL_ID}, expected was other"):
        export_model.export(str(weights), f"{tmp_path}/m", "other")
    assert conversions == []


def test_imagenet_is_looked_up_before_it_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[mobilenet.Identity]
) -> None:
    downloads: list[bytes] = []

    def download() -> bytes:
        downloads.append(HDF5)
        return HDF5

    monkeypatch.setattr(export_model, "_imagenet_weights", download)
    pointers = [export_model.export("imagenet", f"{tmp_path}/m") for _ in range(2)]

    assert pointers[0] == pointers[1] == json.loads((tmp_path / "m/imagenet-224-v1.json").read_text())
    assert len(downloads) == len(conversions) == 1


def test_weights_that_are_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_text("<html>not found</html>")

    with pytest.raises(JobError, match=r"weights\.h5: not an HDF5 file"):
        export_model.export(f"{tmp_path}/weights.h5", f"{tmp_path}/m")


def test_weights_that_are_not_there_are_one_line_and_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spark_jobs.export_model", "--weights", f"{tmp_path}/no.h5"]
    command += ["--models", f"{tmp_path}/m", "--pointer", f"{tmp_path}/p.json"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=Path(__file__).parents[2])

    assert result.returncode == 1
    assert result.stderr.strip() == f"error: {tmp_path}/no.h5: not found"
    assert not (tmp_path / "p.json").exists()


def test_hdf5_weights_of_another_network(tmp_path: Path) -> None:
    """In a process of its own: TensorFlow is not for the tests' one."""
    code = (
        "import sys, keras, numpy as np; layer = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]);"
        "layer.save_weights(sys.argv[1] + '/other.weights.h5');"
        "from spark_jobs import export_model; from spark_jobs.sessions import JobError\n"
        "try: export_model.export(sys.argv[1] + '/other.weights.h5', sys.argv[1] + '/m')\n"
        "except JobError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )

    assert "other.weights.h5: not the weights of MobileNetV2 without its top" in result.stdout
