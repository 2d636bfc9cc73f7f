"""From stored features to a fitted model, and from there to vectors, against Spark ML doing the same.

python -m benchmarks.pca                  20,000 rows against Spark ML
python -m benchmarks.pca --scale 200000   one line of the table of sizes, with the driver's memory
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import SparkContext
from pyspark.ml import PipelineModel
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from benchmarks.jobs import conf, spark_environment
from spark_jobs.datasets import feature_files
from spark_jobs.reduction import distributed
from spark_jobs.reduction.distributed import project, scan
from spark_jobs.reduction.feature_rows import Features
from spark_jobs.reduction.pca import Fit, fit
from spark_jobs.schemas import FEATURE_COUNT, FEATURES
from spark_jobs.session import slots, spark_context

ROWS = 20_000
VARIANCE = 0.8
ROWS_PER_FILE = 10_000


def measure(folder: Path, rows: int = ROWS) -> dict[str, float]:
    """Return seconds of both, and how many times faster this project is: `pca_ratio` and `project_ratio`."""
    stored, warm = f"file://{folder}/features", f"file://{folder}/warm"
    write_features(folder / "features", rows)
    write_features(folder / "warm", 400)
    os.environ |= spark_environment()
    context = spark_context("benchmark", {"spark.master": "local[2]"})
    spark = SparkSession.builder.getOrCreate()  # what Spark ML needs

    # Both meet a JVM that has compiled their code and workers that have imported theirs.
    ours_into(context, warm, ours_fit(context, warm), folder / "ours")
    theirs_into(spark, warm, theirs_fit(spark, warm)[0], folder / "theirs")

    found, fit_seconds = median_of(3, lambda: ours_fit(context, stored))
    (model, components), their_fit_seconds = median_of(1, lambda: theirs_fit(spark, stored))
    assert components == found.pca.n_components, (components, found.pca.n_components)

    # Alternately: what warms one up further, or a machine busy with something else, must not favor the other.
    projected: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(7):
        projected["ours"].append(median_of(1, lambda: ours_into(context, stored, found, folder / "ours"))[1])
        projected["theirs"].append(median_of(1, lambda: theirs_into(spark, stored, model, folder / "theirs"))[1])
    project_seconds, their_project_seconds = (statistics.median(seconds[2:]) for seconds in projected.values())
    spark.stop()
    return {
        "pca_rows": rows,
        "pca_components": components,
        "pca_seconds": round(fit_seconds, 2),
        "pca_spark_ml_seconds": round(their_fit_seconds, 2),
        "pca_ratio": round(their_fit_seconds / fit_seconds, 2),
        "project_seconds": round(project_seconds, 2),
        "project_spark_ml_seconds": round(their_project_seconds, 2),
        "project_ratio": round(their_project_seconds / project_seconds, 2),
    }


def ours_fit(context: SparkContext, uri: str) -> Fit:
    return fit(scan(context, Features(feature_files(uri)), FEATURE_COUNT).moments, VARIANCE)


def theirs_fit(spark: SparkSession, uri: str) -> tuple[PipelineModel, int]:
    """StandardScaler, PCA with all components to find how many are needed, PCA with as many: the original notebook."""
    features = as_vectors(spark, uri)
    scaler = StandardScaler(inputCol="vector", outputCol="scaled", withMean=True, withStd=True).fit(features)
    scaled = scaler.transform(features)
    everything = PCA(k=FEATURE_COUNT, inputCol="scaled", outputCol="features_pca").fit(scaled)
    components = int(np.searchsorted(np.cumsum(everything.explainedVariance.toArray()), VARIANCE)) + 1
    return PipelineModel(
        [scaler, PCA(k=components, inputCol="scaled", outputCol="features_pca").fit(scaled)]
    ), components


def ours_into(context: SparkContext, uri: str, found: Fit, output: Path) -> None:
    project(context, Features(feature_files(uri)), found.pca, f"file://{output}")


def theirs_into(spark: SparkSession, uri: str, model: PipelineModel, output: Path) -> None:
    vectors = model.transform(as_vectors(spark, uri))
    written = vectors.select("path", "label", vector_to_array(F.col("features_pca"), "float32").alias("features_pca"))
    written.write.mode("overwrite").parquet(str(output))


def as_vectors(spark: SparkSession, uri: str) -> DataFrame:
    return spark.read.parquet(uri).withColumn("vector", array_to_vector(F.col("features")))


def median_of(times: int, call: Callable[[], Any]) -> tuple[Any, float]:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def write_features(folder: Path, rows: int) -> None:
    """Write `rows` x 1280 features with the spectrum of a network's: a few strong directions, zeros where it is silent."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    strength = np.geomspace(1.0, 0.05, 40, dtype=np.float32)[:, np.newaxis]
    directions = generator.normal(size=(40, FEATURE_COUNT)).astype(np.float32) * strength
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        count = min(ROWS_PER_FILE, rows - start)
        signal = generator.normal(size=(count, 40)).astype(np.float32) @ directions
        noise = generator.normal(scale=0.3, size=(count, FEATURE_COUNT)).astype(np.float32)
        values = np.maximum(signal + noise, 0).ravel()
        offsets = np.arange(0, count * FEATURE_COUNT + 1, FEATURE_COUNT, dtype=np.int32)
        numbers = range(start, start + count)
        columns = {
            "path": [f"s3://fruits/images/Variety {number % 131:03}/{number}.jpg" for number in numbers],
            "label": [f"Variety {number % 131:03}" for number in numbers],
            "etag": [f"{number:032x}" for number in numbers],
            "size": [4000] * count,
            "model_id": ["network"] * count,
            "width": [100] * count,
            "height": [100] * count,
            "features": pa.ListArray.from_arrays(offsets, values),
        }
        table = pa.table([pa.array(columns[field.name], field.type) for field in FEATURES], schema=FEATURES)
        pq.write_table(table, folder / f"part-{number:05}.parquet", compression="zstd", row_group_size=2500)


def scale(rows: int) -> dict[str, float]:
    """Return how long a fit takes on a cluster whose executors are processes of their own, and what it costs its driver."""
    with tempfile.TemporaryDirectory() as folder:
        write_features(Path(folder) / "features", rows)
        environment = spark_environment()
        settings = {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.executorEnv.PYTHONPATH": environment["PYTHONPATH"],
        }
        submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local-cluster[2,1,1024]"]
        submit += ["--driver-memory", "512m", *conf(settings), __file__, "--driver", f"{folder}/features"]
        done = subprocess.run(submit, env=environment, check=True, capture_output=True, text=True, cwd=folder)
    return {"rows": rows, **json.loads(done.stdout.strip().splitlines()[-1])}


def drive(uri: str) -> dict[str, float]:
    """Fit once cold and once warm in this driver; return times and memory."""
    context = spark_context("benchmark")
    features = Features(feature_files(uri))
    _, cold = median_of(1, lambda: ours_fit(context, uri))
    _, warm = median_of(3, lambda: ours_fit(context, uri))
    shuffled, tasks = shuffle_written(context, features)
    jvm: Any = context._jvm  # noqa: SLF001 - for the JVM's own process id
    status = Path(f"/proc/{jvm.java.lang.ProcessHandle.current().pid()}/status").read_text()
    java_peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
    return {
        "tasks": len(features.tasks(slots(context), distributed.LEAST_ROWS, distributed.MOST_ROWS)),
        "first_seconds": round(cold, 2),
        "seconds": round(warm, 2),
        "microseconds_per_row": round(1e6 * warm / features.rows, 1),
        "driver_python_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "driver_java_mb": round(java_peak / 1024),
        "shuffled_tasks": tasks,
        "shuffle_mb_per_task": round(shuffled / tasks / 1e6, 2),
    }


def shuffle_written(context: SparkContext, features: Features) -> tuple[int, int]:
    """Return the bytes that a pass of many tasks shuffles, and how many tasks there were."""
    few = 1024  # rows
    before = _stages(context)
    with unittest.mock.patch.multiple(distributed, LEAST_ROWS=few, MOST_ROWS=few):
        scan(context, features, FEATURE_COUNT)
    written = sum(size for stage, size in _stages(context).items() if stage not in before)
    return written, len(features.tasks(1, few, few))


def _stages(context: Any) -> dict[int, int]:
    """Shuffle bytes written by stage, from what Spark's own pages show; Python has no public way to it."""
    jvm, gateway = context._jvm, context._gateway  # noqa: SLF001
    quantiles = gateway.new_array(jvm.double, 0)
    store = context._jsc.sc().statusStore()  # noqa: SLF001
    stages = store.stageList(None, False, False, quantiles, jvm.java.util.ArrayList())
    return {stages.apply(number).stageId(): stages.apply(number).shuffleWriteBytes() for number in range(stages.size())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, metavar="ROWS")
    parser.add_argument("--driver", metavar="URI", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.driver:
        found = drive(arguments.driver)
    elif arguments.scale:
        found = scale(arguments.scale)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
