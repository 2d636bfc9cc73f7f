"""How a job uses a second core, and how little S3's latency costs it."""

from collections.abc import Callable
from functools import partial

from benchmarks.bare import bare
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_least, shown
from benchmarks.jobs import Ran
from benchmarks.machine import usable_cores
from benchmarks.measuring import Figures, SkippedError, alternating, median, median_ratio
from benchmarks.s3 import s3

MILLISECONDS = 30

BOUNDS: Bounds = {
    "core_ratio": at_least(0.97, "job's rate on 2 cores / on 1, as a share of the same of the bare loop"),
    "core_job_ratio": shown("job's rate on 2 cores / on 1"),
    "core_bare_ratio": shown("the same of the bare loop: what this machine's second core adds"),
    "latency_ratio": at_least(0.95, "job's rate over S3 with 30 ms more a request / with 0 ms, 8,000 images"),
}


def cores(bench: Bench) -> Figures:
    if usable_cores() < 2:
        raise SkippedError("this process may use one core only")
    number = bench.sizes.cores
    manifest = bench.manifest(number)
    sides: dict[str, Callable[[], Ran]] = {}
    for count in (1, 2):
        sides[f"bare {count}"] = partial(bare, manifest, bench.model, count)
        sides[f"job {count}"] = partial(bench.extract, number, count)
    runs = alternating(bench.sizes.rounds, sides)
    passes = {side: [ran.seconds_extracting for ran in runs[side]] for side in runs}
    job = [one / two for one, two in zip(passes["job 1"], passes["job 2"], strict=True)]
    loop = [one / two for one, two in zip(passes["bare 1"], passes["bare 2"], strict=True)]
    return {
        "core_images": number,
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
