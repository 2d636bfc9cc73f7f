"""`python -m local_aws`: the endpoint as a program of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from local_aws.server import DEFAULT_REGION, LocalAws
from local_aws.settings import Spark, Timing


def main() -> int:
    """Serves until SIGTERM, SIGINT, or the parent's end."""
    arguments = parser().parse_args()
    done = threading.Event()

    def finish(number: int, frame: FrameType | None) -> None:
        done.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, finish)
    defaults = Timing()
    timing = Timing(
        starting=arguments.starting_seconds if arguments.starting_seconds is not None else defaults.starting,
        idle_scale=arguments.idle_scale,
    )
    spark = Spark(
        python=arguments.spark_python,
        jars=arguments.jars,
        java_home=arguments.java_home or Spark().java_home,
        driver_memory=arguments.driver_memory,
    )
    parent = os.getppid()
    try:
        spark.home  # noqa: B018 - better now than in the first step
    except FileNotFoundError as error:
        print(f"local_aws: {error}", file=sys.stderr)  # noqa: T201
        return 1
    try:
        aws = LocalAws(
            arguments.port,
            host=arguments.host,
            region=arguments.region,
            timing=timing,
            spark=spark,
            data_dir=arguments.data_dir,
        )
        aws.start()
    except OSError as error:
        print(f"local_aws: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"local_aws ready on {aws.endpoint_url}", flush=True)  # noqa: T201 - the line others wait for
    while not done.wait(0.5):
        if arguments.exit_with_parent and os.getppid() != parent:
            break
    aws.stop()
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m local_aws", description=__doc__)
    made.add_argument("--port", type=int, default=5555, help="0 takes any free port (default: %(default)s)")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--region", default=DEFAULT_REGION, help="for unsigned requests (default: %(default)s)")
    made.add_argument("--data-dir", type=Path, help="keep buckets and clusters here across restarts")
    made.add_argument("--exit-with-parent", action="store_true", help="end when the process that started this ends")
    made.add_argument("--spark-python", type=Path, default=Spark.python, help="Python with pyspark that runs the steps")
    made.add_argument("--jars", type=Path, default=Spark.jars, help="folder of hadoop-aws and its AWS SDK")
    made.add_argument("--java-home", type=Path, help="JAVA_HOME of the steps")
    made.add_argument("--driver-memory", default=Spark.driver_memory, help="of each Spark step (default: %(default)s)")
    made.add_argument("--starting-seconds", type=float, help="how long a cluster is STARTING")
    made.add_argument("--idle-scale", type=float, default=1.0, help="factor on IdleTimeout (default: %(default)s)")
    return made


if __name__ == "__main__":
    sys.exit(main())
