"""`local-emr`, or `python -m local_emr`: the endpoint as a program of its own."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from local_emr.emr.settings import Spark, SparkNotFoundError, Timing, absolute_path
from local_emr.server import DEFAULT_HOST, DEFAULT_REGION, LocalEmr


def main() -> int:
    """Serve until SIGTERM, SIGINT, or the parent's end."""
    arguments = make_parser().parse_args()
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    spark = Spark(
        python=arguments.spark_python,
        jars=arguments.jars,
        class_archive=arguments.class_archive,
        java_home=arguments.java_home,
        driver_memory=arguments.driver_memory,
        yarn_jars=arguments.yarn_jars,
    )
    parent = os.getppid()
    try:
        if spark.python != Path(sys.executable):
            spark.home  # noqa: B018 - whoever names a Python for Spark learns now, not in the first step, that it has none
        aws = LocalEmr(
            arguments.port,
            host=arguments.host,
            region=arguments.region,
            timing=Timing(starting=arguments.starting_seconds, idle_scale=arguments.idle_scale),
            spark=spark,
            yarn=arguments.yarn,
            data_dir=arguments.data_dir,
            access_log=arguments.access_log,
        )
        aws.start()
    except SparkNotFoundError as error:
        sys.stderr.write(f"local_emr: {error}\n")
        return 1
    except OSError as error:
        address = f"listen on {arguments.host}:{arguments.port}"
        cannot = f"use {error.filename}" if error.filename else address  # sockets have no file
        sys.stderr.write(f"local_emr: cannot {cannot}: {error.strerror or error}\n")
        return 1
    sys.stdout.write(f"local_emr ready on {aws.endpoint_url}\n")  # the line others wait for
    sys.stdout.flush()
    while not done.wait(0.5):
        if arguments.exit_with_parent and os.getppid() != parent:
            break
    aws.stop()
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    spark, timing = Spark(), Timing()
    parser = argparse.ArgumentParser(prog="local-emr", description="An AWS endpoint whose EMR steps really run.")
    add = parser.add_argument
    add("--port", type=int, default=5555, help="0 takes any free port (default: %(default)s)")
    add("--host", default=DEFAULT_HOST, help="address to listen on, by any name then (default: %(default)s)")
    add("--region", default=DEFAULT_REGION, help="for unsigned requests (default: %(default)s)")
    add("--data-dir", type=absolute_path, help="keep buckets and clusters here across restarts")
    add(
        "--access-log",
        type=absolute_path,
        help="add every AWS call to this file: caller, IAM action, resource, conditions",
    )
    add("--exit-with-parent", action="store_true", help="end when the process that started this ends")
    add(
        "--spark-python",
        type=absolute_path,
        default=spark.python,
        help="Python whose pyspark runs the steps (default: $LOCAL_EMR_SPARK_PYTHON, else this one)",
    )
    add("--jars", type=absolute_path, default=spark.jars, help="folder of hadoop-aws and its AWS SDK ($LOCAL_EMR_JARS)")
    add(
        "--java-home",
        type=absolute_path,
        default=spark.java_home,
        help="JAVA_HOME of the steps (default: $LOCAL_EMR_JAVA_HOME, else $JAVA_HOME)",
    )
    add(
        "--class-archive",
        type=absolute_path,
        default=spark.class_archive,
        help="written by `python -m local_emr.class_archive` ($LOCAL_EMR_CLASS_ARCHIVE)",
    )
    add("--yarn", action="store_true", help="run steps on a YARN with a node per core or task instance")
    add("--yarn-jars", type=absolute_path, default=spark.yarn_jars, help="of YARN's daemons ($LOCAL_EMR_YARN_JARS)")
    add("--driver-memory", default=spark.driver_memory, help="of each Spark step (default: %(default)s)")
    add(
        "--starting-seconds",
        type=float,
        default=timing.starting,
        help="how long a cluster is STARTING (default: %(default)s)",
    )
    add("--idle-scale", type=float, default=timing.idle_scale, help="factor on IdleTimeout (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
