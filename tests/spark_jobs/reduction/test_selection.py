from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.datasets import read_dataset
from spark_jobs.errors import JobError
from spark_jobs.reduction.selection import (
    InventorySummary,
    current_features,
    resolve_model_id,
    sample,
    summarize_inventory,
)
from spark_jobs.schemas import FEATURES


class Features:
    """A features folder as runs leave it."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.folder = folder
        self.spark = spark

    def run(self, name: str, images: Iterable[tuple[str, str]], model_id: str = "net", value: float = 0.0) -> None:
        rows = [
            {"path": path, "label": "Fig", "etag": etag, "size": 1, "model_id": model_id, "features": [value, 1.0]}
            for path, etag in images
        ]
        folder = self.folder / f"run={name}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, FEATURES), folder / "part-0.parquet")

    def read(self) -> DataFrame:
        return read_dataset(self.spark, f"file://{self.folder}", FEATURES)


@pytest.fixture
def features(tmp_path: Path, spark: SparkSession) -> Features:
    return Features(tmp_path / "features", spark)


def inventory(spark: SparkSession, *rows: tuple[str, str, str]) -> DataFrame:
    return spark.createDataFrame(rows, "path string, etag string, label string")


def counted(frame: DataFrame) -> list[tuple[str, str, float]]:
    assert frame.columns == FEATURES.names
    return sorted((row["path"], row["etag"], row["features"][0]) for row in frame.collect())


def test_only_images_in_the_inventory_count(spark: SparkSession, features: Features) -> None:
    features.run("1", [("kept", "1"), ("deleted", "1"), ("replaced", "old")])
    features.run("2", [("replaced", "new"), ("Açaí 100%.jpg", "1")])
    listed = inventory(spark, ("kept", "1", "Fig"), ("replaced", "new", "Fig"), ("Açaí 100%.jpg", "1", "Fig"))
    assert counted(current_features(features.read(), listed)) == [
        ("Açaí 100%.jpg", "1", 0.0),
        ("kept", "1", 0.0),
        ("replaced", "new", 0.0),
    ]


def test_an_image_extracted_by_two_runs_counts_once(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("b", "1")], value=1)
    features.run("2", [("b", "1"), ("c", "1")], value=2)
    listed = inventory(spark, ("a", "1", "Fig"), ("b", "1", "Fig"), ("c", "1", "Fig"))
    assert counted(current_features(features.read(), listed)) == [("a", "1", 1.0), ("b", "1", 2.0), ("c", "1", 2.0)]


def test_an_image_twice_in_one_file_counts_once(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("a", "1"), ("b", "1")])
    listed = inventory(spark, ("a", "1", "Fig"), ("b", "1", "Fig"), ("b", "1", "Fig"))
    assert counted(current_features(features.read(), listed)) == [("a", "1", 0.0), ("b", "1", 0.0)]


def test_one_folder_without_runs_is_read_too(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("b", "1")])
    one = read_dataset(spark, f"file://{features.folder}/run=1", FEATURES)
    assert counted(current_features(one, inventory(spark, ("a", "1", "Fig")))) == [("a", "1", 0.0)]


@pytest.mark.parametrize("images", [[("a", "1")], [("a", "1"), ("gone", "1")]], ids=["all count", "not all count"])
def test_the_features_are_read_once_and_never_shuffled(
    spark: SparkSession, features: Features, images: list[tuple[str, str]]
) -> None:
    features.run("1", images)
    chosen = current_features(features.read(), inventory(spark, ("a", "1", "Fig")))
    plan = chosen._jdf.queryExecution().executedPlan().toString()
    scans = [line for line in plan.splitlines() if "FileScan parquet" in line and "features#" in line]
    assert len(scans) == 1
    exchanges = [line for line in plan.splitlines() if "Exchange" in line]
    assert not [line for line in exchanges if "features" in line]
    assert ("Join" in plan) == (len(images) > 1)
    assert counted(chosen) == [("a", "1", 0.0)]


@pytest.mark.parametrize(("asked", "expected"), [("net", "net"), ("other", "other"), (None, None)])
def test_features_of_two_networks_never_mix(features: Features, asked: str | None, expected: str | None) -> None:
    features.run("1", [("a", "1"), ("b", "1")], model_id="net")
    features.run("2", [("a", "1")], model_id="other")
    if expected:
        assert resolve_model_id(features.read(), asked) == expected
    else:
        with pytest.raises(JobError, match=r"cannot be mixed: found net \(2 rows\), other \(1 rows\)"):
            resolve_model_id(features.read(), asked)


def test_the_only_network_needs_no_name(features: Features) -> None:
    features.run("1", [("a", "1")], model_id="net")
    assert resolve_model_id(features.read(), None) == "net"


def test_no_features_of_the_network_is_an_error(features: Features) -> None:
    features.run("1", [("a", "1")], model_id="net")
    with pytest.raises(JobError, match=r"no features of network absent: found net \(1 rows\)"):
        resolve_model_id(features.read(), "absent")


def test_no_features_at_all_is_an_error(features: Features) -> None:
    features.run("1", [])
    with pytest.raises(JobError, match="no features of network net: found none at all"):
        resolve_model_id(features.read(), "net")
    with pytest.raises(JobError, match="no features of any network: found none at all"):
        resolve_model_id(features.read(), None)


def test_every_image_of_the_inventory_is_accounted_for(spark: SparkSession, features: Features) -> None:
    features.run("1", [("fig", "1"), ("gone", "1"), ("plum", "1"), ("plum", "0")])
    listed = inventory(
        spark,
        ("fig", "1", "Fig"),
        ("empty", "1", "Fig"),
        ("plum", "1", "Plum"),
        ("text", "1", "Plum"),
        ("blank", "2", "Plum"),
        ("new", "1", "Kiwi"),
    )
    rejects = spark.createDataFrame(
        [
            ("empty", "1", "empty file", "0 bytes"),
            ("text", "1", "not an image", "starts with 'Dear'"),
            ("text", "1", "not an image", "starts with 'Dear'"),  # by two runs
            ("blank", "1", "empty file", ""),  # replaced since by etag 2, which no run has seen
            ("plum", "1", "not an image", ""),  # one run failed on it, another did not
        ],
        "path string, etag string, reason string, detail string",
    )

    found = summarize_inventory(listed, features.read(), rejects)
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
        {"path": "new", "label": "Kiwi", "reason": "not processed", "detail": ""},
        {"path": "blank", "label": "Plum", "reason": "not processed", "detail": ""},
        {"path": "text", "label": "Plum", "reason": "not an image", "detail": "starts with 'Dear'"},
    ]
    assert summarize_inventory(listed, features.read(), None).rejects_by_reason == {"not processed": 4}


def test_no_rejects_give_no_reasons() -> None:
    assert InventorySummary({"Fig": 3}, {}, []).rejects_by_reason == {}


def test_examples_are_few_however_many_rejects(spark: SparkSession, features: Features) -> None:
    features.run("1", [("used", "1")])
    images = [(f"{label} {index}", "1", label) for label in ("Fig", "Plum") for index in range(9)]
    found = summarize_inventory(inventory(spark, *images), features.read(), None)
    assert found.rejects == {"Fig": {"not processed": 9}, "Plum": {"not processed": 9}}
    assert [example["path"] for example in found.examples] == ["Fig 0", "Fig 1", "Fig 2", "Fig 3", "Fig 4"]


def test_a_sample_is_about_as_large_as_asked_and_always_the_same(spark: SparkSession) -> None:
    images = spark.range(4000).selectExpr("concat('s3://fruits/', id) AS path")
    chosen = sorted(row["path"] for row in sample(images, 4000, 500).collect())
    assert 430 < len(chosen) < 570
    assert sorted(row["path"] for row in sample(images.repartition(3), 4000, 500).collect()) == chosen
    assert sample(images, 4000, 4000).count() == 4000
    assert sample(images, 4000, 9000).count() == 4000
