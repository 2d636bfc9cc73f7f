"""The two sides of the border mean the same by a dataset. The jobs' schemas are read in their own environment."""

import json
import subprocess

import pytest
from fruit_features import datasets, inventory
from fruit_features.config import EXPORTER, IMAGENET, INPUT_SIZE, NETWORK

from tests.conftest import PROJECT

PROBE = """
import json
from spark_jobs import mobilenet, rejects, schemas
from spark_jobs.export_model import IMAGENET
plain = lambda kind: f"list<{kind.value_type}>" if "list" in str(kind) else str(kind)
print(json.dumps({
    "schemas": {name: [(f.name, plain(f.type)) for f in getattr(schemas, name)]
                for name in ("INVENTORY", "FEATURES", "REJECTS", "PCA")},
    "model_id": mobilenet.identity("w", "0123456789abcdef" * 4).model_id,
    "imagenet": [IMAGENET, mobilenet.INPUT_SIZE, mobilenet.EXPORTER_VERSION],
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
    assert jobs["transient"] == sorted(inventory.TRANSIENT_REASONS)
