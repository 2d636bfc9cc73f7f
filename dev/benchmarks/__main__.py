"""Measure everything and print it as a table: python -m benchmarks [--size full|small] [--only engine,latency]."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import extraction
from benchmarks import lookup as answers
from benchmarks.samples import PROJECT

OUTPUT = PROJECT / "bench-output/bench.json"

Row = Callable[[extraction.Bench], extraction.Figures]


def dimensions(bench: extraction.Bench) -> extraction.Figures:
    from benchmarks import pca

    folder = bench.folder / "pca"
    folder.mkdir()
    return pca.measure(folder, bench.sizes.dimensions)


BOUNDS = extraction.BOUNDS | {
    "pca_ratio": ("≥", 5.0, "Spark ML's StandardScaler + PCA + PCA / ours, on stored features"),
    "project_ratio": ("≥", 1.0, "Spark ML's PipelineModel / ours, on stored features"),
    **answers.BOUNDS,
}
ROWS: tuple[Row, ...] = (*extraction.ROWS, dimensions, answers.lookup)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--size", choices=("full", "small"), default="full", help="full: 25 minutes; small: 5, and only an indication"
    )
    parser.add_argument("--only", help=f"some of {', '.join(row.__name__ for row in ROWS)}")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [row.__name__ for row in ROWS]
    sizes = extraction.FULL if options.size == "full" else extraction.SMALL
    started = time.monotonic()
    # Some rows of a table: the others stay as an earlier run left them.
    earlier: extraction.Figures = json.loads(OUTPUT.read_text()) if options.only and OUTPUT.exists() else {}
    found: extraction.Figures = {}
    with tempfile.TemporaryDirectory(prefix="fruits-bench-") as folder:
        bench = extraction.Bench(Path(folder), sizes)
        for row in ROWS:
            if row.__name__ not in wanted:
                continue
            figures = row(bench)
            print(f"{row.__name__} ({time.monotonic() - started:.0f} s)", flush=True)
            for key, value in figures.items():
                print(f"  {key:28} {value:10.2f}", flush=True)
            found |= figures
            if {"worker_peak_mb", "small_worker_peak_mb"} <= found.keys():
                found["worker_growth_mb"] = found["worker_peak_mb"] - found["small_worker_peak_mb"]
            OUTPUT.parent.mkdir(exist_ok=True)
            OUTPUT.write_text(json.dumps(earlier | found, indent=2) + "\n")
    full = options.size == "full"
    print(
        f"\nsize {options.size}, {time.monotonic() - started:.0f} s in all{'' if full else '; the bounds are for full'}"
    )
    for key in BOUNDS:
        if key in found:
            print(line(key, found[key], judged=full))
    print(f"all figures: {OUTPUT}")


def line(key: str, value: float, *, judged: bool) -> str:
    sign, bound, against = BOUNDS.get(key, ("", 0, ""))
    met = {"≥": value >= bound, "≤": value <= bound}.get(sign, True)
    verdict = f"{sign} {bound:g} {'MISSED' if judged and not met else ''}" if sign else ""
    return f"{key:28} {value:10.2f}  {verdict:16} {against}".rstrip()


if __name__ == "__main__":
    main()
