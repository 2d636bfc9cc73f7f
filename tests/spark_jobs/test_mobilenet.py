"""The artifact: who it is, and that a worker refuses one that computes something else."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spark_jobs import mobilenet
from spark_jobs.mobilenet import Engine, Model, check_pixels, identity, preprocess
from spark_jobs.sessions import JobError

IDENTITY = identity("s3://b/weights.h5", "87e839c2c32613e6" + "0" * 48)


def test_the_model_id_names_weights_input_and_exporter() -> None:
    assert IDENTITY.model_id == "mobilenetv2-87e839c2c32613e6-224-v1"


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


def test_an_artifact_says_who_it_is() -> None:
    features = np.arange(1280, dtype=np.float32)
    packed = Model.pack(b"flatbuffer", IDENTITY, features)
    read = Model(packed.content)

    assert packed.content.startswith(b"flatbuffer")
    assert read.identity == IDENTITY
    np.testing.assert_array_equal(read.check_features, features)


def test_the_same_weights_give_the_same_file() -> None:
    features = np.arange(1280, dtype=np.float32)

    assert Model.pack(b"x", IDENTITY, features) == Model.pack(b"x", IDENTITY, features)


def test_any_zip_tool_reads_the_identity(tmp_path: Path) -> None:
    content = Model.pack(b"flatbuffer", IDENTITY, np.zeros(1280, np.float32)).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["identity.json", "check_features.npy"]
        assert json.loads(archive.read("identity.json"))["weights"] == "s3://b/weights.h5"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"flatbuffer without an archive",
        Model.pack(b"x", IDENTITY, np.zeros(1280, np.float32)).content[:-30],
        Model.pack(b"x", IDENTITY, np.zeros(7, np.float32)).content,
    ],
)
def test_anything_else_is_no_model(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)

    with pytest.raises(JobError, match=r"model\.tflite: not a model made by export_model"):
        Model.read(str(file))


def test_a_pointer_leads_to_the_model(tmp_path: Path) -> None:
    model = Model.pack(b"x", IDENTITY, np.zeros(1280, np.float32))
    (tmp_path / "model.tflite").write_bytes(model.content)
    (tmp_path / "pointer.json").write_text(json.dumps({"uri": f"file://{tmp_path}/model.tflite"}))

    assert Model.read(f"{tmp_path}/pointer.json") == model


def test_a_json_that_is_no_pointer(tmp_path: Path) -> None:
    (tmp_path / "pointer.json").write_text("[]")

    with pytest.raises(JobError, match="not a model pointer"):
        Model.read(f"{tmp_path}/pointer.json")


def test_the_engine_gives_the_features_of_the_exporter(model_pointer: Path) -> None:
    model = Model.read(str(model_pointer))
    features = Engine(model).features(check_pixels())

    assert features.shape == (1280,)
    assert features.dtype == np.float32
    assert np.abs(features - model.check_features).max() <= mobilenet.CHECK_TOLERANCE
    assert features.std() > 0  # not degenerate


def test_an_engine_that_computes_something_else_is_refused(model_pointer: Path) -> None:
    model = Model.read(str(model_pointer))
    flatbuffer = model.content[: model.content.index(b"PK\x03\x04identity.json"[:4])]
    other = Model.pack(flatbuffer, model.identity, model.check_features + np.float32(0.001))

    with pytest.raises(JobError, match=r"features of the test pattern differ by 0\.001"):
        Engine(other)
