"""The files of SPARK_CONF_DIR: what the cluster's Configurations ask for, and what a laptop needs."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from local_emr.emr import spark_submit
from local_emr.emr.node_files import LOG4J, hadoop_xml
from local_emr.emr.s3_access import ACCESS_KEY, SECRET_KEY
from local_emr.emr.settings import Spark

# Properties of spark-defaults that are this machine's to say, or that would outgrow a laptop.
IGNORED_PROPERTIES = (
    "spark.master",
    "spark.submit.deployMode",
    "spark.driver.memory",
    "spark.yarn.jars",
    "spark.yarn.archive",
)


def write_spark_configuration(
    directory: Path,
    spark: Spark,
    classified: Mapping[str, Mapping[str, str]],
    defaults: Mapping[str, str],
    local_dirs: str,
    python: str,
    memory_scale: float = 1.0,
) -> None:
    """Write spark-defaults, spark-env, core-site and log4j2.

    Args:
        directory: SPARK_CONF_DIR.
        spark: the installation that reads the files.
        classified: the cluster's Configurations, by classification.
        defaults: properties that the Configurations may override.
        local_dirs: Spark's scratch directory as a shell word: where each application keeps its blocks while it is up.
        python: interpreter of drivers and executors.
        memory_scale: factor on the sizes of executors.
    """
    requested = {
        name: spark_submit.scale_property(name, value, memory_scale)
        for name, value in classified.get("spark-defaults", {}).items()
        if not name.startswith(IGNORED_PROPERTIES)
    }
    for name in requested.keys() & spark_submit.PYTHON_PROPERTIES:
        requested[name] = python
    properties = {**defaults, **requested}
    for name in sorted(spark_submit.CLASS_PATH_PROPERTIES):
        properties[name] = ":".join(filter(None, [requested.get(name), spark.class_path]))
    (directory / "spark-defaults.conf").write_text(
        "".join(f"{name} {_property_value(value)}\n" for name, value in properties.items()), encoding="utf-8"
    )

    exports = dict(classified.get("spark-env/export", {})) | {
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    lines.append(f"export SPARK_LOCAL_DIRS={local_dirs}\n")
    (directory / "spark-env.sh").write_text("".join(lines), encoding="utf-8")
    (directory / "core-site.xml").write_text(hadoop_xml(classified.get("core-site", {})), encoding="utf-8")
    (directory / "log4j2.properties").write_text(LOG4J, encoding="utf-8")


def s3a_properties(endpoint_url: str, region: str) -> dict[str, str]:
    """Return the properties that lead Hadoop's S3A to the endpoint."""
    return {
        # EMR's s3:// is its own file system (S3A since 7.10); here it is Hadoop's S3A for all three spellings.
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3n.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
        "spark.hadoop.fs.s3a.endpoint": endpoint_url,
        "spark.hadoop.fs.s3a.endpoint.region": region,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "spark.hadoop.fs.s3a.access.key": ACCESS_KEY,
        "spark.hadoop.fs.s3a.secret.key": SECRET_KEY,
        "spark.hadoop.fs.s3a.directory.marker.retention": "keep",
        # EMR's committers do not rename; version 2 renames once instead of twice.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    }


def _property_value(value: str) -> str:
    """Escape a value for a Java properties file."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
