"""The row about "which fruit is this?": how often it is right, and how long an answer takes on one core."""

import json
import os
import subprocess
import sys

from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_least, indication, shown
from benchmarks.jobs import pin
from benchmarks.measuring import Figures
from benchmarks.samples import PROJECT, originals

PYTHON = PROJECT / ".venv/app/bin/python"

BOUNDS: Bounds = {
    "lookup_ms": indication("≤", 150, "median, one core: decoding, network, comparison with 20,000 vectors"),
    "lookup_graph_ms": indication("≤", 150, "the same through the graph, 1,000,000 vectors"),
    "lookup_12_megapixels_ms": indication("≤", 150, "a photograph of 12 megapixels, 20,000 vectors"),
    "lookup_accuracy": at_least(0.95, "share of photographs named right; the gallery shows another axis"),
    "lookup_accuracy_if_sure": at_least(0.99, "the same, of those that are called sure"),
    "lookup_sure": shown("share of photographs that are called sure"),
    "lookup_unknown_sure": shown("share of photographs of a variety that the gallery lacks that are called sure"),
}


def lookup(bench: Bench) -> Figures:
    """Measure in the application's own environment; accuracy only on Fruits-360, whose names tell the axes apart."""
    folder = bench.folder / "lookup"
    folder.mkdir()
    originals_folder = os.environ.get("FRUITS_TEST_IMAGES") or str(originals(folder / "originals")[0].parent)
    vectors = bench.sizes.dimensions
    command = [
        PYTHON,
        "-m",
        "benchmarks.lookup_figures",
        bench.model,
        originals_folder,
        str(vectors),
        str(50 * vectors),
    ]
    done = subprocess.run(
        list(map(str, command)),
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT}/dev"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: pin(2),
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.lookup_figures failed: exit code {done.returncode}")
    if "FRUITS_TEST_IMAGES" not in os.environ:
        print("lookup_accuracy: not measured: it takes Fruits-360 (FRUITS_TEST_IMAGES)", file=sys.stderr)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures
