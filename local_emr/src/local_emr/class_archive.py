"""`python -m local_emr.class_archive`: let every later Spark step start in half the time.

Runs one small Spark step on a LocalEmr and keeps the classes that its JVM loaded, parsed and verified, in an archive
that the JVM of every step maps into memory (the JDK's application class-data sharing, JEP 350). It takes 20 s once
and 160 MB; without it everything works, 3 s a step slower. LOCAL_EMR_CLASS_ARCHIVE names the file.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path

import boto3

from local_emr.emr.settings import Spark, SparkNotFoundError, Timing
from local_emr.server import LocalEmr

# What many steps have in common: Parquet on S3A, there and back, and a function over Arrow batches.
JOB = b"""
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.range(10).selectExpr("id", "cast(id AS string) AS name").write.mode("overwrite").parquet("s3://classes/table")
table = spark.read.parquet("s3://classes/table")
table.mapInArrow(lambda batches: batches, table.schema).groupBy("name").count().collect()
"""


def build(spark: Spark, target: Path) -> bool:
    """Write the archive of this Spark; return False where its JDK cannot, or where Spark itself fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")  # a JVM that maps half an archive crashes
    try:
        with LocalEmr(spark=dataclasses.replace(spark, class_archive=None), timing=Timing(0, 0, 0)) as aws:
            _run_job(aws, f"-XX:ArchiveClassesAtExit={unfinished}")
        if unfinished.exists():
            unfinished.replace(target)
            return True
        return False
    finally:
        unfinished.unlink(missing_ok=True)


def _run_job(aws: LocalEmr, java_options: str) -> None:
    access = {
        "endpoint_url": aws.endpoint_url,
        "region_name": aws.region,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
    }
    s3, emr = boto3.client("s3", **access), boto3.client("emr", **access)
    s3.create_bucket(Bucket="classes", CreateBucketConfiguration={"LocationConstraint": aws.region})
    s3.put_object(Bucket="classes", Key="job.py", Body=JOB)
    command = ["spark-submit", "--driver-java-options", java_options, "s3://classes/job.py"]
    cluster = emr.run_job_flow(
        Name="class archive",
        ReleaseLabel="emr-7.13.0",
        Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1},
        Steps=[{"Name": "load", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": command}}],
    )["JobFlowId"]
    while not emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"].startswith("TERMINATED"):
        time.sleep(0.2)


def main() -> int:
    """Write the archive that LOCAL_EMR_CLASS_ARCHIVE names."""
    spark = Spark()
    if spark.class_archive is None:
        sys.stderr.write("class archive: set LOCAL_EMR_CLASS_ARCHIVE to the file to write\n")
        return 2
    try:
        spark.home  # noqa: B018 - without pyspark there is nothing to archive
    except SparkNotFoundError as error:
        sys.stderr.write(f"class archive: {error}\n")
        return 1
    if build(spark, spark.class_archive):
        sys.stdout.write(f"class archive: {spark.class_archive}\n")
    else:  # no failure: the archive saves time, nothing else
        sys.stderr.write("class archive: this JDK makes none; Spark steps start a little slower\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
