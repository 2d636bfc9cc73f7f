"""Every row of the table in the order of measuring, and every bound."""

from collections.abc import Callable

from benchmarks import fixed, inventory, lookup, marginal, peers, resume, scaling, start
from benchmarks.bench import Bench
from benchmarks.bounds import Bounds, at_least
from benchmarks.measuring import Figures

Row = Callable[[Bench], Figures]


def dimensions(bench: Bench) -> Figures:
    from benchmarks import pca  # pyspark.ml

    folder = bench.folder / "pca"
    folder.mkdir()
    return pca.measure(folder, bench.sizes.dimensions)


ROWS: dict[str, Row] = {
    row.__name__: row
    for row in (
        *(start.worker_start, fixed.fixed, marginal.marginal, scaling.cores, scaling.latency, resume.resume),
        *(peers.peer, peers.seed, dimensions, lookup.lookup, inventory.inventory),
    )
}

# Left out unless asked for, as they take longest: ten million images take twenty minutes, a graph of a million vectors five.
ON_REQUEST = {"inventory", "lookup"}

BOUNDS: Bounds = {
    **marginal.BOUNDS,
    **fixed.BOUNDS,
    **start.BOUNDS,
    **scaling.BOUNDS,
    **resume.BOUNDS,
    **peers.BOUNDS,
    "pca_ratio": at_least(5, "Spark ML's StandardScaler + PCA + PCA / ours, on stored features"),
    "project_ratio": at_least(1, "Spark ML's PipelineModel / ours, on stored features"),
    **lookup.BOUNDS,
    **inventory.BOUNDS,
}
