"""The long run of `make bench SIZE=scale`, on few images: that it comes to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

COMMAND = [sys.executable, "-m", "benchmarks.scale"]


@pytest.fixture
def environment() -> dict[str, str]:
    """What the Makefile gives it."""
    [line] = [line for line in (PROJECT / "Makefile").read_text().splitlines() if "PYTHONPATH=dev:dags" in line]
    return os.environ | {"PYTHONPATH": line.partition("PYTHONPATH=")[2].split()[0]}


def test_it_finds_its_modules(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "--help"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "--window SECONDS" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_few_images_have_figures_and_no_verdict(environment: dict[str, str], weights: Path, tmp_path: Path) -> None:
    if not (PROJECT / ".venv/yarn-jars").is_dir():
        pytest.skip("no jars of YARN: make .venv/.yarn")
    environment["FRUITS_TEST_WEIGHTS"] = str(weights)
    done = subprocess.run(
        [*COMMAND, "--images", "300", "--output", tmp_path / "scale.json"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "too short for a verdict" in done.stdout
    figures = json.loads((tmp_path / "scale.json").read_text())
    assert figures["features"] == figures["images"] == 300
    assert figures["components"] > 0
    assert figures["seconds"].keys() == {"upload", "inventory", "export", "extract", "reduce", "check"}
