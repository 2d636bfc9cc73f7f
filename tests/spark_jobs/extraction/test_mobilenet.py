"""The artifact: its metadata, and that a worker refuses one that computes something else."""

import io
import json
import platform
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spark_jobs.errors import JobError
from spark_jobs.extraction import mobilenet
from spark_jobs.extraction.mobilenet import Interpreter, ModelArtifact, check_pixels, model_metadata, preprocess
from spark_jobs.models import read_artifact

METADATA = model_metadata("s3://b/weights.h5", "87e839c2c32613e6" + "0" * 48)


def test_the_model_id_names_weights_input_and_exporter() -> None:
    assert METADATA.model_id == "mobilenetv2-87e839c2c32613e6-224-v1"


def test_preprocessing_is_that_of_keras() -> None:
    values = np.arange(256, dtype=np.uint8)
    keras = values.astype(np.float32)  # keras.applications.imagenet_utils.preprocess_input, mode "tf"
    keras /= 127.5
    keras -= 1.0

    np.testing.assert_array_equal(preprocess(values), keras)
    assert preprocess(values).dtype == np.float32


def test_the_test_pattern_never_changes() -> None:
    pixels = check_pixels()

    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert (int(pixels.sum()), pixels[0, 16].tolist(), pixels[100, 7].tolist()) == (
        19273728,
        [80, 96, 112],
        [51, 214, 121],
    )


def test_an_artifact_holds_its_metadata() -> None:
    features = np.arange(1280, dtype=np.float32)
    packed = ModelArtifact.pack(b"flatbuffer", METADATA, features)
    read = ModelArtifact(packed.content)

    assert packed.content.startswith(b"flatbuffer")
    assert read.metadata == METADATA
    np.testing.assert_array_equal(read.check_features, features)


def test_the_same_weights_give_the_same_file() -> None:
    features = np.arange(1280, dtype=np.float32)

    assert ModelArtifact.pack(b"x", METADATA, features) == ModelArtifact.pack(b"x", METADATA, features)


def test_any_zip_tool_reads_the_metadata(tmp_path: Path) -> None:
    content = ModelArtifact.pack(b"flatbuffer", METADATA, np.zeros(1280, np.float32)).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["identity.json", "check_features.npy"]
        assert json.loads(archive.read("identity.json"))["weights"] == "s3://b/weights.h5"


def test_the_interpreter_gives_the_features_of_the_exporter(model_pointer: Path) -> None:
    model = read_artifact(str(model_pointer))
    features = Interpreter(model).features(check_pixels())

    assert features.shape == (1280,)
    assert features.dtype == np.float32
    assert np.abs(features - model.check_features).max() <= mobilenet.CHECK_TOLERANCE
    assert features.std() > 0  # not degenerate


def test_an_interpreter_that_computes_something_else_is_refused(model_pointer: Path) -> None:
    model = read_artifact(str(model_pointer))
    flatbuffer = model.content[: model.content.index(b"PK\x03\x04identity.json"[:4])]
    other = ModelArtifact.pack(flatbuffer, model.metadata, model.check_features + np.float32(0.001))

    node = rf"{re.escape(platform.node())} \({platform.machine()}\)"
    with pytest.raises(JobError, match=rf"features of the test pattern differ by 0\.001 on {node}, more than 0\.0001"):
        Interpreter(other)
