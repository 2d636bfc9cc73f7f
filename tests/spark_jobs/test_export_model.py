"""The job as it is started."""

import json
import os
import subprocess
import sys
from pathlib import Path

from spark_jobs.models import read_artifact
from tests.conftest import PROJECT


def test_the_pointer_tells_everything_about_the_model(model_pointer: Path) -> None:
    pointer = json.loads(model_pointer.read_text())

    assert list(pointer) == [
        "model_id", "weights", "weights_sha256", "input_size", "preprocessing", "exporter", "uri", "created",
    ]  # fmt: skip
    assert pointer["uri"] == f"file://{model_pointer.parent}/{pointer['model_id']}/model.tflite"
    assert pointer["model_id"] == f"mobilenetv2-{pointer['weights_sha256'][:16]}-224-v1"
    assert read_artifact(pointer["uri"]).metadata.model_id == pointer["model_id"]


def test_weights_that_are_not_there_are_one_line_and_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spark_jobs.export_model", "--weights", f"{tmp_path}/no.h5"]
    command += ["--models", f"{tmp_path}/m", "--pointer", f"{tmp_path}/p.json"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=PROJECT, check=False)

    assert result.returncode == 1
    assert result.stderr.strip() == f"error: {tmp_path}/no.h5: not found"
    assert not (tmp_path / "p.json").exists()
