"""Reduce image features to the few principal components that hold most of their variance.

Standardizes the features of one network for the images in the inventory and finds their components, or takes those of an
earlier run (--pca-model). Writes below --output:

    pca/          Parquet: path, label, features_pca
    model/        the fitted Spark ML PipelineModel, described in model.json
    report.json   counts, variance, timings, versions
    report.html   the same for people, and its charts as *.png
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

# Read when numpy is imported. Its threads spin while they wait for one another: where anything else is at work, as Spark and
# matplotlib are here, two take three times the processor time of one to find the components, and three times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from spark_jobs.models import model_id_of
from spark_jobs.python_worker import leave_pandas_out
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import Scan, scan
from spark_jobs.reduction.inputs import Inputs
from spark_jobs.reduction.options import parse
from spark_jobs.reduction.results import Results
from spark_jobs.reduction.selection import select
from spark_jobs.report.background import Background
from spark_jobs.report.content import SAMPLE_ROWS
from spark_jobs.report.report import Report, import_renderers
from spark_jobs.schemas import FEATURE_COUNT
from spark_jobs.session import run, spark_context, warm_up
from spark_jobs.timings import Timings

log = logging.getLogger("reduce_dimensions")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options, timings = parse(argv, __doc__), Timings(log)
    leave_pandas_out()
    with ThreadPoolExecutor() as pool:
        with timings("start"):
            pool.submit(import_renderers)
            reading = pool.submit(Background.read, options.previous, options.extraction, options.usd_per_hour)
            naming = pool.submit(lambda: options.model and model_id_of(options.model))
            finding = pool.submit(Inputs.find, options.features, options.inventory, options.rejects, pool)
            context = spark_context("reduce_dimensions")
            warm_up(context, partial(Scan.empty, 1))  # unpickling it imports all that tasks need
            inputs = finding.result()
        with timings("select"):
            chosen = select(context, inputs, naming.result())
        with timings("moments"):
            found = scan(context, chosen.features, FEATURE_COUNT, SAMPLE_ROWS)
            moments = found.moments.require_valid()
        with timings("components"):
            if options.pca_model:
                model = pca_model.load(options.pca_model, chosen.model_id)
            else:
                model = pca_model.fit_model(moments, chosen.model_id, options.run, **options.target)
        results = Results(options.output)  # model, vectors and report depend on nothing of one another
        saving = pool.submit(timings.call, "save", results.save_model, model)
        writing = pool.submit(timings.call, "project", results.save_vectors, context, chosen.features, model)
        with timings("report"):
            report = Report.build(options.run, chosen.summary, moments, model, options.target, found.sample)
        written = {"pca": writing.result(), "model": saving.result()}
    compared = reading.result().compared(report.content, moments)
    page = report.save(options.output, timings.seconds, results.sizes(chosen.features, written), compared, written)
    log.info("%d images in %d components: %s", moments.count, model.pca.n_components, page)


if __name__ == "__main__":
    run(main)
