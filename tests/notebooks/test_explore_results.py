"""notebooks/explore_results.ipynb runs from its first cell to its last, on small results made here."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import PROJECT

RUN = "manual__2026-11-22T10-00-00-00-00"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Two varieties of two images each, far apart, and one reject."""
    results = tmp_path / f"results/run={RUN}/pca"
    rejects = tmp_path / f"rejects/run={RUN}"
    for folder in (results, rejects):
        folder.mkdir(parents=True)
    rows = {
        "path": [f"s3://fruits/images/{name}.jpg" for name in ("Apple/1", "Apple/2", "Kiwi/1", "Kiwi/2")],
        "label": ["Apple", "Apple", "Kiwi", "Kiwi"],
        "features_pca": pa.array([[0, 0, 1], [0, 1, 1], [9, 9, 9], [9, 8, 9]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(rows), results / "part-00000.parquet")
    pq.write_table(pa.table({"path": ["x"], "reason": ["truncated"]}), rejects / "part-00000-0.parquet")
    (rejects / "_SUCCESS").touch()
    (tmp_path / "results/latest.json").write_text(json.dumps({"run": RUN, "images": 5}))
    return tmp_path


def test_every_cell_runs(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("Agg")
    monkeypatch.setenv("FRUITS_RESULTS", str(bucket))
    notebook = json.loads((PROJECT / "notebooks/explore_results.ipynb").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), found)

    assert found["vectors"].shape == (4, 3)
    assert list(found["nearest"]["label"][:2]) == ["Apple", "Apple"]
    assert found["distances"].loc["Apple", "Apple"] == 0
    assert found["rejects"]["reason"].tolist() == ["truncated"]


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = json.loads((PROJECT / "notebooks/explore_results.ipynb").read_text(encoding="utf-8"))

    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
