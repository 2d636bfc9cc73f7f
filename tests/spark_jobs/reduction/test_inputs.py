import subprocess
import sys

from pyspark.sql import SparkSession

from spark_jobs.reduction.inputs import KEYS_PER_TASK, set_shuffle_tasks
from tests.conftest import PROJECT

SETTING = "spark.sql.shuffle.partitions"


def test_a_shuffle_of_keys_has_as_many_tasks_as_it_needs() -> None:
    # In a process of its own: the session of all tests was given a number.
    code = (
        "from spark_jobs.session import spark_session\n"
        "from spark_jobs.reduction.inputs import set_shuffle_tasks\n"
        "spark = spark_session('test', {'spark.master': 'local[1]', 'spark.ui.enabled': 'false'})\n"
        f"for images in (0, 1, {KEYS_PER_TASK}, {KEYS_PER_TASK} + 1, 100_000_000):\n"
        f"    set_shuffle_tasks(spark, images)\n    print(spark.conf.get('{SETTING}'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "1", "2", "2000"]


def test_the_number_that_spark_submit_was_given_stays(spark: SparkSession) -> None:
    given = spark.conf.get(SETTING)

    set_shuffle_tasks(spark, 10 * KEYS_PER_TASK)

    assert spark.conf.get(SETTING) == given == "4"
