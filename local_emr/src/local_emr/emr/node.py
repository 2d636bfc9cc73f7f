"""The primary node of a cluster: a temporary directory that holds its home, its configuration and its commands."""

import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from local_emr.emr import spark_events, spark_submit
from local_emr.emr.node_files import classified_properties, hadoop_xml, write_command
from local_emr.emr.s3_access import ACCESS_KEY, SECRET_KEY
from local_emr.emr.settings import SYSTEM_PATH, Spark, SparkNotFoundError
from local_emr.emr.spark_conf import s3a_properties, write_spark_configuration
from local_emr.emr.yarn.daemons import Yarn
from local_emr.emr.yarn.worker import PYTHON


class Node:
    """Files and environment of one cluster's primary node.

    Without a pyspark the node has no Spark: its `spark-submit` fails with a message that says what to install.

    Args:
        cluster_id: part of the directory's name.
        configurations: the cluster's Configurations, as RunJobFlow takes them.
        spark: the installation that the node's `spark-submit` runs.
        endpoint_url: where S3 and the other services answer.
        region: the cluster's region.
        release_label: for the environment of the steps.
        workers: instance types of the core and task instances, to run the steps on a YARN of theirs; without them the
            steps run in local mode.
    """

    def __init__(
        self,
        cluster_id: str,
        configurations: list[dict[str, Any]],
        spark: Spark,
        endpoint_url: str,
        region: str,
        release_label: str,
        workers: list[str] | None = None,
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"local_emr-{cluster_id}-"))
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
        classified = classified_properties(configurations)
        self.yarn = (
            None
            if workers is None
            else Yarn(self.root / "yarn", self.logs / "yarn", self.home, spark, workers, classified)
        )
        python = shlex.quote(str(spark.python))
        for name in (PYTHON, "python3.11"):
            write_command(self.bin / name, f'exec {python} "$@"')
        try:
            self._install_spark(classified)
        except SparkNotFoundError as error:
            self._spark_environment: dict[str, str] = {}
            message = shlex.quote(f"local_emr cannot run spark-submit: {error}")
            write_command(self.bin / "spark-submit", f"echo {message} >&2\nexit 1")

    def environment(self) -> dict[str, str]:
        """Return the whole environment of a step's process: nothing of the server's own."""
        return {
            "HOME": str(self.home),
            "USER": "hadoop",
            "LOGNAME": "hadoop",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": f"{self.bin}:{SYSTEM_PATH}",
            "TMPDIR": str(self.scratch),
            "JAVA_HOME": str(self._spark.java_home),
            "EMR_RELEASE_LABEL": self._release_label,
        } | self._spark_environment

    def has_application(self, step_id: str) -> bool:
        """Return whether the step has a SparkContext up, which on EMR is a running YARN application.

        A SparkContext keeps its blocks in a `blockmgr-` directory from its start to its stop.
        """
        return any((self.scratch / f"spark-{step_id}").glob("blockmgr-*")) or bool(
            self.yarn and self.yarn.has_application
        )

    def remove_files(self, *, keep_logs: bool) -> None:
        """Remove the node's files; the logs may stay for the admin route until the server ends."""
        if not keep_logs:
            shutil.rmtree(self.root, ignore_errors=True)
            return
        for child in self.root.iterdir():
            if child != self.logs:
                shutil.rmtree(child, ignore_errors=True)

    def _write_aws_configuration(self) -> None:
        """Write what the instance profile and the region are on EC2: credentials without any environment variable."""
        (self.home / ".aws/config").write_text(
            f"[default]\nregion = {self._region}\nendpoint_url = {self._endpoint_url}\n"
            "s3 =\n    addressing_style = path\n",
            encoding="utf-8",
        )
        (self.home / ".aws/credentials").write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n", encoding="utf-8"
        )

    def _install_spark(self, classified: dict[str, dict[str, str]]) -> None:
        """Give the node its Spark configuration and its `spark-submit`.

        Raises:
            SparkNotFoundError: there is no pyspark.
        """
        spark = self._spark
        defaults = {
            # What an application did is read from its event log, by Spark's history server, when somebody asks.
            "spark.ui.enabled": "false",
            **spark_events.properties(self.logs),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.jars.ivy": str(self.root / "ivy"),
            "spark.sql.warehouse.dir": str(self.root / "warehouse"),
            "spark.hadoop.hadoop.tmp.dir": str(self.scratch),
        } | s3a_properties(self._endpoint_url, self._region)
        if self.yarn:
            defaults |= self._yarn_properties(self.yarn)
            (self._conf / "yarn-site.xml").write_text(hadoop_xml(self.yarn.site), encoding="utf-8")
        scale, master = (self.yarn.scale, "yarn") if self.yarn else (1.0, spark.master)
        python = PYTHON if self.yarn else str(spark.python)  # the primary node has one of that name, too
        local_dirs = f"{shlex.quote(str(self.scratch))}/spark-$EMR_STEP_ID"
        write_spark_configuration(self._conf, spark, classified, defaults, local_dirs, python, scale)
        program = [sys.executable, "-I", "-S", spark_submit.__file__]
        options = [str(spark.home), master, spark.driver_memory, python, spark.class_path, str(scale), "--"]
        write_command(self.bin / "spark-submit", f'exec {shlex.join(program + options)} "$@"')
        self._spark_environment = {
            "SPARK_HOME": str(spark.home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_CONF_DIR": str(self._conf),
            "HADOOP_CONF_DIR": str(self._conf),
            # A short life: the serial collector and no huge reservations.
            "SPARK_SUBMIT_OPTS": " ".join(
                ["-XX:+UseSerialGC", f"-Djava.io.tmpdir={self.scratch}", *spark.class_archive_options]
            ),
            "SPARK_LAUNCHER_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto",
        }

    def _yarn_properties(self, yarn: Yarn) -> dict[str, str]:
        """Return what EMR sets for Spark on YARN, and what leads Spark to this one."""
        sizes = {"spark.executor.memory": "1g", "spark.yarn.am.memory": "512m", "spark.yarn.am.memoryOverhead": "384m"}
        return {
            "spark.yarn.jars": f"local:{self._spark.home}/jars/*",
            "spark.yarn.stagingDir": f"file://{yarn.staging}",
            # Otherwise the ApplicationMaster listens on a network interface; executors listen on their node's address.
            "spark.yarn.appMasterEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.yarn.am.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",  # all it does is ask for containers
            "spark.dynamicAllocation.enabled": "true",
            # Instead of EMR's shuffle service.
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            **{name: spark_submit.scale_property(name, size, yarn.scale) for name, size in sizes.items()},
        }
