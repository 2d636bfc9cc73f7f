"""The two sides of the border mean the same by a dataset. The jobs' schemas are read in their own environment."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from fruit_features import checks, checksums, datasets, history, model
from fruit_features.checks import OutputError
from fruit_features.model import EXPORTER, INPUT_SIZE, NETWORK
from fruit_features.settings import IMAGENET
from fruit_features.workspace import workspace
from tests.conftest import PROJECT

# Cumulative shares of variance: a near-duplicate image adds a component between 1e-9 and 1e-12, rounding less than that.
CURVES = [
    [0.6, 0.9, 1 - 1.7e-10, 1.0],
    [0.6, 0.9, 1 - 1e-12, 1.0],
    [0.6, 0.9, 1 - 1e-13, 1.0],
    [0.8 - 1e-10, 0.8, 0.8 + 1e-10, 1 - 2e-12],
    [0.8 - 1e-12, 0.95, 1 + 1e-13],
    [1.0],
]
SHARES = [0.8, 0.95, 1.0]
IMAGES = [
    ["s3://b/A/1.jpg", "e1"],
    ["s3://b/Açaí 100%/🥝\n'\".jpg", "e-2"],
    ["s3://b/B/0.jpg", ""],
    ["s3://b/B/0.jpg", None],
]

PROBE = """
import json, sys
import numpy as np
import pyarrow as pa
from spark_jobs import schemas
from spark_jobs.checksums import Checksums
from spark_jobs.reduction.pca import TOLERANCE, components_for
from spark_jobs.extraction import mobilenet, rejects
from spark_jobs.extraction.exporter import HDF5_MAGIC, IMAGENET
plain = lambda kind: f"list<{kind.value_type}>" if "list" in str(kind) else str(kind)
rows = [{"path": path, "etag": etag, "features": [n + 0.1, n]} for n, (path, etag) in enumerate(json.loads(sys.argv[3]))]
features = pa.Table.from_pylist(rows, pa.schema([(name, schemas.FEATURES.field(name).type) for name in rows[0]]))
checksums = Checksums.of(pa.concat_tables([features[:2], features[2:]]))
print(json.dumps({
    "checksums": [checksums.images, checksums.content],
    "schemas": {name: [(f.name, plain(f.type)) for f in getattr(schemas, name)]
                for name in ("INVENTORY", "FEATURES", "REJECTS", "PCA")},
    "model_id": mobilenet.model_metadata("w", "0123456789abcdef" * 4).model_id,
    "imagenet": [IMAGENET, mobilenet.INPUT_SIZE, mobilenet.EXPORTER_VERSION],
    "hdf5": HDF5_MAGIC.hex(),
    "features": schemas.FEATURE_COUNT,
    "transient": sorted(str(reason) for reason in rejects.TRANSIENT),
    "tolerance": TOLERANCE,
    "components": [[components_for(share, np.array(curve)) for share in json.loads(sys.argv[2])]
                   for curve in json.loads(sys.argv[1])],
}))
"""


@pytest.fixture(scope="module")
def jobs() -> dict:
    python = PROJECT / ".venv" / "spark" / "bin" / "python"
    command = [python, "-c", PROBE, json.dumps(CURVES), json.dumps(SHARES), json.dumps(IMAGES)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
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
    assert jobs["tolerance"] == checks.VARIANCE_TOLERANCE
    assert jobs["hdf5"] == model.HDF5_SIGNATURE.hex()


@pytest.mark.parametrize("curve", range(len(CURVES)))
@pytest.mark.parametrize("share", range(len(SHARES)))
def test_the_check_accepts_the_components_that_the_job_keeps_and_no_others(jobs: dict, curve: int, share: int) -> None:
    kept = jobs["components"][curve][share]
    report = {"components": kept, "variance_curve": CURVES[curve]}
    checks.check_components(report, SHARES[share], fitted=True, where="report.json")
    for other in {kept - 1, kept + 1} & set(range(1, len(CURVES[curve]) + 1)):
        with pytest.raises(OutputError, match=f"{other} components, but {kept} are the fewest"):
            checks.check_components(report | {"components": other}, SHARES[share], fitted=True, where="report.json")


def test_arrow_gives_back_what_threads_that_have_ended_had() -> None:
    """By jemalloc: check_outputs takes twice the memory with Arrow's own choice."""
    asked = "import fruit_features, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=PROJECT / "dags", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "jemalloc"


def test_checksums_agree(jobs: dict) -> None:
    """Of the jobs, of a file that is read again in batches, and of the manifest in DuckDB."""
    schema = pa.schema([datasets.FEATURES.field(name) for name in ("path", "etag", "features")])
    rows = [{"path": path, "etag": etag, "features": [n + 0.1, n]} for n, (path, etag) in enumerate(IMAGES)]
    found = checksums.FileChecksums()
    for batch in pa.Table.from_pylist(rows, schema).to_batches(max_chunksize=3):
        found.add(batch)
    with workspace() as work:
        with work.collect("manifest", schema) as collector:
            collector.add(pa.Table.from_pylist(rows, schema))
        asked, total = work.row(checksums.ROWS_AND_SUM.format("manifest"))

    assert [found.images, found.content] == jobs["checksums"]
    assert (asked, checksums.images_checksum(total)) == (found.rows, found.images)


def test_a_checksum_tells_images_and_rows_apart() -> None:
    def content(*rows: tuple[str, float], etag: str = "e") -> tuple[str, str]:
        schema = pa.schema([datasets.FEATURES.field(name) for name in ("path", "etag", "features")])
        table = [{"path": path, "etag": etag, "features": [value]} for path, value in rows]
        found = checksums.FileChecksums()
        found.add(pa.RecordBatch.from_pylist(table, schema))
        return found.images, found.content

    images, numbers = content(("a", 1), ("b", 2))
    assert content(("b", 2), ("a", 1))[0] == images  # in any order
    assert content(("a", 2), ("b", 1))[1] != numbers
    assert content(("a", 1), ("b", 3))[1] != numbers
    assert content()[0] == checksums.images_checksum(None)
    for others in (
        content(),
        content(("a", 1)),
        content(("a", 1), ("a", 1), ("b", 2)),
        content(("a", 1), ("b", 2), etag="f"),
    ):
        assert others[0] != images
    assert checksums.added([content(("a", 1))[0], content(("b", 1))[0]]) == images
