"""The bare engine: decode + LiteRT in a loop, a process for each core, nothing else. What every job is held against.

python -m benchmarks.bare MODEL FILE_WITH_PATHS: works and prints the seconds of its loop.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.jobs import pin, spark_environment
from benchmarks.samples import PROJECT
from spark_jobs.extraction.images import decode
from spark_jobs.extraction.mobilenet import INPUT_SIZE, Interpreter
from spark_jobs.models import read_artifact


@dataclass(frozen=True)
class Bare:
    """Seconds of the slowest loop, and of the processes from start to end, imports and model included."""

    loop_seconds: float
    seconds: float


def bare(images: Sequence[Path], model: Path, cores: int = 2) -> Bare:
    """Run the loop over `images` on `cores` cores."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        workers = []
        for core in range(cores):
            paths = Path(folder, str(core))
            paths.write_text("\n".join(map(str, images[core::cores])))
            command = [sys.executable, "-m", "benchmarks.bare", str(model), str(paths)]
            worker = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=spark_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                preexec_fn=lambda: pin(cores),  # noqa: PLW1509 - no threads here
            )
            workers.append(worker)
        loops = [float(worker.communicate()[0]) for worker in workers]
        return Bare(max(loops), time.monotonic() - started)


def main() -> None:
    network = Interpreter(read_artifact(sys.argv[1]))
    paths = Path(sys.argv[2]).read_text().splitlines()
    started = time.monotonic()
    for path in paths:
        network.features(decode(Path(path).read_bytes(), INPUT_SIZE).pixels)
    print(time.monotonic() - started)


if __name__ == "__main__":
    main()
