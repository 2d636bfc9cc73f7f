"""Reduce image features to the few principal components that hold most of their variance.

Reads the features of one network for the images in the inventory, each once; standardizes them and finds the components
(or takes an earlier model, with --model); writes below --output:

    pca/          Parquet: path, label, features_pca
    model/        the fitted Spark ML PipelineModel, described in model.json
    report.json   counts, variance, timings, versions
    report.html   the same for people
"""

import argparse
import logging
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyspark
from pyspark.sql import DataFrame

from spark_jobs import fitted_model, storage
from spark_jobs.fitted_model import FittedModel
from spark_jobs.moments import Moments, feature_moments
from spark_jobs.pca import Fit, explained_share, fit, project
from spark_jobs.schemas import FEATURE_COUNT, FEATURES, INVENTORY, REJECTS, read_dataset
from spark_jobs.selection import Coverage, counting, coverage, network_of
from spark_jobs.sessions import JobError, run, spark_session

log = logging.getLogger("reduce_dimensions")

# 2,048 rows of features are 10 MB: what a Python worker holds at once, whatever a file holds.
SETTINGS = {"spark.sql.execution.arrow.maxRecordsPerBatch": "2048"}
FILE_BYTES = 128 * 2**20


@dataclass
class Phases:
    """How long each phase of the job took.

    Attributes:
        seconds: by phase, in order.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the body as the phase `name`, and log its end."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        log.info("%s: %.1f s", name, self.seconds[name])


def main() -> None:
    """Run the job as the command line says."""
    arguments = parse()
    phases = Phases()

    with phases("start"):
        spark = spark_session("reduce_dimensions", SETTINGS)
    with phases("select"):
        stored = read_dataset(spark, storage.normalize(arguments.features), FEATURES, "features")
        inventory = read_dataset(spark, storage.normalize(arguments.inventory), INVENTORY, "inventory")
        rejects = None
        if arguments.rejects:
            rejects = read_dataset(spark, storage.normalize(arguments.rejects), REJECTS, "rejects")
        model_id = network_of(stored, network(arguments.network))
        features = stored.where(stored.model_id == model_id)
        images = coverage(inventory, features, rejects)
        features = counting(features, inventory)
    with phases("moments"):
        moments = checked(feature_moments(features, FEATURE_COUNT))
    output = storage.normalize(arguments.output)
    model_uri = storage.join(output, "model")
    with phases("components"):
        if arguments.model:
            fitted = kept_model(arguments.model, model_id)
        else:
            fitted = new_model(fit(moments, arguments.variance, arguments.components), model_id, moments, arguments.run)
    with phases("save"):
        fitted_model.save(spark, fitted, model_uri)
    with phases("project"):
        write_vectors(project(features, fitted.pca), moments.count, fitted.pca.size, storage.join(output, "pca"))

    report = summary(arguments, images, moments, fitted, phases)
    storage.write_json(storage.join(output, "report.json"), report)
    log.info("%d images, %d components: %s", moments.count, fitted.pca.size, output)


def parse() -> argparse.Namespace:
    """Read the command line."""
    description, _, layout = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=layout, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inventory", required=True, metavar="URI", help="Parquet: the images that count")
    parser.add_argument(
        "--features", required=True, metavar="URI", help="Parquet: a folder, or the root of run=… folders"
    )
    parser.add_argument("--rejects", metavar="URI", help="Parquet: likewise, to say why images have no features")
    parser.add_argument("--network", metavar="URI|ID", help="pointer JSON, or model_id; default: the only one there is")
    parser.add_argument("--output", required=True, metavar="URI", help="folder to write to")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--variance", type=share, default=0.8, help="share of variance to reach (default: %(default)s)")
    size.add_argument("--components", type=positive, metavar="K", help="a fixed number of components instead")
    parser.add_argument("--model", metavar="URI", help="project onto this earlier model; --variance does not apply")
    parser.add_argument("--run", default="", help="name of this run, for the report")
    return parser.parse_args()


def share(text: str) -> float:
    """Parse a share of variance.

    Raises:
        argparse.ArgumentTypeError: not in (0, 1].
    """
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in (0, 1]")
    return value


def positive(text: str) -> int:
    """Parse a positive number.

    Raises:
        argparse.ArgumentTypeError: less than 1.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def network(asked: str | None) -> str | None:
    """Return the model_id that `--network` names, directly or through a pointer JSON."""
    if asked is None or not asked.endswith(".json"):
        return asked
    pointer = storage.read_json(asked)
    if not isinstance(pointer, dict) or not isinstance(pointer.get("model_id"), str):
        raise JobError(f"{asked}: no model_id in it")
    return pointer["model_id"]


def checked(moments: Moments) -> Moments:
    """Return `moments` unless a feature was NaN or infinite.

    Raises:
        JobError: some were; names the images.
    """
    if moments.unusable:
        raise JobError(
            f"NaN, infinite or missing features in {moments.unusable} of {moments.count + moments.unusable} images: "
            + ", ".join(moments.unusable_paths)
        )
    return moments


def new_model(found: Fit, model_id: str, moments: Moments, run_name: str) -> FittedModel:
    """Return a fit with its origin."""
    return FittedModel(found.pca, model_id, moments.count, found.curve.tolist(), run_name)


def kept_model(uri: str, model_id: str) -> FittedModel:
    """Load an earlier model.

    Raises:
        JobError: it was fitted on the features of another network.
    """
    fitted = fitted_model.load(storage.normalize(uri))
    if fitted.model_id != model_id:
        raise JobError(f"model {uri} was fitted on features of {fitted.model_id}, these are of {model_id}")
    return fitted


def write_vectors(vectors: DataFrame, rows: int, components: int, uri: str) -> None:
    """Write Parquet in files of about `FILE_BYTES`, in order of path within each."""
    files = max(1, math.ceil(rows * components * 4 / FILE_BYTES))
    spread = vectors.repartition(1) if files == 1 else vectors.repartition(files, "path")
    spread.sortWithinPartitions("path").write.mode("overwrite").parquet(uri)


def summary(
    arguments: argparse.Namespace, images: Coverage, moments: Moments, fitted: FittedModel, phases: Phases
) -> dict[str, Any]:
    """Return the content of report.json."""
    rejected = images.rejects_by_reason
    return {
        "run": arguments.run,
        "model_id": fitted.model_id,
        "images": moments.count + sum(rejected.values()),
        "features": moments.count,
        "rejects": sum(rejected.values()),
        "rejects_by_reason": rejected,
        "components": fitted.pca.size,
        "explained_variance": explained_share(moments, fitted.pca),
        "variance_curve": fitted.curve,
        "timings": phases.seconds,
        "versions": {
            "spark": pyspark.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


if __name__ == "__main__":
    run(main)
