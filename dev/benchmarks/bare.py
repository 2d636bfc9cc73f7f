"""The bare engine: decode + LiteRT in a loop, a process for each core, nothing else. What every job is held against.

python -m benchmarks.bare MODEL MANIFEST CORE CORES: works on its share of the images and prints the times of its loop.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.jobs import Ran, pin, spark_environment
from benchmarks.samples import PROJECT


def bare(manifest: Path, model: Path, cores: int = 2, environment: dict[str, str] | None = None) -> Ran:
    """Run the loop over the images of a manifest on `cores` cores; return its times, without all that is before a second image.

    Wall time is that of the slowest process, processor time that of all.

    Args:
        manifest: folder of Parquet.
        model: the pointer.
        cores: as many processes share the images.
        environment: variables beside this process's own.

    Raises:
        RuntimeError: a loop failed; with what it printed.
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare", str(model), str(manifest), str(core), str(cores)],
            cwd=PROJECT,
            env=spark_environment() | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: pin(cores),  # noqa: PLW1509 - no threads here
        )
        for core in range(cores)
    ]
    outputs = [worker.communicate() for worker in workers]
    if any(worker.returncode for worker in workers):
        raise RuntimeError(f"the bare loop failed: {''.join(errors for _, errors in outputs)[-3000:]}")
    loops = [json.loads(output) for output, _ in outputs]
    seconds = max(seconds for seconds, _ in loops)
    return Ran(seconds, seconds, seconds, sum(cpu for _, cpu in loops))


def contents(manifest: str, core: int, cores: int) -> Iterator[bytes]:
    """Yield this core's images: files one after another, S3's objects by the client of the job, ahead as in the job."""
    import pyarrow.parquet as pq

    from spark_jobs.extraction.reading import ManifestRow, read_ahead

    columns = ["path", "label", "etag", "size"]
    rows = [ManifestRow(**row) for row in pq.read_table(manifest, columns=columns).to_pylist()[core::cores]]
    if rows and rows[0].path.startswith("s3://"):
        for row, content in read_ahead(rows):
            assert isinstance(content, bytes), (row, content)
            yield content
    else:
        for row in rows:
            yield Path(row.path.removeprefix("file://")).read_bytes()


def main() -> None:
    from spark_jobs.extraction.images import decode
    from spark_jobs.extraction.mobilenet import INPUT_SIZE, Interpreter
    from spark_jobs.models import read_artifact

    model, manifest, core, cores = sys.argv[1:]
    network = Interpreter(read_artifact(model))
    images = contents(manifest, int(core), int(cores))
    # What only the first one costs is no additional image's cost.
    network.features(decode(next(images), INPUT_SIZE).pixels)
    started, cpu = time.monotonic(), time.process_time()
    for content in images:
        network.features(decode(content, INPUT_SIZE).pixels)
    print(json.dumps([time.monotonic() - started, time.process_time() - cpu]))


if __name__ == "__main__":
    main()
