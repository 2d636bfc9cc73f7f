"""The primary node of a cluster: a temporary directory that holds its home, its configuration and its commands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from local_aws.emr import spark_submit
from local_aws.settings import Spark

ACCESS_KEY = "local"
SECRET_KEY = "local"  # noqa: S105 - the endpoint checks nobody's password

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""

# Properties of spark-defaults that make sense on YARN only, or that would outgrow a laptop.
IGNORED_PROPERTIES = ("spark.master", "spark.submit.deployMode", "spark.driver.memory", "spark.yarn.")


class Node:
    """Files and environment of one cluster's primary node.

    Args:
        cluster_id: names the directory.
        configurations: the cluster's Configurations, as RunJobFlow takes them.
        spark: the installation that the node's `spark-submit` runs.
        endpoint_url: where S3 and the other services answer.
        region: the cluster's region.
        release_label: for the environment of the steps.
    """

    def __init__(
        self,
        cluster_id: str,
        configurations: list[dict[str, Any]],
        spark: Spark,
        endpoint_url: str,
        region: str,
        release_label: str,
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"local_aws-{cluster_id}-"))
        self.logs = self.root / "logs"
        self.home = self.root / "home/hadoop"
        self.bin = self.root / "bin"
        self.scratch = self.root / "mnt/tmp"
        self._conf = self.root / "etc/spark/conf"
        for directory in (self.logs, self.home / ".aws", self.bin, self.scratch, self._conf):
            directory.mkdir(parents=True)
        self._spark = spark
        self._endpoint_url = endpoint_url
        self._region = region
        self._release_label = release_label
        self._write_aws_configuration()
        self._write_spark_configuration(configurations)
        self._write_commands()

    def environment(self) -> dict[str, str]:
        """All that a step's process finds in its environment: nothing of the caller's."""
        return {
            "HOME": str(self.home),
            "USER": "hadoop",
            "LOGNAME": "hadoop",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": str(self.scratch),
            "JAVA_HOME": str(self._spark.java_home),
            "SPARK_HOME": str(self._spark.home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_CONF_DIR": str(self._conf),
            "HADOOP_CONF_DIR": str(self._conf),
            # A short life: the serial collector and no huge reservations.
            "SPARK_SUBMIT_OPTS": " ".join(
                ["-XX:+UseSerialGC", f"-Djava.io.tmpdir={self.scratch}", *self._class_archive_options()]
            ),
            "SPARK_LAUNCHER_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto",
            "EMR_RELEASE_LABEL": self._release_label,
        }

    def discard(self, *, keep_logs: bool) -> None:
        """Removes the node's files; the logs may stay for the control route until the server ends."""
        if not keep_logs:
            shutil.rmtree(self.root, ignore_errors=True)
            return
        for child in self.root.iterdir():
            if child != self.logs:
                shutil.rmtree(child, ignore_errors=True)

    @property
    def _class_path(self) -> str:
        # Spark's own jars too, although it adds them: an archive of classes wants its class path first, unbroken by the
        # configuration folder that Spark puts between the two.
        return f"{self._spark.jars}/*:{self._spark.home}/jars/*"

    def _class_archive_options(self) -> list[str]:
        archive = self._spark.class_archive
        if not archive.is_file():
            return []
        # An archive of another JDK or class path is passed over; nobody needs to hear of it.
        return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]

    def _write_aws_configuration(self) -> None:
        """What the instance profile and the region are on EC2: credentials without any environment variable."""
        (self.home / ".aws/config").write_text(
            f"[default]\nregion = {self._region}\nendpoint_url = {self._endpoint_url}\n"
            "s3 =\n    addressing_style = path\n",
            encoding="utf-8",
        )
        (self.home / ".aws/credentials").write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n", encoding="utf-8"
        )

    def _write_spark_configuration(self, configurations: list[dict[str, Any]]) -> None:
        classified = dict(_flatten(configurations))
        asked = {
            name: value
            for name, value in classified.get("spark-defaults", {}).items()
            if not name.startswith(IGNORED_PROPERTIES)
        }
        for name in asked.keys() & spark_submit.PYTHON_PROPERTIES:
            asked[name] = str(self._spark.python)
        properties = self._spark_defaults() | asked
        for side in ("driver", "executor"):
            name = f"spark.{side}.extraClassPath"
            properties[name] = ":".join(filter(None, [asked.get(name), self._class_path]))
        (self._conf / "spark-defaults.conf").write_text(
            "".join(f"{name} {_property_value(value)}\n" for name, value in properties.items()), encoding="utf-8"
        )

        exports = classified.get("spark-env/export", {})
        exports |= {"PYSPARK_PYTHON": str(self._spark.python), "PYSPARK_DRIVER_PYTHON": str(self._spark.python)}
        (self._conf / "spark-env.sh").write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()), encoding="utf-8"
        )
        (self._conf / "core-site.xml").write_text(_hadoop_xml(classified.get("core-site", {})), encoding="utf-8")
        (self._conf / "log4j2.properties").write_text(LOG4J, encoding="utf-8")

    def _spark_defaults(self) -> dict[str, str]:
        return {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(self.scratch),
            "spark.jars.ivy": str(self.root / "ivy"),
            "spark.sql.warehouse.dir": str(self.root / "warehouse"),
            "spark.hadoop.hadoop.tmp.dir": str(self.scratch),
            # EMR's s3:// is its own file system (S3A since 7.10); here it is Hadoop's S3A for all three spellings.
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3n.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
            "spark.hadoop.fs.s3a.endpoint": self._endpoint_url,
            "spark.hadoop.fs.s3a.endpoint.region": self._region,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.hadoop.fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "spark.hadoop.fs.s3a.access.key": ACCESS_KEY,
            "spark.hadoop.fs.s3a.secret.key": SECRET_KEY,
            "spark.hadoop.fs.s3a.directory.marker.retention": "keep",
            # EMR's committers do not rename; version 2 renames once instead of twice.
            "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        }

    def _write_commands(self) -> None:
        python = shlex.quote(str(self._spark.python))
        submit = shlex.join(
            [
                sys.executable,
                "-I",
                "-S",
                spark_submit.__file__,
                str(self._spark.home),
                self._spark.master,
                self._spark.driver_memory,
                str(self._spark.python),
                self._class_path,
                "--",
            ]
        )
        commands = {
            "spark-submit": f'exec {submit} "$@"',
            "python3": f'exec {python} "$@"',
            "python3.11": f'exec {python} "$@"',
        }
        for name, body in commands.items():
            write_command(self.bin / name, body)


def write_command(path: Path, body: str) -> None:
    """Writes an executable shell script."""
    path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    os.chmod(path, 0o755)  # noqa: S103 - a program of the node


def _flatten(configurations: list[dict[str, Any]], parent: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Pairs of `classification` or `classification/nested` and their properties."""
    for configuration in configurations:
        name = parent + configuration.get("Classification", "")
        yield name, dict(configuration.get("Properties") or {})
        yield from _flatten(configuration.get("Configurations") or [], f"{name}/")


def _property_value(value: str) -> str:
    """A value for a Java properties file."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _hadoop_xml(properties: Mapping[str, str]) -> str:
    entries = "".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{entries}</configuration>\n'
