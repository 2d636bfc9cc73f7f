"""The archive of classes: made by a real step, accepted by the JVM of the next."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from local_aws import Spark, class_archive
from local_aws.emr.node import Node


def node(spark: Spark) -> Node:
    return Node("j-TEST", [], spark, "http://127.0.0.1:1", "eu-west-3", "emr-7.13.0")


def test_it_is_made_and_the_next_jvm_uses_it(tmp_path: Path) -> None:
    spark = dataclasses.replace(Spark(), class_archive=tmp_path / "folder/classes.jsa")
    if not class_archive.build(spark):
        pytest.skip("this JDK makes no archive of classes")
    assert [path.name for path in spark.class_archive.parent.iterdir()] == ["classes.jsa"]

    made = node(spark)
    options = made.environment()["SPARK_SUBMIT_OPTS"].split()
    (defaults,) = [
        line.split(" ", 1)[1]
        for line in (Path(made.environment()["SPARK_CONF_DIR"]) / "spark-defaults.conf").read_text().splitlines()
        if line.startswith("spark.driver.extraClassPath ")
    ]
    made.discard(keep_logs=False)
    # -Xshare:on refuses to start where :auto silently goes without.
    strict = [option.replace("-Xshare:auto", "-Xshare:on") for option in options]
    java = [str(spark.java_home / "bin/java"), *strict, "-cp", f"{defaults}:/the/configuration/folder", "-version"]
    assert subprocess.run(java, capture_output=True, check=False).returncode == 0


def test_without_it_steps_run_all_the_same(tmp_path: Path) -> None:
    made = node(dataclasses.replace(Spark(), class_archive=tmp_path / "none.jsa"))
    assert "SharedArchiveFile" not in made.environment()["SPARK_SUBMIT_OPTS"]
    made.discard(keep_logs=False)
