"""The archive of classes: made by a real step, accepted by the JVM of the next."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from local_emr import Spark, class_archive
from local_emr.emr.node import Node


def node(spark: Spark) -> Node:
    return Node("j-TEST", [], spark, "http://127.0.0.1:1", "eu-west-3", "emr-7.13.0")


@pytest.mark.slow
def test_it_is_made_and_the_next_jvm_uses_it(spark: Spark, tmp_path: Path) -> None:
    target = tmp_path / "folder/classes.jsa"
    if not class_archive.build(spark, target):
        pytest.skip("this JDK makes no archive of classes")
    assert [path.name for path in target.parent.iterdir()] == ["classes.jsa"]

    made = node(dataclasses.replace(spark, class_archive=target))
    options = made.environment()["SPARK_SUBMIT_OPTS"].split()
    (defaults,) = [
        line.split(" ", 1)[1]
        for line in (Path(made.environment()["SPARK_CONF_DIR"]) / "spark-defaults.conf").read_text().splitlines()
        if line.startswith("spark.driver.extraClassPath ")
    ]
    made.remove_files(keep_logs=False)
    # -Xshare:on refuses to start where :auto silently goes without.
    strict = [option.replace("-Xshare:auto", "-Xshare:on") for option in options]
    java = [str(spark.java_home / "bin/java"), *strict, "-cp", f"{defaults}:/the/configuration/folder", "-version"]
    assert subprocess.run(java, capture_output=True, check=False).returncode == 0


def test_without_it_steps_run_all_the_same(spark: Spark, tmp_path: Path) -> None:
    made = node(dataclasses.replace(spark, class_archive=tmp_path / "none.jsa"))
    assert "SharedArchiveFile" not in made.environment()["SPARK_SUBMIT_OPTS"]
    made.remove_files(keep_logs=False)
