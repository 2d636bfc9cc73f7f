"""The driver's side of an extraction: which chunks are left to do, the network's pass, and its figures."""

import logging
import time
import uuid
from collections.abc import Sequence

from pyspark import SparkContext

from spark_jobs.extraction import worker
from spark_jobs.extraction.chunks import Chunk, tasks
from spark_jobs.extraction.feature_file import Committed
from spark_jobs.extraction.mobilenet import ModelArtifact
from spark_jobs.extraction.outputs import Outputs
from spark_jobs.extraction.progress import Progress
from spark_jobs.session import slots, warm_up
from spark_jobs.stored import Stored

log = logging.getLogger("extract_features")


def run_extraction(
    context: SparkContext,
    chunks: Sequence[Chunk],
    artifact: ModelArtifact,
    outputs: Outputs,
    progress_uri: str | None = None,
) -> dict[str, Committed]:
    """Run the network on every image of the chunks that are not finished; return what the files of all say of themselves.

    Args:
        context: of the job.
        chunks: of the whole manifest.
        artifact: the network.
        outputs: the folders to write.
        progress_uri: of a JSON document to keep up to date.

    Raises:
        JobError: what was written is not what the manifest asks for.
    """
    broadcast = context.broadcast(artifact)
    warming = warm_up(context, lambda: worker.worker_interpreter(broadcast.value))
    model_id = artifact.metadata.model_id
    committed = outputs.committed(chunks, model_id, outputs.marked())
    outputs.open()  # not before: the marks say what a file was when it was written
    todo = [chunk for chunk in chunks if chunk.name not in committed]
    log.info("chunks=%d reused_chunks=%d", len(chunks), len(committed))
    total = sum(chunk.images for chunk in chunks)
    with Progress(context, total, total - sum(chunk.images for chunk in todo), uri=progress_uri) as progress:
        accumulators = worker.Accumulators(
            progress.images, progress.rejects, progress.cpu_seconds, progress.slot_seconds
        )
        extraction = worker.Extraction(uuid.uuid4().hex, broadcast, outputs.features, accumulators)
        started = time.monotonic()
        written: dict[str, Stored] = {}
        if grouped := tasks(todo, slots(context)):
            for of_task in context.parallelize(grouped, len(grouped)).map(extraction.run).collect():
                written |= of_task
        seconds = time.monotonic() - started
    found = outputs.proven(chunks, model_id, written)
    log.info(progress.summary(sum(len(file.rejects) for file in found.values()), seconds))
    warming.join()
    broadcast.destroy()
    return found
