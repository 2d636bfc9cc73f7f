"""What a reduction found, as numbers: the content of report.json and of the page."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyspark

from spark_jobs.reduction.moments import Floats, Moments
from spark_jobs.reduction.pca import Pca, explained_share
from spark_jobs.reduction.pca_model import PcaModel
from spark_jobs.reduction.selection import InventorySummary
from spark_jobs.report import neighbors

# Bounds the driver's memory (3,000 x 1,280 float64 are 31 MB) and the page, in which every point is an SVG element.
SAMPLE_ROWS = 3000
MOST_PAIRS = 12  # of varieties that are confused, and of images that resemble each other


@dataclass(frozen=True)
class Sample:
    """Some images with all their features, for what cannot be computed in Spark.

    Attributes:
        labels: (n,).
        features: (n, d).
        paths: (n,); none where they are unknown.
    """

    labels: list[str]
    features: Floats
    paths: Sequence[str] = ()

    @classmethod
    def from_table(cls, rows: pa.Table) -> Self:
        """Return the sample in the columns `label` and `features`, lists of the same length, in order of `path`."""
        rows = rows.sort_by("path")
        features = rows["features"].combine_chunks().flatten().to_numpy().astype(np.float64)
        shaped = features.reshape(len(rows), -1) if len(rows) else np.empty((0, 0))
        return cls(rows["label"].to_pylist(), shaped, rows["path"].to_pylist())


def build(
    run: str,
    summary: InventorySummary,
    moments: Moments,
    model: PcaModel,
    target: Mapping[str, float],
    sample: Sample,
) -> dict[str, Any]:
    """Return report.json without timings and sizes, which are known when everything is written.

    Args:
        run: its name.
        summary: counts of the inventory by label.
        moments: of the current features.
        model: the PCA they are projected with.
        target: `variance` or `components`; empty for an earlier PCA.
        sample: some of the current features.
    """
    rejected = summary.rejects_by_reason
    return {
        "run": run,
        "model_id": model.model_id,
        "images": moments.count + sum(rejected.values()),
        "features": moments.count,
        "rejects": sum(rejected.values()),
        "rejects_by_reason": rejected,
        "reject_examples": summary.examples,
        "labels": {
            label: {"features": summary.features.get(label, 0), "rejects": sum(summary.rejects.get(label, {}).values())}
            for label in summary.labels
        },
        "asked": dict(target),
        "feature_count": len(model.pca.mean),
        "components": model.pca.n_components,
        "explained_variance": explained_share(moments, model.pca),
        "variance_curve": model.cumulative_variance,
        "constant_features": int((model.pca.scale == 0).sum()),
        "fitted": {"run": model.run, "features": model.rows},
        "nearest_neighbors": nearest_neighbor_figures(sample, model.pca),
        "versions": {
            "spark": pyspark.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


def nearest_neighbor_figures(sample: Sample, pca: Pca) -> dict[str, Any]:
    """Return the k-NN accuracy on a sample: with all features, with the components, with the first two of them.

    With the components also by label (right, all), and the most confused pairs; with all features the images that resemble
    each other most.
    """
    standardized = pca.standardize(sample.features)
    reduced = standardized @ pca.components
    ranked, votes = neighbors.nearest_rows(standardized), neighbors.knn_votes(reduced, sample.labels)
    pairs = neighbors.closest_pairs(sample.features, ranked, MOST_PAIRS) if sample.paths else []
    largest = max((sample.labels.count(label) for label in set(sample.labels)), default=0)
    return {
        "sample": len(sample.labels),
        "neighbors": neighbors.NEIGHBORS,
        "accuracy_features": neighbors.accuracy(neighbors.votes_of(ranked, sample.labels), sample.labels),
        "accuracy_components": neighbors.accuracy(votes, sample.labels),
        "accuracy_two_components": neighbors.knn_accuracy(reduced[:, :2], sample.labels),
        "largest_label_share": largest / len(sample.labels) if sample.labels else None,
        "by_label": neighbors.right_by_label(votes, sample.labels) if len(votes) else {},
        "confused": neighbors.confusions(votes, sample.labels, MOST_PAIRS) if len(votes) else [],
        "closest": [{"paths": [sample.paths[i], sample.paths[j]], "cosine": round(c, 5)} for i, j, c in pairs],
    }
