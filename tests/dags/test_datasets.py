"""The two sides of the border mean the same by a dataset. The jobs' schemas are read in their own environment."""

import json
import subprocess

import pytest

from fruit_features import checks, datasets, history, model
from fruit_features.model import EXPORTER, INPUT_SIZE, NETWORK
from fruit_features.settings import IMAGENET
from tests.conftest import PROJECT

PROBE = """
import json
from spark_jobs import schemas
from spark_jobs.extraction import mobilenet, rejects
from spark_jobs.extraction.exporter import HDF5_MAGIC, IMAGENET
plain = lambda kind: f"list<{kind.value_type}>" if "list" in str(kind) else str(kind)
print(json.dumps({
    "schemas": {name: [(f.name, plain(f.type)) for f in getattr(schemas, name)]
                for name in ("INVENTORY", "FEATURES", "REJECTS", "PCA")},
    "model_id": mobilenet.model_metadata("w", "0123456789abcdef" * 4).model_id,
    "imagenet": [IMAGENET, mobilenet.INPUT_SIZE, mobilenet.EXPORTER_VERSION],
    "hdf5": HDF5_MAGIC.hex(),
    "features": schemas.FEATURE_COUNT,
    "transient": sorted(str(reason) for reason in rejects.TRANSIENT),
}))
"""


@pytest.fixture(scope="module")
def jobs() -> dict:
    python = PROJECT / ".venv" / "spark" / "bin" / "python"
    done = subprocess.run([python, "-c", PROBE], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["INVENTORY", "FEATURES", "REJECTS", "PCA"])
def test_schemas_agree(jobs: dict, name: str) -> None:
    ours = [[field.name, datasets.plain_type(field.type)] for field in getattr(datasets, name)]
    assert jobs["schemas"][name] == ours


def test_model_ids_agree(jobs: dict) -> None:
    assert jobs["model_id"] == f"{NETWORK}-0123456789abcdef-{INPUT_SIZE}-{EXPORTER}"
    assert jobs["imagenet"] == [IMAGENET, INPUT_SIZE, EXPORTER]


def test_reasons_to_try_again_agree(jobs: dict) -> None:
    assert jobs["transient"] == sorted(history.TRANSIENT_REASONS)


def test_figures_agree(jobs: dict) -> None:
    assert jobs["features"] == checks.FEATURES_PER_IMAGE
    assert jobs["hdf5"] == model.HDF5_SIGNATURE.hex()
