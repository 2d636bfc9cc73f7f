"""The report of a reduction: report.json for programs, report.html for people, charts as PNG files."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from spark_jobs import uris
from spark_jobs.reduction.moments import Floats, Moments
from spark_jobs.reduction.pca_model import PcaModel
from spark_jobs.reduction.selection import InventorySummary
from spark_jobs.report import content
from spark_jobs.report.content import Sample
from spark_jobs.stored import Facts


@dataclass(frozen=True)
class Charts:
    """The charts.

    Attributes:
        svgs: those of the page, by name.
        pngs: those that are files, by name.
        colors: of the labels in the sample.
    """

    svgs: dict[str, str]
    pngs: dict[str, bytes]
    colors: dict[str, str]

    @classmethod
    def draw(cls, model: PcaModel, requested: float | None, some: Sample) -> Self:
        """Draw the variance that a PCA keeps, with the share that was `requested`, if one was, and a sample's components."""
        from spark_jobs.report import charts

        points = first_two(model.pca.project(some.features))
        shares = [*model.pca.explained_variance_ratio[:2], 0.0][:2]
        names = sorted(set(some.labels))
        curve = charts.variance_curve(model.cumulative_variance, model.pca.n_components, requested)
        # The page names the labels itself, below the plot.
        unnamed = named = charts.scatter(points, some.labels, shares, legend=False)
        if len(names) <= charts.MAX_LEGEND:
            named = charts.scatter(points, some.labels, shares, legend=True)
        pngs = {"variance": charts.png(curve), "components": charts.png(named)}
        if len(names) > 2:
            pngs["each_label"] = charts.png(charts.small_multiples(points, some.labels))
        svgs = {"variance": charts.svg(curve), "components": charts.svg(unnamed)}
        return cls(svgs, pngs, dict(zip(names, charts.colors(len(names)), strict=True)))


@dataclass(frozen=True)
class Report:
    """Everything but timings and sizes, which are known when everything else is written.

    Attributes:
        content: of report.json.
        charts: of the page and beside it.
    """

    content: dict[str, Any]
    charts: Charts

    @classmethod
    def build(
        cls,
        run: str,
        summary: InventorySummary,
        moments: Moments,
        model: PcaModel,
        target: Mapping[str, float],
        sample: pa.Table,
    ) -> Self:
        """Compute and draw at the same time; arguments as for `content.build`, with the sample as a table."""
        some = Sample.from_table(sample)
        with ThreadPoolExecutor(1) as pool:  # numpy's work, mostly, which leaves the interpreter to the drawing
            computing = pool.submit(content.build, run, summary, moments, model, target, some)
            drawn = Charts.draw(model, target.get("variance"), some)
            return cls(computing.result(), drawn)

    def save(
        self,
        output: str,
        timings: Mapping[str, float],
        sizes: Mapping[str, int],
        compared: Mapping[str, Any],
        written: Mapping[str, Mapping[str, Facts]],
    ) -> str:
        """Write report.json, report.html and the charts to the folder `output`; return the URI of the page.

        Args:
            output: URI.
            timings: seconds by phase of the job.
            sizes: of input and output, in bytes and files.
            compared: of `Background.compared`.
            written: what is known of the files beside the report, by folder and name.
        """
        found = self.content | dict(compared) | {"timings": timings, "sizes": sizes, "written": written}
        for name, image in self.charts.pngs.items():
            uris.write_bytes(uris.join(output, f"{name}.png"), image)
        uris.write_json(uris.join(output, "report.json"), found)
        page = uris.join(output, "report.html")
        uris.write_bytes(page, self.html(found).encode())
        return page

    def html(self, found: Mapping[str, Any]) -> str:
        """Return the page of the full report.json, `found`."""
        from spark_jobs.report.page import render

        return render(found, self.charts.svgs, self.charts.colors, self.charts.pngs.get("each_label"))


def first_two(vectors: Floats) -> Floats:
    """Return the first two components of (n, k) vectors; the second is 0 where there is only one."""
    return np.pad(vectors[:, :2], ((0, 0), (0, max(0, 2 - vectors.shape[1]))))


def import_renderers() -> None:
    """Import matplotlib and Jinja2, which take a second, while the job waits for something else."""
    import spark_jobs.report.charts
    import spark_jobs.report.page  # noqa: F401
