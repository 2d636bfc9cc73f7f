"""The row about the tasks that see every image: their memory and seconds, and what many earlier runs cost."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_most, indication, shown
from benchmarks.bucket import REGION
from benchmarks.jobs import pin
from benchmarks.measuring import Figures, say
from benchmarks.samples import PROJECT

PYTHON = PROJECT / ".venv/airflow/bin/python"
LATENCY_MS = 40
MANY_RUNS, OF_IMAGES = 1000, 10_000

ALL = "10,000,000 images (small: 200,000)"
TENTH = "1,000,000 images (small: 20,000)"

BOUNDS: Bounds = {
    "find_tenth_mb": at_most(1024, f"peak of find_new_images, {TENTH}, all new"),
    "find_tenth_s": shown("its seconds; the bucket answers at once"),
    "check_tenth_mb": at_most(1024, f"peak of check_outputs, {TENTH}"),
    "check_tenth_s": shown("its seconds"),
    "find_mb": at_most(1024, f"peak of find_new_images, {ALL}, all new"),
    "find_s": shown("its seconds"),
    "check_mb": at_most(1024, f"peak of check_outputs, {ALL}"),
    "check_s": shown("its seconds"),
    "nothing_new_s": shown("find_new_images on 10,000 images, nothing new; every request takes 40 ms"),
    "nothing_new_1000_runs_s": shown("the same after 1,000 runs"),
    "runs_s": indication("≤", 10, "what those 1,000 runs add"),
}

Ask = Callable[..., dict[str, float]]


@contextmanager
def bucket(folder: Path, images: int, milliseconds: int) -> Iterator[Ask]:
    """Serve a bucket with so many images; yield a function that runs `benchmarks.inventory_figures` on it."""
    folder.mkdir(exist_ok=True)
    paths = f"{PROJECT}:{PROJECT}/dags:{PROJECT}/plugins:{PROJECT}/dev"
    command = [sys.executable, "-m", "benchmarks.bucket", str(folder), str(images), str(milliseconds)]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        environment = {
            "PYTHONPATH": paths,
            "AIRFLOW_HOME": str(folder.parent / "airflow"),
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
            "AWS_ENDPOINT_URL": process.stdout.readline().strip(),
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": REGION,
        }

        def ask(what: str, runs: int = 0) -> dict[str, float]:
            done = subprocess.run(
                [PYTHON, "-m", "benchmarks.inventory_figures", what, str(folder), str(images), str(runs)],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                preexec_fn=lambda: pin(2),
            )
            figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
            say(f"{what}, {images:,} images, {runs} runs: {figures['seconds']:.1f} s, {figures['mb']:.0f} MB")
            return figures

        try:
            yield ask
        finally:
            process.terminate()


def inventory(bench: Bench) -> Figures:
    """Measure in Airflow's environment, each task in a process of its own."""
    figures: Figures = {}
    for images, suffix in ((bench.sizes.inventory // 10, "_tenth"), (bench.sizes.inventory, "")):
        with bucket(bench.folder / f"inventory{suffix}", images, 0) as ask:
            for task, writes in (("find", ()), ("check", ("history", "results"))):
                for what in writes:
                    ask(what, 1)
                found = ask(task)
                figures |= {f"{task}{suffix}_mb": found["mb"], f"{task}{suffix}_s": found["seconds"]}
    for runs, name in ((1, "nothing_new_s"), (MANY_RUNS, "nothing_new_1000_runs_s")):
        with bucket(bench.folder / f"runs-{runs}", OF_IMAGES, LATENCY_MS) as ask:
            ask("history", runs)
            figures[name] = ask("find", runs)["seconds"]
    figures["runs_s"] = figures["nothing_new_1000_runs_s"] - figures["nothing_new_s"]
    return figures
