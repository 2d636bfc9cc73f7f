"""The lines a person follows while the job runs."""

import json
import logging
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.extraction.progress import Progress


def test_a_line_says_how_far_how_fast_and_how_long(spark: SparkSession) -> None:
    progress = Progress(spark.sparkContext, total=2000)

    assert progress.line(500, 3, 2.5) == "progress images=500 total=2000 rejects=3 rate=200.0/s left=8s"
    reused = Progress(spark.sparkContext, total=2000, reused=1000)
    assert reused.line(500, 3, 2.5) == "progress images=1500 total=2000 rejects=3 rate=200.0/s left=2s"
    assert progress.line(0, 0, 0) == "progress images=0 total=2000 rejects=0 rate=0.0/s left=0s"


def test_the_summary_says_what_a_thousand_images_cost(spark: SparkSession) -> None:
    progress = Progress(spark.sparkContext, total=3000, reused=1000)
    progress.images.add(2000)
    progress.cpu_seconds.add(18.0)
    progress.slot_seconds.add(19.5)

    assert progress.summary(5, 10.0) == (
        "done images=3000 features=2995 rejects=5 reused=1000 wall_seconds=10.0 rate=200.0/s"
        " slot_seconds=19.5 cpu_seconds=18.0 core_seconds_per_1000=9.00"
    )


def test_lines_are_logged_only_while_something_moves(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "extract_features")
    with Progress(spark.sparkContext, total=40, interval=0.05, uri=f"{tmp_path}/progress.json") as progress:
        for _ in range(2):
            progress.images.add(20)
            time.sleep(0.3)

    lines = [record.message.split(" rejects")[0] for record in caplog.records]
    assert lines == ["progress images=20 total=40", "progress images=40 total=40"]
    written = json.loads((tmp_path / "progress.json").read_text())
    assert (written["images"], written["total"], written["rejects"]) == (40, 40, 0)
    assert written["message"].startswith("40 of 40 images, 0 rejects, ")


def test_a_document_that_cannot_be_written_stops_nothing(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with Progress(spark.sparkContext, total=1, uri=f"{tmp_path}/file/progress.json"):
        pass

    assert "progress cannot be written to" in caplog.text
