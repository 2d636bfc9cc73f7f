from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_jobs.datasets import DataFile, feature_files
from spark_jobs.errors import JobError
from spark_jobs.footers import row_group_lengths
from spark_jobs.reduction import selection
from spark_jobs.reduction.feature_rows import read
from spark_jobs.reduction.inputs import Inputs
from spark_jobs.reduction.keys import sources
from spark_jobs.reduction.selection import (
    InventorySummary,
    Selection,
    distributed_account,
    networks,
    resolve_model_id,
    select,
)
from spark_jobs.schemas import FEATURES, INVENTORY, REJECTS


class Bucket:
    """Folders as runs leave them."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.folder = folder
        self.row_group = 30_000
        self.context = spark.sparkContext

    def features(
        self, run: str, images: Iterable[tuple[str, str | None]], model_id: str = "net", value: float = 0.0
    ) -> None:
        rows = [
            {"path": path, "label": "Fig", "etag": etag, "size": 1, "model_id": model_id, "features": [value, 1.0]}
            for path, etag in images
        ]
        self._write(f"features/run={run}", rows, FEATURES)

    def listed(self, *images: tuple[str, str | None, str]) -> list[DataFile]:
        rows = [{"path": path, "etag": etag, "label": label} for path, etag, label in images]
        return [self._write("inventory", rows, INVENTORY)]

    def rejects(self, *images: tuple[str, str, str, str]) -> list[DataFile]:
        rows = [dict(zip(("path", "etag", "reason", "detail"), image, strict=True)) for image in images]
        return [self._write("rejects", rows, REJECTS)]

    def _write(self, folder: str, rows: list[dict], schema: pa.Schema) -> DataFile:
        path = self.folder / folder / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=self.row_group)
        return DataFile(f"file://{path}", row_group_lengths(pq.read_metadata(path)), path.stat().st_size)

    def select(
        self, inventory: list[DataFile], rejects: Iterable[DataFile] = (), model_id: str | None = "net"
    ) -> Selection:
        features = feature_files(f"file://{self.folder}/features")
        return select(self.context, Inputs(features, inventory, list(rejects)), model_id)


@pytest.fixture(params=[200_000, 2], ids=["in the driver", "by tasks"])
def bucket(
    tmp_path: Path, spark: SparkSession, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    monkeypatch.setattr(selection, "KEYS_AT_ONCE", request.param)
    return Bucket(tmp_path, spark)


def counted(chosen: Selection) -> list[tuple[str, float]]:
    [task] = chosen.features.tasks(1, 1, 1_000_000) or [[]]
    rows = [row for batch in read(task) for row in batch.to_pylist()]
    assert len(rows) == chosen.features.rows == chosen.summary.images
    return sorted((row["path"], row["features"][0]) for row in rows)


def test_only_images_in_the_inventory_count(bucket: Bucket) -> None:
    bucket.features("1", [("kept", "1"), ("deleted", "1"), ("replaced", "old")])
    bucket.features("2", [("replaced", "new"), ("Açaí 100%.jpg", "1")], value=2)
    listed = bucket.listed(("kept", "1", "Fig"), ("replaced", "new", "Fig"), ("Açaí 100%.jpg", "1", "Fig"))
    assert counted(bucket.select(listed)) == [("Açaí 100%.jpg", 2.0), ("kept", 0.0), ("replaced", 2.0)]


def test_an_image_extracted_by_two_runs_counts_once(bucket: Bucket) -> None:
    bucket.features("1", [("a", "1"), ("b", "1")], value=1)
    bucket.features("2", [("b", "1"), ("c", "1")], value=2)
    listed = bucket.listed(("a", "1", "Fig"), ("b", "1", "Fig"), ("c", "1", "Fig"))
    assert counted(bucket.select(listed)) == [("a", 1.0), ("b", 2.0), ("c", 2.0)]


def test_an_image_twice_in_one_file_counts_once(bucket: Bucket) -> None:
    bucket.features("1", [("a", "1"), ("a", "1"), ("b", "1")])
    listed = bucket.listed(("a", "1", "Fig"), ("b", "1", "Fig"), ("b", "1", "Fig"))
    assert counted(bucket.select(listed)) == [("a", 0.0), ("b", 0.0)]


def test_no_image_has_two_rows_though_its_etag_is_missing(bucket: Bucket) -> None:
    bucket.features("1", [("a", None), ("a", None)])
    assert counted(bucket.select(bucket.listed(("a", None, "Fig")))) == [("a", 0.0)]


def test_a_file_without_a_row_that_counts_is_not_read(bucket: Bucket) -> None:
    bucket.features("1", [("a", "1")])
    bucket.features("2", [("gone", "1")])
    chosen = bucket.select(bucket.listed(("a", "1", "Fig")))
    [[piece]] = chosen.features.tasks(2, 1, 100)
    assert "run=1" in piece.file.uri


def test_a_bit_marks_a_row_whatever_its_place_in_its_file(tmp_path: Path, spark: SparkSession) -> None:
    bucket = Bucket(tmp_path, spark)
    rows = 70_000  # of three row groups
    bucket.features("1", [(f"{index}", "1") for index in range(rows)])
    bucket.features("2", [("other", "1")])
    places = [0, 1, 7, 8, 29_999, 30_000, 65_535, 65_536, rows - 1]
    chosen = bucket.select(bucket.listed(*[(f"{index}", "1", "Fig") for index in places]))

    assert sorted(int(path) for path, _ in counted(chosen)) == places
    assert {number: len(bits) for number, bits in chosen.features.unused.items()} == {0: 8750, 1: 1}, "a bit a row"


def test_tasks_find_what_the_driver_finds(tmp_path: Path, spark: SparkSession) -> None:
    bucket = Bucket(tmp_path, spark)
    bucket.row_group = 70  # two to a task
    generator = np.random.default_rng(0)
    for run in range(4):
        images = [(f"image {number}", f"{number % 3}") for number in generator.integers(0, 400, 300)]
        bucket.features(f"{run}", images, model_id="net" if run else "old", value=run)
    listed = bucket.listed(*[(f"image {number}", f"{number % 2}", f"Label {number % 7}") for number in range(500)])
    some = [(f"image {number}", f"{number % 2}", f"reason {number % 9}", "") for number in range(0, 500, 4)]
    rejects = bucket.rejects(*some, *some[:50])
    inputs = Inputs(feature_files(f"file://{tmp_path}/features"), listed, rejects)
    expected = select(spark.sparkContext, inputs, "net")

    all_files = sources(inputs.inventory, inputs.features, inputs.rejects)
    outcome, unused = distributed_account(spark.sparkContext, all_files, "net", at_once=150)
    assert selection.summarize(outcome) == expected.summary
    assert unused == expected.features.unused
    assert len(counted(expected)) > 100
    assert len(expected.summary.rejects_by_reason) == 10
    assert outcome.networks == {"net": 900, "old": 300}


@pytest.mark.parametrize(("asked", "expected"), [("net", "net"), ("other", "other"), (None, None)])
def test_features_of_two_networks_never_mix(asked: str | None, expected: str | None) -> None:
    stored = Counter({"net": 2, "other": 1})
    if expected:
        assert resolve_model_id(stored, asked) == expected
    else:
        with pytest.raises(JobError, match=r"cannot be mixed: found net \(2 rows\), other \(1 rows\)"):
            resolve_model_id(stored, asked)


def test_the_only_network_needs_no_name(bucket: Bucket) -> None:
    bucket.features("1", [("a", "1")], model_id="the only one")
    listed = bucket.listed(("a", "1", "Fig"))
    assert bucket.select(listed, model_id=None).model_id == "the only one"

    bucket.features("2", [("a", "1"), ("b", "1")], model_id="another")
    with pytest.raises(JobError, match=r"cannot be mixed: found another \(2 rows\), the only one \(1 rows\)"):
        bucket.select(listed, model_id=None)
    assert bucket.select(listed, model_id="another").summary.features == {"Fig": 1}


def test_no_features_of_the_network_is_an_error(bucket: Bucket) -> None:
    bucket.features("1", [("a", "1")], model_id="net")
    with pytest.raises(JobError, match=r"no features of network absent: found net \(1 rows\)"):
        bucket.select(bucket.listed(("a", "1", "Fig")), model_id="absent")


def test_no_features_at_all_is_an_error(bucket: Bucket) -> None:
    bucket.features("1", [])
    listed = bucket.listed(("a", "1", "Fig"), ("b", "1", "Fig"), ("c", "1", "Fig"))
    with pytest.raises(JobError, match="no features of network net: found none at all"):
        bucket.select(listed)
    with pytest.raises(JobError, match="no features of any network: found none at all"):
        bucket.select(listed, model_id=None)
    assert networks(Inputs(feature_files(f"file://{bucket.folder}/features"), listed)) == {}


def test_every_image_of_the_inventory_is_accounted_for(bucket: Bucket) -> None:
    bucket.features("1", [("fig", "1"), ("gone", "1"), ("plum", "1"), ("plum", "0")])
    listed = bucket.listed(
        ("fig", "1", "Fig"),
        ("empty", "1", "Fig"),
        ("plum", "1", "Plum"),
        ("text", "1", "Plum"),
        ("blank", "2", "Plum"),
        ("new", "1", "Kiwi"),
    )
    rejects = bucket.rejects(
        ("empty", "1", "empty file", "0 bytes"),
        ("text", "1", "not an image", "starts with 'Dear'"),
        ("text", "1", "not an image", "starts with 'Dear'"),  # by two runs
        ("blank", "1", "empty file", ""),  # replaced since by etag 2, which no run has seen
        ("plum", "1", "not an image", ""),  # one run failed on it, another did not
    )

    found = bucket.select(listed, rejects).summary
    assert found.features == {"Fig": 1, "Plum": 1}
    assert found.rejects == {
        "Fig": {"empty file": 1},
        "Plum": {"not an image": 1, "not processed": 1},
        "Kiwi": {"not processed": 1},
    }
    assert found.rejects_by_reason == {"not processed": 2, "empty file": 1, "not an image": 1}
    assert found.labels == ["Fig", "Kiwi", "Plum"]
    assert found.examples == [
        {"path": "empty", "label": "Fig", "reason": "empty file", "detail": "0 bytes"},
        {"path": "text", "label": "Plum", "reason": "not an image", "detail": "starts with 'Dear'"},
        {"path": "new", "label": "Kiwi", "reason": "not processed", "detail": ""},
        {"path": "blank", "label": "Plum", "reason": "not processed", "detail": ""},
    ]
    assert bucket.select(listed).summary.rejects_by_reason == {"not processed": 4}


def test_no_rejects_give_no_reasons() -> None:
    assert InventorySummary({"Fig": 3}, {}, []).rejects_by_reason == {}


def test_examples_are_few_however_many_rejects(bucket: Bucket) -> None:
    bucket.features("1", [("used", "1")])
    images = [(f"{label} {index}", "1", label) for label in ("Fig", "Plum") for index in range(9)]
    found = bucket.select(bucket.listed(*images, ("used", "1", "Fig"))).summary
    assert found.rejects == {"Fig": {"not processed": 9}, "Plum": {"not processed": 9}}
    assert [example["path"] for example in found.examples] == ["Fig 0", "Fig 1", "Fig 2", "Fig 3", "Fig 4"]
