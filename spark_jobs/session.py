"""Job life cycle: context, error reporting, exit code."""

import errno
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pickle import PicklingError
from typing import NoReturn

from py4j.protocol import Py4JJavaError
from pyspark import InheritableThread, SparkConf, SparkContext
from pyspark.errors import PySparkException

from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.python_worker import lighten

# Applied unless spark-submit was given other values.
DEFAULTS = {
    "spark.ui.enabled": "false",  # a web server that nobody opens on a cluster without ports; event logs are kept without it
    # A node that fails its tasks (no credentials, a full disk) gets none any more; the other attempts run elsewhere. Two on
    # one executor, as a one-node cluster has no elsewhere; three on one node, as an image that takes its container along fails
    # the tasks beside it, too; eight tasks, as images that end their worker fail some. So two bad nodes do not end the job.
    "spark.task.maxFailures": "8",
    "spark.excludeOnFailure.enabled": "true",
    "spark.excludeOnFailure.task.maxTaskAttemptsPerExecutor": "2",
    "spark.excludeOnFailure.task.maxTaskAttemptsPerNode": "3",
    "spark.excludeOnFailure.stage.maxFailedTasksPerExecutor": "8",
    # The same for the whole job: after two failures that have passed Spark would give up a one-node cluster's only executor.
    "spark.excludeOnFailure.application.maxFailedTasksPerExecutor": "8",
}

EXPECTED = f"{JobError.__name__}|{DamagedFileError.__name__}"

DISK_FULL = (
    "the disk of a node is full: choose larger volumes (EbsConfiguration of the instances in job_flow_overrides) or more nodes, and "
    "run the step again; finished chunks are kept"
)


def spark_context(name: str, settings: dict[str, str] | None = None) -> SparkContext:
    """Return the context of this process, made on first use; the jobs need no session: its SQL alone takes seconds to start.

    Args:
        name: what Spark's pages and logs call the job.
        settings: more defaults, on top of `DEFAULTS`; whatever spark-submit was given wins.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # otherwise the workers take the python3 of the PATH
    SparkContext._ensure_initialized()  # noqa: SLF001 - without the JVM, SparkConf knows nothing of spark-submit's --conf
    conf = SparkConf()
    for key, value in {**DEFAULTS, **(settings or {})}.items():
        conf.setIfMissing(key, value)
    conf.set("spark.ui.showConsoleProgress", "false")  # set by spark-submit itself; the jobs report their own progress
    conf.setIfMissing("spark.app.name", name)
    conf.setIfMissing("spark.master", "local[*]")
    context = SparkContext.getOrCreate(conf)
    context.setLogLevel("WARN")
    return context


def slots(context: SparkContext) -> int:
    """Return how many tasks can be at work at once, with the executors that were asked for and have not registered yet."""
    conf = context.getConf()
    executors = int(conf.get("spark.dynamicAllocation.minExecutors", "0"))
    return max(context.defaultParallelism, executors * int(conf.get("spark.executor.cores", "1")))


def warm_up(context: SparkContext, prepare: Callable[[], object]) -> threading.Thread:
    """Start a Python worker on every core while the driver still prepares its first tasks; saves 1.5 s of a small run.

    Best effort: a worker that is missed starts with its first task, and one that fails here fails again there.

    Args:
        context: of the job.
        prepare: called in each worker, to import and build what its tasks will need.
    """

    def prepare_one(_: int) -> None:
        lighten()
        prepare()

    def start() -> None:
        with suppress(Exception):
            cores = context.defaultParallelism
            context.parallelize(range(cores), cores).foreach(prepare_one)

    thread = InheritableThread(target=start, daemon=True)
    thread.start()
    return thread


def run(main: Callable[[], None]) -> None:
    """Run `main` as a script: log INFO to stderr; report a `JobError` or a full disk as one line there and exit with code 1.

    The context ends with the process; pyspark's `stop()` would wait half a second for its accumulator server.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("py4j", "botocore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        main()
    except JobError as error:
        _fail(str(error))
    except (Py4JJavaError, PySparkException, OSError, PicklingError) as error:
        # A worker's exception arrives as the text of its traceback within a Java exception, a broadcast's as a PicklingError.
        found = re.search(rf"^\S*\b(?:{EXPECTED}): (.+)$", str(error), re.MULTILINE)
        if not found and os.strerror(errno.ENOSPC) in str(error):
            _fail(DISK_FULL)
        if not found:
            raise
        _fail(found[1])


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
