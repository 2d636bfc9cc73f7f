"""How a job uses a second core, and how little S3's latency costs it."""

from collections.abc import Callable
from functools import partial

from benchmarks.bare import bare
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_least, shown
from benchmarks.jobs import Ran
from benchmarks.machine import usable_cores
from benchmarks.measuring import Figures, SkippedError, alternating, differences, median, median_ratio
from benchmarks.s3 import s3

MILLISECONDS = 30

BOUNDS: Bounds = {
    "core_ratio": at_least(
        0.97, "job's rate on 2 cores / on 1, further images, as a share of the same of the bare loop"
    ),
    "core_job_ratio": shown("job's rate on 2 cores / on 1"),
    "core_bare_ratio": shown("the same of the bare loop: what this machine's second core adds"),
    "latency_ratio": at_least(0.95, "job's rate over S3 with 30 ms more a request / with 0 ms, 8,000 images"),
}


def cores(bench: Bench) -> Figures:
    if usable_cores() < 2:
        raise SkippedError("this process may use one core only")
    number = bench.sizes.cores
    few = number // 5
    sides: dict[str, Callable[[], Ran]] = {}
    for count in (1, 2):
        for images in (few, number):
            sides[f"bare {count}, {images:,}"] = partial(bare, bench.manifest(images), bench.model, count)
            sides[f"job {count}, {images:,}"] = partial(bench.extract, images, count)
    runs = alternating(bench.sizes.rounds, sides)

    def gain(side: str) -> list[float]:
        """Return by round what the second core makes of the price of further images: what starts costs neither side."""
        seconds = {name: [ran.seconds for ran in found] for name, found in runs.items()}
        one, two = (differences(seconds[f"{side} {n}, {number:,}"], seconds[f"{side} {n}, {few:,}"]) for n in (1, 2))
        return [of_one / of_two for of_one, of_two in zip(one, two, strict=True)]

    job, loop = gain("job"), gain("bare")
    return {
        "core_images": number - few,
        "core_ratio": median_ratio(job, loop),
        "core_job_ratio": median(job),
        "core_bare_ratio": median(loop),
    }


def latency(bench: Bench) -> Figures:
    number = bench.sizes.latency
    with s3() as bucket:
        bucket.upload(bench.images[:number])
        manifest = bucket.manifest(number, bench.folder / "latency")

        def late(milliseconds: int) -> Ran:
            bucket.latency(milliseconds)
            return bucket.extract(manifest, bench.model)

        runs = alternating(bench.sizes.rounds, {f"{delay} ms": partial(late, delay) for delay in (0, MILLISECONDS)})
    prompt, delayed = ([ran.seconds_extracting for ran in runs[side]] for side in runs)
    return {
        "latency_images": number,
        "latency_0_rate": number / median(prompt),
        "latency_30_rate": number / median(delayed),
        "latency_ratio": median_ratio(prompt, delayed),
    }
