"""Reduce image features to the few principal components that hold most of their variance.

Reads the features of one network for the images in the inventory, each once; standardizes them and finds the components
(or takes an earlier model, with --model); writes below --output:

    pca/          Parquet: path, label, features_pca
    model/        the fitted Spark ML PipelineModel, described in model.json
    report.json   counts, variance, timings, versions
    report.html   the same for people, and its drawings as *.png
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

from pyspark.sql import DataFrame

from spark_jobs import fitted_model, storage
from spark_jobs.fitted_model import FittedModel
from spark_jobs.moments import Moments, feature_moments
from spark_jobs.pca import fit, project
from spark_jobs.schemas import FEATURE_COUNT, FEATURES, INVENTORY, REJECTS, check_files, read_files
from spark_jobs.selection import counting, coverage, network_of, sample
from spark_jobs.sessions import JobError, run, spark_session, warm_up

log = logging.getLogger("reduce_dimensions")

# 2,048 rows of features are 10 MB: what a Python worker holds at once, whatever a file holds.
SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
FILE_BYTES = 128 * 2**20


@dataclass
class Phases:
    """How long each phase of the job took; the last ones overlap.

    Attributes:
        seconds: by phase, in order.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the body, or every call of a function so decorated, as the phase `name`, and log its end."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        log.info("%s: %.1f s", name, self.seconds[name])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job as the command line says."""
    arguments = parse(argv)
    phases = Phases()
    output = storage.normalize(arguments.output)
    datasets = {
        "features": (storage.normalize(arguments.features), FEATURES),
        "inventory": (storage.normalize(arguments.inventory), INVENTORY),
    }
    if arguments.rejects:
        datasets["rejects"] = storage.normalize(arguments.rejects), REJECTS

    with ThreadPoolExecutor() as meanwhile:
        with phases("start"):
            checks = [meanwhile.submit(check_files, *dataset, name) for name, dataset in datasets.items()]
            drawing = meanwhile.submit(import_module, "spark_jobs.report")  # matplotlib takes half a second
            asked_network = network(arguments.network)
            spark = spark_session("reduce_dimensions", SETTINGS)
            for check in checks:
                check.result()
            warm_up(spark.sparkContext, partial(Moments.none, 1))  # with numpy and Arrow imported
        with phases("select"):
            frames = {name: read_files(spark, *dataset) for name, dataset in datasets.items()}
            stored, inventory = frames["features"], frames["inventory"]
            model_id = asked_network or network_of(stored, None)
            of_network = stored.where(stored.model_id == model_id)
            covering = meanwhile.submit(coverage, inventory, of_network, frames.get("rejects"))
            features = counting(of_network, inventory)
            images = covering.result()
            if not images.features:
                network_of(stored, asked_network)  # raises if this is why
        with phases("moments"):
            moments = checked(feature_moments(features, FEATURE_COUNT))
        with phases("components"):
            fitted = (
                kept_model(arguments.model, model_id) if arguments.model else new_model(moments, model_id, arguments)
            )

        # The rest is independent of one another, and mostly waiting for Spark.
        save, write = phases("save")(fitted_model.save), phases("project")(write_vectors)
        saving = meanwhile.submit(save, spark, fitted, storage.join(output, "model"))
        vectors = project(features, fitted.pca)
        writing = meanwhile.submit(write, vectors, moments.count, fitted.pca.size, storage.join(output, "pca"))
        with phases("report"):
            report = drawing.result()
            rows = sample(features, moments.count, report.SAMPLE_ROWS).select("path", "label", "features").toPandas()
            some = report.Sample.of(rows)
            content = report.content(arguments.run, images, moments, fitted, asked(arguments), some)
            svgs, pngs = report.drawings(content, some, fitted.pca)
        saving.result(), writing.result()

    content |= {"timings": phases.seconds, "sizes": sizes(arguments.features, output)}
    for name, image in pngs.items():
        storage.write_bytes(storage.join(output, f"{name}.png"), image)
    page = report.html(content, some, svgs, pngs.get("each_label"))
    storage.write_bytes(storage.join(output, "report.html"), page.encode())
    storage.write_json(storage.join(output, "report.json"), content)
    log.info("%d images in %d components: %s", moments.count, fitted.pca.size, storage.join(output, "report.html"))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
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
    return parser.parse_args(argv)


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
    """Return `moments` unless there were no features, or some that no model can use.

    Raises:
        JobError: says so; names some of the images.
    """
    if moments.unusable:
        images = f"{moments.unusable} of {moments.count + moments.unusable} images"
        examples = ", ".join(moments.unusable_paths)
        raise JobError(f"NaN, infinite, missing or not {FEATURE_COUNT} features in {images}: {examples}")
    if not moments.count:
        raise JobError("no image in the inventory has features: the stored ones are of other images or older versions")
    return moments


def asked(arguments: argparse.Namespace) -> dict[str, float]:
    """Return what decides on the number of components: a share of variance, a number, or neither with `--model`."""
    if arguments.model:
        return {}
    if arguments.components:
        return {"components": arguments.components}
    return {"variance": arguments.variance}


def new_model(moments: Moments, model_id: str, arguments: argparse.Namespace) -> FittedModel:
    """Fit a model."""
    found = fit(moments, arguments.variance, arguments.components)
    return FittedModel(found.pca, model_id, moments.count, found.curve.tolist(), arguments.run)


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


def sizes(features: str, output: str) -> dict[str, int]:
    """Return how large the input and what was written are, in bytes and files."""
    vectors, path = storage.filesystem(storage.join(output, "pca"))
    files = [size for name, size in vectors.du(path, total=False).items() if name.endswith(".parquet")]
    stored, features_path = storage.filesystem(features)
    model, model_path = storage.filesystem(storage.join(output, "model"))
    return {
        "features_bytes": stored.du(features_path),
        "pca_bytes": sum(files),
        "pca_files": len(files),
        "model_bytes": model.du(model_path),
    }


if __name__ == "__main__":
    run(main)
