"""Stored models: pointers that lead to them, and a clear error about anything else."""

import json
from pathlib import Path

import numpy as np
import pytest

from spark_jobs.errors import JobError
from spark_jobs.extraction.mobilenet import ModelArtifact, model_metadata
from spark_jobs.models import model_id_of, read_artifact

METADATA = model_metadata("s3://b/weights.h5", "87e839c2c32613e6" + "0" * 48)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"flatbuffer without an archive",
        ModelArtifact.pack(b"x", METADATA, np.zeros(1280, np.float32)).content[:-30],
        ModelArtifact.pack(b"x", METADATA, np.zeros(7, np.float32)).content,
    ],
)
def test_anything_else_is_no_model(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)

    with pytest.raises(JobError, match=r"model\.tflite: not a model made by export_model"):
        read_artifact(str(file))


def test_a_pointer_leads_to_the_model(tmp_path: Path) -> None:
    model = ModelArtifact.pack(b"x", METADATA, np.zeros(1280, np.float32))
    (tmp_path / "model.tflite").write_bytes(model.content)
    (tmp_path / "pointer.json").write_text(json.dumps({"model_id": "m", "uri": f"file://{tmp_path}/model.tflite"}))

    assert read_artifact(f"{tmp_path}/pointer.json") == model


def test_a_json_that_is_no_pointer(tmp_path: Path) -> None:
    (tmp_path / "pointer.json").write_text("[]")

    with pytest.raises(JobError, match="not a model pointer"):
        read_artifact(f"{tmp_path}/pointer.json")


def test_a_model_id_stands_for_itself_or_in_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "pointer.json").write_text(json.dumps({"model_id": "m-1", "uri": "s3://b/models/m-1/model.tflite"}))

    assert model_id_of("m-2") == "m-2"
    assert model_id_of(f"{tmp_path}/pointer.json") == "m-1"
