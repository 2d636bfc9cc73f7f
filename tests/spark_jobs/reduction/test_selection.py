from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.datasets import read_dataset
from spark_jobs.errors import JobError
from spark_jobs.reduction.inputs import Inputs
from spark_jobs.reduction.selection import (
    InventorySummary,
    examples,
    marked_rows,
    outcomes,
    resolve_model_id,
    sampled,
    select,
    summarize,
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


def current(features: DataFrame, listed: DataFrame) -> DataFrame:
    return select(Inputs(features, listed, None), "net").features


def summarized(listed: DataFrame, features: DataFrame, rejects: DataFrame | None) -> InventorySummary:
    return summarize(outcomes(listed, features, rejects))[0]


def counted(frame: DataFrame) -> list[tuple[str, str, float]]:
    assert frame.columns == FEATURES.names
    return sorted((row["path"], row["etag"], row["features"][0]) for row in frame.collect())


def test_only_images_in_the_inventory_count(spark: SparkSession, features: Features) -> None:
    features.run("1", [("kept", "1"), ("deleted", "1"), ("replaced", "old")])
    features.run("2", [("replaced", "new"), ("Açaí 100%.jpg", "1")])
    listed = inventory(spark, ("kept", "1", "Fig"), ("replaced", "new", "Fig"), ("Açaí 100%.jpg", "1", "Fig"))
    assert counted(current(features.read(), listed)) == [
        ("Açaí 100%.jpg", "1", 0.0),
        ("kept", "1", 0.0),
        ("replaced", "new", 0.0),
    ]


def test_an_image_extracted_by_two_runs_counts_once(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("b", "1")], value=1)
    features.run("2", [("b", "1"), ("c", "1")], value=2)
    listed = inventory(spark, ("a", "1", "Fig"), ("b", "1", "Fig"), ("c", "1", "Fig"))
    assert counted(current(features.read(), listed)) == [("a", "1", 1.0), ("b", "1", 2.0), ("c", "1", 2.0)]


def test_an_image_twice_in_one_file_counts_once(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("a", "1"), ("b", "1")])
    listed = inventory(spark, ("a", "1", "Fig"), ("b", "1", "Fig"), ("b", "1", "Fig"))
    assert counted(current(features.read(), listed)) == [("a", "1", 0.0), ("b", "1", 0.0)]


def test_one_folder_without_runs_is_read_too(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("b", "1")])
    one = read_dataset(spark, f"file://{features.folder}/run=1", FEATURES)
    assert counted(current(one, inventory(spark, ("a", "1", "Fig")))) == [("a", "1", 0.0)]


@pytest.mark.parametrize("images", [[("a", "1")], [("a", "1"), ("gone", "1")]], ids=["all count", "not all count"])
def test_the_features_are_read_from_one_scan_and_never_shuffled(
    spark: SparkSession, features: Features, images: list[tuple[str, str]]
) -> None:
    features.run("1", images)
    chosen = current(features.read(), inventory(spark, ("a", "1", "Fig")))
    plan = chosen._jdf.queryExecution().executedPlan().toString()
    scans = [line for line in plan.splitlines() if "FileScan parquet" in line and "features#" in line]
    assert len(scans) == 1
    exchanges = [line for line in plan.splitlines() if "Exchange" in line]
    assert not [line for line in exchanges if "features" in line]
    assert ("Join" in plan) == (len(images) > 1)
    assert counted(chosen) == [("a", "1", 0.0)]


def test_a_bit_marks_a_row_whatever_its_place_in_its_file(spark: SparkSession, features: Features) -> None:
    rows = 70_000  # more than two of Spark's bitmaps hold
    features.run("1", [(f"{index}", "1") for index in range(rows)])
    features.run("2", [("other", "1")])
    places = [0, 1, 7, 8, 32_767, 32_768, 65_535, 65_536, rows - 1]
    listed = inventory(spark, *[(f"{index}", "1", "Fig") for index in places])
    chosen = select(Inputs(features.read(), listed, None), "net")
    assert sorted(int(row["path"]) for row in chosen.features.select("path").collect()) == places
    assert chosen.summary.features == {"Fig": len(places)}

    marks = marked_rows(outcomes(listed, features.read(), None)).collect()
    assert {row["file"].rpartition("/")[0][-5:] for row in marks} == {"run=1"}, "nothing of the other file counts"
    assert sorted(len(row["rows"]) for row in marks) == [558, 4096, 4096], "a bit a row, up to the last that counts"


def test_no_image_has_two_rows_though_its_etag_is_missing(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", None), ("a", None)])
    assert counted(current(features.read(), inventory(spark, ("a", None, "Fig")))) == [("a", None, 0.0)]


def plan_of(frame: DataFrame) -> str:
    return frame._jdf.queryExecution().executedPlan().toString()


def test_the_selection_is_computed_once_and_needs_no_table_in_memory(spark: SparkSession, features: Features) -> None:
    features.run("1", [("a", "1"), ("gone", "1")])
    listed = inventory(spark, ("a", "1", "Fig"), ("b", "1", "Fig"))
    known = outcomes(
        listed, features.read(), spark.createDataFrame([], "path string, etag string, reason string, detail string")
    )
    plan = plan_of(known)
    assert plan.count("Exchange") == 1
    assert "Join" not in plan

    chosen = select(Inputs(features.read(), listed, None), "net")
    assert "InMemoryTableScan" in plan_of(chosen.features), "the marks are those of the first use"


def test_few_images_of_a_reason_are_kept_before_they_meet(spark: SparkSession, features: Features) -> None:
    features.run("1", [("used", "1")])
    images = [(f"{index}", "1", "Fig") for index in range(9)]
    plan = plan_of(examples(outcomes(inventory(spark, *images), features.read(), None)))
    _, _, before_the_shuffle = plan.rpartition("Exchange hashpartitioning(reason")
    assert "WindowGroupLimit" in before_the_shuffle, plan
    assert "collect_list" not in plan


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

    found = summarized(listed, features.read(), rejects)
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
    assert summarized(listed, features.read(), None).rejects_by_reason == {"not processed": 4}


def test_no_rejects_give_no_reasons() -> None:
    assert InventorySummary({"Fig": 3}, {}, []).rejects_by_reason == {}


def test_examples_are_few_however_many_rejects(spark: SparkSession, features: Features) -> None:
    features.run("1", [("used", "1")])
    images = [(f"{label} {index}", "1", label) for label in ("Fig", "Plum") for index in range(9)]
    found = summarized(inventory(spark, *images), features.read(), None)
    assert found.rejects == {"Fig": {"not processed": 9}, "Plum": {"not processed": 9}}
    assert [example["path"] for example in found.examples] == ["Fig 0", "Fig 1", "Fig 2", "Fig 3", "Fig 4"]


def test_a_sample_is_about_as_large_as_asked_and_always_the_same(spark: SparkSession) -> None:
    images = spark.range(4000).selectExpr("concat('s3://fruits/', id) AS path")
    chosen = sorted(row["path"] for row in images.where(sampled(500, 4000)).collect())
    assert 430 < len(chosen) < 570
    assert sorted(row["path"] for row in images.repartition(3).where(sampled(500, 4000)).collect()) == chosen
    assert images.where(sampled(4000, 4000)).count() == 4000
    assert images.where(sampled(9000, 4000)).count() == 4000
