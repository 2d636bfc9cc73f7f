"""What losing the cluster at 90 % costs: the share of the images that the next run extracts."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

from benchmarks import jobs
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_most
from benchmarks.measuring import Figures, alternating, median, say
from benchmarks.memory import descendants

KILLED_AT = 0.9

BOUNDS: Bounds = {
    "resume_ratio": at_most(0.12, "images that are extracted after a kill at 90 % of the pass / all images"),
}


def resume(bench: Bench) -> Figures:
    number = bench.sizes.resume
    manifest, output = bench.manifest(number), bench.folder / "resumed"

    def again() -> float:
        shutil.rmtree(output, ignore_errors=True)
        killed(jobs.extract_command(manifest, bench.model, output), output, number)
        ran = jobs.extract(manifest, bench.model, output, resume=True)
        return (number - ran.reused) / number

    return {
        "resume_images": number,
        "resume_ratio": median(alternating(bench.sizes.rounds, {"killed and resumed": again})["killed and resumed"]),
    }


def killed(command: list[str], output: Path, images: int) -> None:
    """Start an extraction, and kill all of its processes when nine tenths of its pass are over.

    When 45 % of the images are committed, half of that time is over: the pass is told by itself how fast it is, so that a
    neighbor that slows it down does not move the point at which it is killed.

    Raises:
        RuntimeError: the job ended before.
    """
    done = Committed(output)
    with jobs.start(command, 2, session=True) as process:
        began, lines = threading.Event(), []

        def follow() -> None:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if " reused_chunks=" in line:
                    began.set()

        reader = threading.Thread(target=follow, daemon=True)
        reader.start()
        try:
            while not began.wait(0.1) and process.poll() is None:
                pass
            started, half = time.monotonic(), 0.0
            while process.poll() is None and not (half and time.monotonic() - started >= 2 * half):
                if not half and done.images() >= KILLED_AT / 2 * images:
                    half = time.monotonic() - started
                time.sleep(0.1)
            ended = process.poll()
        finally:
            for pid in descendants(process.pid):
                kill(pid)
        reader.join(30)
    if ended is not None:
        raise RuntimeError(f"extract_features ended with {ended} before it was killed: {''.join(lines[-30:])}")
    say(f"killed with {done.images():,} of {images:,} images committed")


class Committed:
    """Counts the images in the files that are there; each is opened once, since the job needs the cores."""

    def __init__(self, output: Path) -> None:
        self._folder = output / "features/run=bench"
        self._rows: dict[str, int] = {}

    def images(self) -> int:
        """Return how many there are now."""
        import pyarrow.parquet as pq

        for file in self._folder.glob("part-*.parquet"):
            if file.name not in self._rows:
                self._rows[file.name] = pq.ParquetFile(file).metadata.num_rows
        return sum(self._rows.values())


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
