"""The same 2,000 images elsewhere: the original notebook's flow, and Ray Data with the same network."""

import subprocess
import sys
import time
from functools import partial

from benchmarks import jobs
from benchmarks.bare import bare
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_least, indication, shown
from benchmarks.measuring import Figures, SkippedError, alternating, differences, median, median_ratio, say
from benchmarks.samples import PROJECT

SECONDS = 600  # after which Ray is given up
RAY = PROJECT / ".venv/ray/bin/python"

BOUNDS: Bounds = {
    "seed_ratio": at_least(
        20, "the original notebook's flow, end to end / the DAG's steps, one after another; both on local_emr's JVM"
    ),
    "seed_plain_ratio": shown("the same notebook's seconds / the DAG's steps on a plain JVM, as EMR starts it"),
    "seed_seconds": shown("the notebook's flow, once"),
    "ours_seconds": shown("the DAG's two steps"),
    "ours_plain_seconds": shown("the same on a plain JVM"),
    "peer_ratio": indication(
        "≥", 2, "Ray Data with the same LiteRT actor, start included / extract_features, start included"
    ),
    "peer_overhead_ratio": at_least(
        2, "the same of what each takes beyond the bare loop, which is the processor's part"
    ),
}


def seed(bench: Bench) -> Figures:
    """Measure ours in rounds, on a plain JVM once, as theirs: six minutes, in which the network runs six times, even out.

    The model is there already, so that the DAG has two steps.
    """
    if not bench.sizes.notebook:
        raise SkippedError("the notebook's flow takes six minutes for any number of images; the full size measures it")
    number, folder = bench.sizes.few, bench.folder / "seed"
    for image in bench.images[:number]:
        target = folder / "images" / image.parent.name / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(image)

    def steps(*, plain: bool) -> float:
        started = time.monotonic()
        bench.extract(number, plain=plain)
        bench.reduce(number, bench.folder / "output", folder / "ours", plain=plain)
        return time.monotonic() - started

    bench.extract(number)  # the manifest and the model are made, the images in the page cache
    ours = median(alternating(bench.sizes.rounds, {"two steps": partial(steps, plain=False)})["two steps"])
    plain = steps(plain=True)
    say("the notebook's flow, about six minutes")
    command = [sys.executable, "-m", "benchmarks.seed", folder / "images", bench.weights, folder / "theirs"]
    theirs, _ = jobs.run([str(part) for part in command], jobs.notebook_environment())
    return {
        "seed_images": number,
        "seed_seconds": theirs,
        "ours_seconds": ours,
        "ours_plain_seconds": plain,
        "seed_ratio": theirs / ours,
        "seed_plain_ratio": theirs / plain,
    }


def peer(bench: Bench) -> Figures:
    if not RAY.exists():
        raise SkippedError("Ray is not installed (.venv/ray): make .venv/.ray says why")
    number, folder = bench.sizes.few, bench.folder / "peer"
    folder.mkdir()
    paths = folder / "paths"
    paths.write_text("\n".join(map(str, bench.images[:number])))

    def ray() -> float:
        started = time.monotonic()
        command = [RAY, "-m", "benchmarks.peer_ray", paths, bench.model, folder / "features"]
        done = subprocess.run(
            list(map(str, command)),
            cwd=PROJECT,
            env=jobs.spark_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
            preexec_fn=partial(jobs.pin, 2),
        )
        if done.returncode:
            raise RuntimeError(f"Ray Data failed: {done.stdout[-3000:]}")
        return time.monotonic() - started

    bench.extract(number)  # once before, as for Ray: what is timed has been read before
    ray()
    manifest = bench.manifest(number)
    runs = alternating(
        bench.sizes.rounds,
        {
            "ray": ray,
            "ours": lambda: bench.extract(number).seconds,
            "bare": lambda: bare(manifest, bench.model).seconds,
        },
    )
    overheads = (differences(runs[side], runs["bare"]) for side in ("ray", "ours"))
    return {
        "peer_images": number,
        "peer_seconds": median(runs["ray"]),
        "peer_ours_seconds": median(runs["ours"]),
        "peer_ratio": median_ratio(runs["ray"], runs["ours"]),
        "peer_overhead_ratio": median_ratio(*overheads),
    }
