"""The cost of each additional image, on files and over S3: the difference of two sizes of job, and the bare loop's."""

from collections.abc import Callable
from functools import partial

from benchmarks.bare import bare
from benchmarks.bench import FEWER, FULL, Bench, Sizes
from benchmarks.bounds import Bounds, at_least, at_most, indication, shown
from benchmarks.jobs import Ran
from benchmarks.measuring import Figures, alternating, differences, median, median_ratio, say
from benchmarks.s3 import s3

BOUNDS: Bounds = {
    "marginal_ratio": at_least(0.95, "bare loop's seconds for additional images / the job's, files"),
    "marginal_s3_ratio": at_least(0.92, "the same over S3; the bare loop reads it with the same client"),
    "marginal_cpu_ratio": shown(
        "the same as marginal_ratio in CPU time of Python, which other processes hardly affect"
    ),
    "marginal_images": shown(f"additional images of the larger job on files: {FULL.more:,}, {FEWER}"),
    "marginal_s3_images": shown("the same over S3: a quarter of it"),
    "s3_rate": at_least(0.85, "rate over S3 / on files, of additional images; the endpoint runs on the same cores"),
    "engine_ratio": at_least(
        0.90,
        "bare loop's seconds for 20,000 images / the job's, without Spark's start; extrapolated if the larger job has fewer",
    ),
    "bare_rate": shown("images/s of the bare loop on 2 cores: how fast this machine is"),
    "rate": shown("images/s of the job, additional images"),
    "small_run_ratio": indication("≤", 2.0, "2,000 images: the job's seconds, Spark's start included / bare loop's"),
    "worker_peak_mb": at_most(256, "largest resident size of a Python worker, in the larger job on files"),
    "worker_peak_s3_mb": at_most(256, "the same over S3"),
    "worker_growth_mb": at_most(20, "the same on files, minus that with 2,000 images"),
}


Runs = dict[str, list[Ran]]


def marginal(bench: Bench) -> Figures:
    """Measure files and S3 in the same rounds. The bare loop starts before its clock does, so that one size tells its price."""
    sizes = bench.sizes
    on_files, on_s3 = (sizes.few, sizes.few + sizes.more), (sizes.few_s3, sizes.few_s3 + sizes.more_s3)
    say(f"{on_files[0]:,} and {on_files[1]:,} images on files, {on_s3[0]:,} and {on_s3[1]:,} over S3")
    with s3() as bucket:
        bucket.upload(bench.images[: on_s3[1]], bench.model)
        there = [bench.manifest(number) for number in on_files]
        remote = [bucket.manifest(number, bench.folder) for number in on_s3]
        sides: dict[str, Callable[[], Ran]] = {
            "job few": partial(bench.extract, on_files[0]),
            "job more": partial(bench.extract, on_files[1]),
            "bare more": partial(bare, there[1], bench.model),
            "job s3 few": partial(bucket.extract, on_s3[0]),
            "job s3 more": partial(bucket.extract, on_s3[1]),
            "bare s3 more": partial(bare, remote[1], bench.model, environment=bucket.environment),
        }
        return figures(alternating(sizes.rounds, sides), sizes)


def figures(runs: Runs, sizes: Sizes) -> Figures:
    """Return the figures of what ran as `job few`, `bare s3 more` and so on."""

    def of(side: str, kind: str = "seconds") -> list[float]:
        return [getattr(ran, kind) for ran in runs[side]]

    def loop(side: str, share: float, kind: str = "seconds") -> list[float]:
        """Return what a share of the images costs the bare loop."""
        return [share * spent for spent in of(f"bare {side}more", kind)]

    def job(side: str, kind: str = "seconds") -> list[float]:
        """Return what additional images cost the job."""
        return differences(of(f"job {side}more", kind), of(f"job {side}few", kind))

    every, every_s3 = sizes.few + sizes.more, sizes.few_s3 + sizes.more_s3
    further, further_s3 = sizes.more / every, sizes.more_s3 / every_s3
    on_line = (sizes.engine - sizes.few) / sizes.more  # a point on the line through both sizes
    kind = "seconds_after_start"
    job_engine = [few + on_line * more for few, more in zip(of("job few", kind), job("", kind), strict=True)]
    return {
        "marginal_images": sizes.more,
        "marginal_s3_images": sizes.more_s3,
        "marginal_ratio": median_ratio(loop("", further), job("")),
        "marginal_s3_ratio": median_ratio(loop("s3 ", further_s3), job("s3 ")),
        "marginal_cpu_ratio": median_ratio(loop("", further, "cpu_seconds"), job("", "cpu_seconds")),
        "s3_rate": median_ratio(
            [sizes.more_s3 / seconds for seconds in job("s3 ")], [sizes.more / seconds for seconds in job("")]
        ),
        "engine_images": sizes.engine,
        "engine_ratio": median_ratio(loop("", sizes.engine / every), job_engine),
        "bare_rate": every / median(of("bare more")),
        "rate": sizes.more / median(job("")),
        "rate_s3": sizes.more_s3 / median(job("s3 ")),
        "small_run_ratio": median_ratio(of("job few"), loop("", sizes.few / every)),
        **memory({side: max(of(f"job {side}", "peak_worker_mb")) for side in ("few", "more", "s3 more")}),
    }


def memory(peaks: dict[str, float]) -> Figures:
    """Return the figures of the largest worker by side; none where Linux's /proc is missing, which is no small worker."""
    if not all(peaks.values()):
        say("no worker was seen, so that their memory is not measured: that takes Linux's /proc")
        return {}
    return {
        "worker_peak_mb": peaks["more"],
        "worker_peak_s3_mb": peaks["s3 more"],
        "worker_growth_mb": peaks["more"] - peaks["few"],
    }
