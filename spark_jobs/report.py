"""What a reduction found: report.json for programs, report.html for people, from the same numbers."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyspark

from spark_jobs import charts, neighbors
from spark_jobs.fitted_model import FittedModel
from spark_jobs.moments import Floats, Moments
from spark_jobs.pca import Pca, explained_share
from spark_jobs.report_page import page
from spark_jobs.selection import Coverage

# Bounds the driver's memory (3,000 x 1,280 float64 are 31 MB) and the page: each point is an element of its drawing.
SAMPLE_ROWS = 3000


@dataclass(frozen=True)
class Sample:
    """Some images, for what takes all of an image's features at once.

    Attributes:
        labels: (n,).
        features: (n, d).
    """

    labels: list[str]
    features: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Sample":
        """Return the sample in the columns `label` and `features`, in order of `path`."""
        rows = rows.sort_values("path")
        features = np.array(rows["features"].tolist(), dtype=np.float64)
        return cls(rows["label"].tolist(), features.reshape(len(rows), -1))


def content(
    run: str, images: Coverage, moments: Moments, fitted: FittedModel, asked: Mapping[str, float], sample: Sample
) -> dict[str, Any]:
    """Return report.json but for timings and sizes, which are known when everything is written.

    Args:
        run: its name.
        images: the inventory's fate.
        moments: of the features that count.
        fitted: the model they were projected with.
        asked: `variance` or `components`; empty for an earlier model.
        sample: some of the features that count.
    """
    rejected = images.rejects_by_reason
    return {
        "run": run,
        "model_id": fitted.model_id,
        "images": moments.count + sum(rejected.values()),
        "features": moments.count,
        "rejects": sum(rejected.values()),
        "rejects_by_reason": rejected,
        "reject_examples": images.examples,
        "labels": {
            label: {"features": images.features.get(label, 0), "rejects": sum(images.rejects.get(label, {}).values())}
            for label in images.labels
        },
        "asked": dict(asked),
        "feature_count": len(fitted.pca.mean),
        "components": fitted.pca.size,
        "explained_variance": explained_share(moments, fitted.pca),
        "variance_curve": fitted.curve,
        "constant_features": int((fitted.pca.deviation == 0).sum()),
        "fitted": {"run": fitted.run, "features": fitted.rows},
        "nearest_neighbors": separation(sample, fitted.pca),
        "versions": {
            "spark": pyspark.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


def separation(sample: Sample, pca: Pca) -> dict[str, Any]:
    """Return how well the labels of a sample are told apart by all features, by the components, and by two of them."""
    standardized = pca.standardize(sample.features)
    reduced = standardized @ pca.components
    largest = max((sample.labels.count(label) for label in set(sample.labels)), default=0)
    return {
        "sample": len(sample.labels),
        "neighbors": neighbors.NEIGHBORS,
        "accuracy_features": neighbors.accuracy(standardized, sample.labels),
        "accuracy_components": neighbors.accuracy(reduced, sample.labels),
        "accuracy_two_components": neighbors.accuracy(reduced[:, :2], sample.labels),
        "largest_label_share": largest / len(sample.labels) if sample.labels else None,
    }


def drawings(report: Mapping[str, Any], sample: Sample, pca: Pca) -> tuple[dict[str, str], dict[str, bytes]]:
    """Draw the report's charts.

    Returns:
        By name, as SVG for the page, and as PNG files.
    """
    used = {label: counts["features"] for label, counts in report["labels"].items() if counts["features"]}
    unused = {label: counts["rejects"] for label, counts in report["labels"].items() if counts["rejects"]}
    points = plane(pca.project(sample.features))
    shares = [*pca.explained[:2], 0.0][:2]
    figures = {
        "variance": charts.variance_curve(report["variance_curve"], pca.size, report["asked"].get("variance")),
        "components": charts.scatter(points, sample.labels, shares),
        "labels": charts.images_per_label(used, unused),
    }
    images = {name: charts.png(figure) for name, figure in figures.items()}
    if len(set(sample.labels)) > 2:
        images["each_label"] = charts.png(charts.each_label(points, sample.labels))
    return {name: charts.svg(figure) for name, figure in figures.items()}, images


def plane(vectors: Floats) -> Floats:
    """Return the first two components of (n, k) vectors; the second is 0 where there is only one."""
    return np.pad(vectors[:, :2], ((0, 0), (0, max(0, 2 - vectors.shape[1]))))


def html(report: Mapping[str, Any], sample: Sample, svgs: Mapping[str, str], each_label: bytes | None) -> str:
    """Return report.html."""
    names = sorted(set(sample.labels))
    return page(report, svgs, list(zip(names, charts.colors(len(names)), strict=True)), each_label)
