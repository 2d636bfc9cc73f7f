"""What losing the cluster at 90 % costs: the share of the images that the next run extracts, and what of it was committed."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import jobs
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_most, shown
from benchmarks.measuring import Figures, alternating, median, say
from benchmarks.memory import descendants

KILLED_AT = 0.9

BOUNDS: Bounds = {
    "resume_ratio": at_most(0.12, "images that are extracted after a kill with 90 % of them committed / all images"),
    "resume_lost": at_most(0.02, "what of that had been committed, in the worst round"),
    "resume_killed_at": shown("images that were committed when all was dead / all images"),
}


def resume(bench: Bench) -> Figures:
    number = bench.sizes.resume
    manifest, output = bench.manifest(number), bench.folder / "resumed"

    def again() -> tuple[int, int]:
        shutil.rmtree(output, ignore_errors=True)
        committed = killed(jobs.extract_command(manifest, bench.model, output), output, number)
        ran = jobs.extract(manifest, bench.model, output, resume=True)
        return committed, number - ran.reused

    rounds = alternating(bench.sizes.rounds, {"killed and resumed": again})["killed and resumed"]
    return figures(rounds, number)


def figures(rounds: Sequence[tuple[int, int]], images: int) -> Figures:
    """Return the figures of rounds: how many images were committed at the kill, and how many were extracted after it."""
    return {
        "resume_images": images,
        "resume_ratio": median(extracted / images for _, extracted in rounds),
        "resume_lost": max((committed + extracted - images) / images for committed, extracted in rounds),
        "resume_killed_at": median(committed / images for committed, _ in rounds),
    }


def killed(command: list[str], output: Path, images: int) -> int:
    """Start an extraction, kill all of its processes when nine tenths of the images are committed; return how many are then.

    Raises:
        RuntimeError: the job ended before.
    """
    done = Committed(output)
    with jobs.start(command, 2, session=True) as process:
        assert process.stdout
        lines: list[str] = []
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while process.poll() is None and done.images() < KILLED_AT * images:
                time.sleep(0.1)
            ended = process.poll()
        finally:
            for pid in descendants(process.pid):
                kill(pid)
        reader.join(30)
    if ended is not None:
        raise RuntimeError(f"extract_features ended with {ended} before it was killed: {''.join(lines[-30:])}")
    committed = done.images()
    say(f"killed with {committed:,} of {images:,} images committed")
    return committed


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
