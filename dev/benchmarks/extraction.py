"""The rows about extraction. Each takes a `Bench` and returns figures; those it is judged by are in `BOUNDS`."""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import jobs, samples
from benchmarks.bare import bare
from benchmarks.s3 import s3

Figures = dict[str, float]

# key -> (at least or at most, bound, what it is measured against)
BOUNDS: dict[str, tuple[str, float, str]] = {
    "seed_ratio": ("≥", 25, "the original notebook's flow, end to end / ours, end to end"),
    "engine_ratio": ("≥", 0.85, "job's rate without Spark's start / bare loop's, same cores"),
    "engine_ratio_with_start": ("≥", 0.75, "job's rate, Spark's start included / bare loop's"),
    "small_run_ratio": ("≤", 2.0, "job's time, Spark's start included / bare loop's"),
    "latency_ratio": ("≥", 0.9, "job's rate over S3 with 30 ms more a request / with 0 ms"),
    "binaryfile_latency_ratio": ("", 0, "the same with Spark's binaryFile, to show what it saves"),
    "core_ratio": ("≥", 1.85, "job's rate on 2 cores / on 1"),
    "core_bare_ratio": ("", 0, "the same of the bare loop: what this machine's second core adds"),
    "worker_peak_mb": ("≤", 350, "largest resident size of a Python worker, the largest run"),
    "worker_growth_mb": ("≤", 20, "that, minus the same of the small run"),
    "worker_start_s": ("≤", 1.0, "from the worker's start to its first image's features"),
}


@dataclass(frozen=True)
class Sizes:
    """Number of images of each row; of `seed` None: left out. `dimensions` are rows of features."""

    seed: int | None
    engine: int
    small: int
    cores: int
    latency: int
    dimensions: int


FULL = Sizes(seed=2_000, engine=20_000, small=2_000, cores=4_000, latency=2_000, dimensions=20_000)
SMALL = Sizes(seed=None, engine=2_000, small=600, cores=600, latency=300, dimensions=4_000)


@dataclass(frozen=True)
class Bench:
    """Images, manifests and the model, made once in `folder`."""

    folder: Path
    sizes: Sizes

    @cached_property
    def images(self) -> list[Path]:
        originals = samples.originals(self.folder / "originals")
        return samples.copies(originals, max(self.sizes.engine, self.sizes.seed or 0), self.folder / "images")

    @cached_property
    def weights(self) -> Path:
        return samples.weights(self.folder)

    @cached_property
    def model(self) -> Path:
        self.export()
        return self.folder / "model.json"

    def export(self) -> None:
        """Export the model, or find that it is there."""
        self.step("export_model", "--weights", self.weights, "--models", self.folder / "models")

    def step(self, job: str, *arguments: str | Path) -> None:
        """Run a job as the DAG's step does; each knows the model by its pointer."""
        pointer = {"export_model": "--pointer", "reduce_dimensions": "--model"}[job]
        script = samples.PROJECT / "spark_jobs" / f"{job}.py"
        command = [*jobs.spark_submit(2), script, *arguments, pointer, self.folder / "model.json"]
        jobs.run([str(part) for part in command])

    def manifest(self, number: int) -> Path:
        folder = self.folder / f"manifest-{number}"
        return folder if folder.exists() else samples.manifest(self.images[:number], folder)

    def extract(self, number: int, cores: int = 2) -> jobs.Ran:
        return jobs.extract(self.manifest(number), self.model, self.folder / "output", cores=cores)


def engine(bench: Bench) -> Figures:
    number = bench.sizes.engine
    loop = bare(bench.images[:number], bench.model)
    ran = bench.extract(number)
    again = bare(bench.images[:number], bench.model)  # before and after: the machine's own drift evens out
    seconds = statistics.mean((loop.loop_seconds, again.loop_seconds))
    return {
        "engine_images": number,
        "engine_bare_rate": number / seconds,
        "engine_rate": number / ran.seconds_after_start,
        "engine_pass_rate": number / ran.seconds_extracting,
        "engine_rate_with_start": number / ran.seconds,
        "engine_ratio": seconds / ran.seconds_after_start,
        "engine_ratio_with_start": seconds / ran.seconds,
        "worker_peak_mb": ran.peak_worker_mb,
    }


def small_run(bench: Bench) -> Figures:
    number = bench.sizes.small
    pairs = [(bare(bench.images[:number], bench.model), bench.extract(number)) for _ in range(3)]
    ratios = [ran.seconds / loop.loop_seconds for loop, ran in pairs]
    return {
        "small_images": number,
        "small_bare_seconds": statistics.median(loop.loop_seconds for loop, _ in pairs),
        "small_seconds": statistics.median(ran.seconds for _, ran in pairs),
        "small_seconds_after_start": statistics.median(ran.seconds_after_start for _, ran in pairs),
        "small_run_ratio": statistics.median(ratios),
        "small_worker_peak_mb": max(ran.peak_worker_mb for _, ran in pairs),
    }


def cores(bench: Bench) -> Figures:
    number = bench.sizes.cores
    seconds: dict[int, list[float]] = {1: [], 2: []}
    bare_seconds: dict[int, list[float]] = {1: [], 2: []}
    for cores in (1, 2, 2, 1):  # the machine's own drift evens out
        bare_seconds[cores].append(bare(bench.images[:number], bench.model, cores).loop_seconds)
        seconds[cores].append(bench.extract(number, cores=cores).seconds_extracting)
    return {
        "core_images": number,
        "one_core_seconds": sum(seconds[1]) / 2,
        "two_core_seconds": sum(seconds[2]) / 2,
        "core_ratio": sum(seconds[1]) / sum(seconds[2]),
        "core_bare_ratio": sum(bare_seconds[1]) / sum(bare_seconds[2]),
    }


def worker_start(bench: Bench) -> Figures:
    image = str(bench.images[0])
    code = (
        "import sys, pyspark.worker\n"
        "from pathlib import Path\n"
        "from spark_jobs.extraction import images, worker\n"
        "from spark_jobs.models import read_artifact\n"
        "network = worker.worker_interpreter(read_artifact(sys.argv[1]))\n"
        "network.features(images.decode(Path(sys.argv[2]).read_bytes(), 224).pixels)\n"
    )
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        command = [sys.executable, "-c", code, str(bench.model), image]
        subprocess.run(command, cwd=samples.PROJECT, env=jobs.spark_environment(), check=True, capture_output=True)
        seconds.append(time.monotonic() - started)
    return {"worker_start_s": statistics.median(seconds)}


def latency(bench: Bench) -> Figures:
    number, figures = bench.sizes.latency, {"latency_images": float(bench.sizes.latency)}
    with s3() as bucket:
        manifest = bucket.upload(bench.images[:number], bench.folder / "manifest-s3")
        for milliseconds in (0, 30):
            bucket.latency(milliseconds)
            ran = jobs.extract(
                manifest, bench.model, bench.folder / "output", submit=bucket.submit, environment=bucket.environment
            )
            figures[f"latency_{milliseconds}_rate"] = number / ran.seconds_extracting
            command = [
                *jobs.spark_submit(2, *bucket.submit),
                *(str(samples.PROJECT / "dev/benchmarks/binary_file.py"), "s3://bench/images", str(bench.model)),
                str(bench.folder / "binary_file"),
            ]
            _, output = jobs.run(command, bucket.environment)
            seconds = re.search(r"seconds=([\d.]+)", output)
            assert seconds
            figures[f"binaryfile_{milliseconds}_rate"] = number / float(seconds[1])
    figures["latency_ratio"] = figures["latency_30_rate"] / figures["latency_0_rate"]
    figures["binaryfile_latency_ratio"] = figures["binaryfile_30_rate"] / figures["binaryfile_0_rate"]
    return figures


def seed(bench: Bench) -> Figures:
    number, folder = bench.sizes.seed, bench.folder / "seed"
    if number is None:
        print("seed: not measured; the notebook's flow takes four minutes for any number of images", flush=True)
        return {}
    bench.model  # noqa: B018 - ours meets a model that is there already
    manifest = bench.manifest(number)
    for image in bench.images[:number]:
        target = folder / "images" / image.parent.name / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(image)

    started = time.monotonic()
    bench.export()
    bench.extract(number)
    features, rejects = f"{bench.folder}/output/features", f"{bench.folder}/output/rejects"
    outputs = ("--features", features, "--rejects", rejects, "--output", folder / "ours")
    bench.step("reduce_dimensions", "--inventory", manifest, *outputs)
    ours = time.monotonic() - started
    command = [sys.executable, "-m", "benchmarks.seed", folder / "images", bench.weights, folder / "theirs"]
    theirs, _ = jobs.run([str(part) for part in command])
    return {"seed_images": number, "seed_seconds": theirs, "ours_seconds": ours, "seed_ratio": theirs / ours}


ROWS: Sequence = (worker_start, small_run, engine, cores, latency, seed)
