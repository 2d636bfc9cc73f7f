"""How a job ends: one line for what a person can act on."""

import os
import subprocess
import sys
from textwrap import indent

import pytest

from tests.conftest import PROJECT


def ended(main: str) -> subprocess.CompletedProcess[str]:
    """Run a job in a process of its own: the session here is everyone's."""
    code = (
        "from spark_jobs.errors import DamagedFileError, JobError\nfrom spark_jobs.session import run, spark_context\n"
        f"def main():\n{indent(main, '    ')}\nrun(main)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=False)


def test_an_expected_error_is_one_line_and_exit_code_1() -> None:
    result = ended(r"raise JobError('s3://b/k: not\n  found')")

    assert result.returncode == 1
    assert result.stderr == "error: s3://b/k: not found\n"


def test_an_error_that_is_a_bug_keeps_its_traceback() -> None:
    result = ended("1 / 0")

    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in result.stderr


@pytest.mark.parametrize("kind", ["JobError", "DamagedFileError"])
def test_an_expected_error_in_a_worker_is_one_line_too(kind: str) -> None:
    result = ended(
        "def fail(number):\n"
        f"    raise {kind}('the model differs')\n"
        "spark_context('test', {'spark.master': 'local[1]'}).parallelize([0]).foreach(fail)\n"
    )

    assert result.returncode == 1
    # Spark's own log lines may come later: the JVM writes them to the same stderr.
    assert "error: the model differs" in result.stderr.splitlines()


def test_defaults_yield_to_what_spark_submit_was_given() -> None:
    # In a process of its own: jobs that ran before in this one have put their settings into its session.
    probe = (
        "from spark_jobs.session import spark_context\n"
        "conf = spark_context('test', {'spark.task.maxFailures': '8', 'spark.speculation': 'true'}).getConf()\n"
        "names = ('task.maxFailures', 'speculation', 'ui.enabled')\n"
        "print(*(conf.get(f'spark.{name}') for name in names))\n"
    )
    given = "--conf spark.task.maxFailures=5"
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": f"--master local[1] {given} pyspark-shell"}
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "true", "false"]


def test_warmed_workers_are_the_ones_that_tasks_use() -> None:
    result = ended(
        "from spark_jobs.session import warm_up\n"
        "context = spark_context('warm', {'spark.master': 'local[2]'})\n"
        "def prepare():\n"
        "    import os\n"
        "    os.environ['WARM'] = 'yes'\n"
        "def look(number):\n"
        "    import os\n"
        "    return os.environ.get('WARM', 'no')\n"
        "warm_up(context, prepare).join()\n"
        "print(context.parallelize(range(2), 2).map(look).collect())"
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout == "['yes', 'yes']\n"


def test_an_only_executor_is_used_after_failures_that_have_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop and a cluster of one node have no other, and Spark would give the rest of the job none."""
    unschedulable = "spark.scheduler.excludeOnFailure.unschedulableTaskSetTimeout=1s"
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[2,8] --conf {unschedulable} pyspark-shell")
    result = ended(
        "from pyspark import TaskContext\n"
        "context = spark_context('once')\n"
        "def fail_once(number):\n"
        "    if TaskContext.get().attemptNumber() == 0:\n"
        "        raise OSError('no answer for a moment')\n"
        "    return number\n"
        "print(context.parallelize(range(3), 3).map(fail_once).sum(), context.parallelize(range(3), 3).sum())"
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout == "3 3\n"
