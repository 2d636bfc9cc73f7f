"""How a job uses a second core, and how little S3's latency costs it."""

from collections.abc import Callable
from functools import partial

from benchmarks.bare import bare
from benchmarks.bench import FEWER, FULL, Bench
from benchmarks.bounds import Bounds, at_least, shown
from benchmarks.jobs import Ran
from benchmarks.machine import usable_cores
from benchmarks.measuring import Figures, SkippedError, alternating, differences, median, median_ratio
from benchmarks.s3 import s3

MILLISECONDS = 30

BOUNDS: Bounds = {
    "core_ratio": at_least(
        0.97, "job's rate on 2 cores / on 1, additional images, as a share of the same of the bare loop"
    ),
    "core_job_ratio": shown("job's rate on 2 cores / on 1"),
    "core_bare_ratio": shown("the same of the bare loop: what this machine's second core adds"),
    "core_images": shown(f"for each core: {FULL.cores:,}, {FEWER}"),
    "latency_ratio": at_least(0.95, "job's rate over S3 with 30 ms more a request / with 0 ms"),
    "latency_images": shown(f"of each run: {FULL.latency:,}, {FEWER}"),
}


def cores(bench: Bench) -> Figures:
    """Measure the job's price and the bare loop's next to each other, on one core and then on two, with as much for each core."""
    if usable_cores() < 2:
        raise SkippedError("this process may use one core only")
    each, few = bench.sizes.cores, bench.sizes.cores // 10
    sides: dict[str, Callable[[], Ran]] = {}
    for count in (1, 2):
        sides[f"bare {count}"] = partial(bare, bench.manifest(count * each), bench.model, count)
        sides[f"job {count}"] = partial(bench.extract, count * each, count)
        sides[f"job {count}, few"] = partial(bench.extract, count * few, count)
    return core_figures(alternating(bench.sizes.rounds, sides), each, few)


def core_figures(runs: dict[str, list[Ran]], each: int, few: int) -> Figures:
    """Return the figures of what ran as `bare 1`, `job 2, few` and so on, with `each` and `few` images for a core."""
    seconds = {name: [ran.seconds for ran in found] for name, found in runs.items()}
    # By core and round, for as many images of each core: what starts is in none of them.
    loops = {count: [(each - few) / each * taken for taken in seconds[f"bare {count}"]] for count in (1, 2)}
    jobs = {count: differences(seconds[f"job {count}"], seconds[f"job {count}, few"]) for count in (1, 2)}

    def gain(side: dict[int, list[float]]) -> list[float]:
        return [2 * one / two for one, two in zip(side[1], side[2], strict=True)]

    return {
        "core_images": each,
        "core_ratio": median_ratio(gain(jobs), gain(loops)),
        "core_job_ratio": median(gain(jobs)),
        "core_bare_ratio": median(gain(loops)),
    }


def latency(bench: Bench) -> Figures:
    number = bench.sizes.latency
    with s3() as bucket:
        bucket.upload(bench.images[:number], bench.model)
        bucket.manifest(number, bench.folder / "latency")

        def late(milliseconds: int) -> Ran:
            bucket.latency(milliseconds)
            return bucket.extract(number)

        runs = alternating(bench.sizes.rounds, {f"{delay} ms": partial(late, delay) for delay in (0, MILLISECONDS)})
    prompt, delayed = ([ran.seconds_extracting for ran in runs[side]] for side in runs)
    return {
        "latency_images": number,
        "latency_0_rate": number / median(prompt),
        "latency_30_rate": number / median(delayed),
        "latency_ratio": median_ratio(prompt, delayed),
    }
