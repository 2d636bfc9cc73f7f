"""The price of a further image, on files and over S3: two sizes of job, two sizes of bare loop, their differences."""

from collections.abc import Callable
from functools import partial

from benchmarks.bare import bare
from benchmarks.bench import Bench, Sizes
from benchmarks.bounds import Bounds, at_least, at_most, indication, shown
from benchmarks.jobs import Ran
from benchmarks.measuring import Figures, alternating, differences, median, median_ratio, say
from benchmarks.s3 import s3

BOUNDS: Bounds = {
    "marginal_ratio": at_least(0.95, "bare loop's seconds for 20,000 more images / the job's, files"),
    "marginal_s3_ratio": at_least(0.92, "the same for 5,000 over S3; the bare loop reads it with the same client"),
    "marginal_cpu_ratio": shown("the same as marginal_ratio in processor time of Python: a neighbor has no say in it"),
    "s3_rate": at_least(0.85, "rate over S3 / on files, of further images; the endpoint runs on the same cores"),
    "engine_ratio": at_least(0.90, "bare loop's seconds for 20,000 images / the job's, without Spark's start"),
    "bare_rate": shown("images/s of the bare loop on 2 cores: how fast this machine is"),
    "rate": shown("images/s of the job, further images"),
    "small_run_ratio": indication("≤", 2.0, "2,000 images: the job's seconds, Spark's start included / bare loop's"),
    "worker_peak_mb": at_most(256, "largest resident size of a Python worker, 22,000 images"),
    "worker_growth_mb": at_most(20, "that, minus the same with 2,000 images"),
}


Runs = dict[str, list[Ran]]


def marginal(bench: Bench) -> Figures:
    """Measure files and S3 in the same rounds."""
    sizes = bench.sizes
    on_files = {"few": sizes.few, "more": sizes.few + sizes.more}
    on_s3 = {"few": sizes.few, "more": sizes.few + sizes.more_s3}
    say(f"{on_files['few']:,} and {on_files['more']:,} images on files, {on_s3['few']:,} and {on_s3['more']:,} over S3")
    with s3() as bucket:
        bucket.upload(bench.images[: on_s3["more"]])
        sides: dict[str, Callable[[], Ran]] = {}
        for name in ("few", "more"):
            there, remote = bench.manifest(on_files[name]), bucket.manifest(on_s3[name], bench.folder)
            sides[f"bare {name}"] = partial(bare, there, bench.model)
            sides[f"job {name}"] = partial(bench.extract, on_files[name])
            sides[f"bare s3 {name}"] = partial(bare, remote, bench.model, environment=bucket.environment)
            sides[f"job s3 {name}"] = partial(bucket.extract, remote, bench.model)
        return figures(alternating(sizes.rounds, sides), sizes)


def figures(runs: Runs, sizes: Sizes) -> Figures:
    """Return the figures of what ran as `bare few`, `job s3 more` and so on."""

    def more(side: str, kind: str = "seconds") -> list[float]:
        return differences(of(f"{side} more", kind), of(f"{side} few", kind))

    def of(side: str, kind: str) -> list[float]:
        return [getattr(ran, kind) for ran in runs[side]]

    def at_engine_size(side: str) -> list[float]:
        share = (sizes.engine - sizes.few) / sizes.more  # a point on the line through both sizes
        kind = "seconds_after_start"
        return [few + share * step for few, step in zip(of(f"{side} few", kind), more(side, kind), strict=True)]

    job, job_s3 = more("job"), more("job s3")
    peaks = {name: max(of(f"job {name}", "peak_worker_mb")) for name in ("few", "more")}
    return {
        "marginal_images": sizes.more,
        "marginal_s3_images": sizes.more_s3,
        "marginal_ratio": median_ratio(more("bare"), job),
        "marginal_s3_ratio": median_ratio(more("bare s3"), job_s3),
        "marginal_cpu_ratio": median_ratio(more("bare", "cpu_seconds"), more("job", "cpu_seconds")),
        "s3_rate": median_ratio(
            [sizes.more_s3 / seconds for seconds in job_s3], [sizes.more / seconds for seconds in job]
        ),
        "engine_images": sizes.engine,
        "engine_ratio": median_ratio(at_engine_size("bare"), at_engine_size("job")),
        "bare_rate": sizes.more / median(more("bare")),
        "rate": sizes.more / median(job),
        "rate_s3": sizes.more_s3 / median(job_s3),
        "small_run_ratio": median_ratio(of("job few", "seconds"), of("bare few", "seconds")),
        "worker_peak_mb": peaks["more"],
        "worker_growth_mb": peaks["more"] - peaks["few"],
    }
