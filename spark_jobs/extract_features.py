"""Run the network over the images of a manifest: features of those that can be used, a reject reason for the rest.

The network runs once per image: what is done is committed chunk by chunk (see `extraction.chunks`), and a job that is
started again takes up where the last one ended.
"""

import argparse
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from spark_jobs import uris
from spark_jobs.arguments import share_or_zero
from spark_jobs.datasets import check_dataset
from spark_jobs.extraction.chunks import Chunk, cut_manifest
from spark_jobs.extraction.driver import run_extraction
from spark_jobs.extraction.mobilenet import ModelArtifact
from spark_jobs.extraction.outputs import Outputs, check_reject_share
from spark_jobs.models import read_artifact
from spark_jobs.python_worker import leave_pandas_out
from spark_jobs.schemas import MANIFEST
from spark_jobs.session import run, spark_context

log = logging.getLogger("extract_features")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="extract_features", description=__doc__.splitlines()[0])
    add, uri = parser.add_argument, uris.normalize
    add("--manifest", type=uri, required=True, help="Parquet: the images to work on")
    add("--model", type=uri, required=True, help="the network: model.tflite, or the pointer JSON of export_model")
    add("--features", type=uri, required=True, help="Parquet folder to write; chunks that are there are kept")
    add("--rejects", type=uri, required=True, help="Parquet folder to write, replaced if there")
    add("--max-reject-share", type=share_or_zero, default=0.05, help="fail if more are rejected (default: %(default)s)")
    add("--total-images", type=int, help="what that is a share of, if the manifest holds only the new images of them")
    add("--progress", type=uri, help="JSON document to keep up to date while the job runs")
    return parser.parse_args(argv)


def prepare(model: str, manifest: str) -> tuple[ModelArtifact, list[Chunk]]:
    """Read the network, and cut the manifest into chunks."""
    leave_pandas_out()
    artifact = read_artifact(model)
    files = [file.uri for file in check_dataset(manifest, MANIFEST, "manifest")]
    return artifact, cut_manifest(files, artifact.metadata.model_id)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = parse(argv)
    outputs = Outputs(options.features, options.rejects)
    with ThreadPoolExecutor() as pool:  # Spark takes seconds to start
        preparing = pool.submit(prepare, options.model, options.manifest)
        context = spark_context("extract_features")
        artifact, chunks = preparing.result()
    total = sum(chunk.images for chunk in chunks)
    log.info("start images=%d model=%s", total, artifact.metadata.model_id)
    files = run_extraction(context, chunks, artifact, outputs, options.progress)
    rejects = [reject for file in files.values() for reject in file.rejects]
    stored = outputs.write_rejects(rejects)
    check_reject_share(rejects, max(total, options.total_images or total), options.max_reject_share)
    outputs.close(artifact.metadata.model_id, files, rejects, stored)


if __name__ == "__main__":
    run(main)
