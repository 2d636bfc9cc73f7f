"""Steps that are Spark's: real ones, against the same endpoint."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
from emr_client import Emr, log, open_history, step, wait_for

from local_emr import LocalEmr, Spark
from local_emr.emr.spark_submit import lacks_s3, rewrite_arguments

JOB = """
import logging
import os
import sys

from pyspark.sql import SparkSession

import library

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
spark = SparkSession.builder.getOrCreate()
source, target = sys.argv[1:3]
frame = spark.range(0, 100, numPartitions=2).selectExpr("id", "id * 2 AS twice")
frame.write.mode("overwrite").parquet(source)


def with_word(batches):
    import pyarrow as pa

    word = library.word()
    for batch in batches:
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array([word] * len(batch))], ["id", "twice", "word"])


found = spark.read.parquet(source).mapInArrow(with_word, "id long, twice long, word string")
found.coalesce(1).write.mode("overwrite").parquet(target)
logging.getLogger("job").info("wrote %d rows", spark.read.parquet(target).count())
print("master", spark.sparkContext.master)
print("setting", spark.conf.get("spark.fruit"), spark.conf.get("spark.sql.session.timeZone"))
print("python", sys.executable)
print("caller", os.environ.get("SECRET_OF_THE_CALLER"))
print("word", library.word())
if len(sys.argv) > 3:
    raise SystemExit(f"clear message: {sys.argv[3]}")
"""

LIBRARY = """
import botocore.session


def word():
    client = botocore.session.get_session().create_client("s3")
    return client.get_object(Bucket="data", Key="a word.txt")["Body"].read().decode()
"""

# One task, whose first attempt lasts until its worker is killed: whenever that comes, it is a worker at work.
SLOW_JOB = """
import time
from pyspark import TaskContext
from pyspark.sql import SparkSession

def slow(batches):
    if TaskContext.get().attemptNumber() == 0:
        time.sleep(90)
    yield from batches

spark = SparkSession.builder.getOrCreate()
print("rows", spark.range(0, 10, numPartitions=1).mapInArrow(slow, "id long").count())
"""

# Up longer than the IdleTimeout of its cluster, then a process without an application.
IDLE_JOB = """
import time
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("up", flush=True)
time.sleep(6)
spark.stop()
print("stopped", flush=True)
time.sleep(60)
"""


def spark_step(name: str, *arguments: str) -> dict[str, Any]:
    submit = ["spark-submit", "--deploy-mode", "cluster", "--master", "yarn", "--conf", "spark.fruit=fig"]
    return step(*submit, "--py-files", "s3://data/code/library.zip", *arguments, name=name)


@pytest.fixture
def cluster(spark: Spark, cluster_api: Emr, s3: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster configured as the pipeline's, with the jobs in S3."""
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("library.py", LIBRARY)
    s3.put_object(Bucket="data", Key="code/library.zip", Body=package.getvalue())
    s3.put_object(Bucket="data", Key="code/job.py", Body=JOB.encode())
    s3.put_object(Bucket="data", Key="code/slow.py", Body=SLOW_JOB.encode())
    s3.put_object(Bucket="data", Key="code/idle.py", Body=IDLE_JOB.encode())
    s3.put_object(Bucket="data", Key="a word.txt", Body=b"fig")
    python = "/opt/fruits/venv/bin/python"  # on the node; here there is no such file
    export = {"Classification": "export", "Properties": {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}}
    defaults = {"spark.driver.memory": "400g", "spark.sql.session.timeZone": "UTC", "spark.pyspark.python": python}
    return cluster_api.create(
        Configurations=[
            {"Classification": "spark-defaults", "Properties": defaults},
            {"Classification": "spark-env", "Properties": {}, "Configurations": [export]},
        ]
    )


@pytest.mark.slow
def test_spark_reads_and_writes_the_same_s3(
    local_emr: LocalEmr, spark: Spark, cluster_api: Emr, s3: Any, cluster: str
) -> None:
    """One cluster, two steps: one that works, one that ends with a clear message; and the first one's history."""
    steps = cluster_api.add(
        cluster,
        spark_step("good", "s3://data/code/job.py", "s3://data/in put", "s3://data/out"),
        spark_step("bad", "s3a://data/code/job.py", "s3://data/in2", "s3a://data/out2", "no fruit"),
    )
    assert cluster_api.ended(cluster, steps, seconds=400) == ["COMPLETED", "FAILED"]

    good = log(s3, cluster, f"steps/{steps[0]}/stdout").splitlines()
    assert "master local[*,4]" in good
    assert "setting fig UTC" in good
    assert "caller None" in good
    assert "word fig" in good
    # Spark merges the driver's stderr into stdout, in client mode on EMR as well.
    assert "INFO job: wrote 100 rows" in good
    (python,) = [line for line in good if line.startswith("python ")]
    assert python == f"python {spark.python}"
    assert "INFO SparkContext: Running Spark version 3.5.6" in log(s3, cluster, f"steps/{steps[0]}/stderr")
    (part,) = [found["Key"] for found in s3.list_objects_v2(Bucket="data", Prefix="out/part-")["Contents"]]
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket="data", Key=part)["Body"].read()))
    assert table.schema.names == ["id", "twice", "word"]
    assert table.num_rows == 100
    assert table.column("word").to_pylist()[0] == "fig"

    assert "clear message: no fruit" in log(s3, cluster, f"steps/{steps[1]}/stdout").splitlines()
    details = cluster_api.step_status(cluster, steps[1])["FailureDetails"]
    assert details["LogFile"] == f"s3://data/logs/{cluster}/steps/{steps[1]}/stderr.gz"

    pages = f"{local_emr.endpoint_url}/_local_emr/clusters/{cluster}/steps"
    assert "/spark-history" in requests.get(f"{pages}/{steps[0]}", timeout=10).text
    jobs = open_history(f"{pages}/{steps[0]}/spark-history")
    assert jobs.url.startswith(f"{local_emr.endpoint_url}/_local_emr/spark-history/history/local-")
    assert "Completed Jobs" in jobs.text
    assert "Failed Jobs" not in jobs.text


@pytest.mark.slow
def test_a_worker_dies_and_spark_tries_its_task_again(
    local_emr: LocalEmr, cluster_api: Emr, s3: Any, cluster: str
) -> None:
    local_emr.faults.add(fault="worker-kill", step="slow", times=1)
    (step_id,) = cluster_api.add(cluster, spark_step("slow", "s3://data/code/slow.py"))
    assert cluster_api.ended(cluster, [step_id], seconds=400) == ["COMPLETED"]
    assert local_emr.faults.list()[0]["hits"] == 1
    assert "Lost task 0.0 in stage" in log(s3, cluster, f"steps/{step_id}/stderr")
    assert "rows 10" in log(s3, cluster, f"steps/{step_id}/stdout").splitlines()


@pytest.mark.slow
def test_a_cluster_is_idle_once_its_application_has_ended(
    local_emr: LocalEmr, cluster_api: Emr, s3: Any, cluster: str
) -> None:
    (step_id,) = cluster_api.add(cluster, spark_step("idle", "s3://data/code/idle.py"))
    route = f"{local_emr.endpoint_url}/_local_emr/clusters/{cluster}/steps/{step_id}/stdout"
    wait_for(lambda: "up" in requests.get(route, timeout=5).text, 300)
    policy = {"IdleTimeout": 100}  # 1 s here
    cluster_api.client.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy=policy)

    status = cluster_api.until(cluster, "TERMINATED", seconds=300)

    assert "auto-termination policy" in status["StateChangeReason"]["Message"]
    assert cluster_api.states(cluster, [step_id]) == ["CANCELLED"]
    assert log(s3, cluster, f"steps/{step_id}/stdout").splitlines() == ["up", "stopped"]


def test_what_needs_a_cluster_is_replaced_in_the_command() -> None:
    given = ["--master=yarn", "--deploy-mode", "cluster", "--verbose", "--driver-memory", "8g", "--name", "n"]
    given += ["--conf", "spark.driver.memory=8g", "--conf", "spark.pyspark.python=/opt/p", "-c", "spark.x=a=b"]
    given += ["--driver-class-path", "/a.jar", "s3://b/main.py", "--master", "mine"]
    assert rewrite_arguments(given, "local[*,4]", "2g", "/py", "/jars/*") == [
        *("--verbose", "--name", "n", "--conf", "spark.pyspark.python=/py", "-c", "spark.x=a=b"),
        *("--driver-class-path", "/a.jar:/jars/*"),
        *("--master", "local[*,4]", "--deploy-mode", "client", "--driver-memory", "2g"),
        *("s3://b/main.py", "--master", "mine"),
    ]
    assert rewrite_arguments(["--version"], "m", "1g", "/py", "/j")[0] == "--version"


def test_a_missing_jar_is_told_before_spark_fails(tmp_path: Path) -> None:
    class_path = f"{tmp_path}/*:{tmp_path}/none/*"
    assert lacks_s3(["s3://b/main.py"], class_path)
    assert not lacks_s3(["/main.py"], class_path)
    (tmp_path / "org.apache.hadoop_hadoop-aws-3.3.4.jar").touch()  # as Spark's Ivy names it
    assert not lacks_s3(["s3://b/main.py"], class_path)
