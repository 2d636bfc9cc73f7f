"""The charts of the report, drawn with matplotlib."""

import colorsys
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from spark_jobs.reduction.moments import Floats

TEXT, MUTED, GRID, ACCENT, AXIS = "#22303c", "#6b7885", "#e3e8ec", "#c2410c", "#b0b9c1"
MAX_LEGEND = 24
# Far enough apart for up to sixteen labels; more get evenly spread hues.
_FEW_COLORS = (
    "#d1495b", "#2e7dba", "#4f9d4f", "#e08e1b", "#7b5ea7", "#1aa6a6", "#8c6d31", "#d873b0",
    "#5b6b7a", "#a3b018", "#1f3f77", "#7a1f3d", "#11603f", "#5cb8e6", "#e8745c", "#b79ad6",
)  # fmt: skip

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: it can be searched and takes the page's font
    "axes.edgecolor": AXIS,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": TEXT,
    "text.parse_math": False,  # a label may hold a dollar sign
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.dpi": 100,
    "svg.hashsalt": "fruit features",  # the same data gives the same file
}


def variance_curve(curve: Sequence[float], components: int, requested: float | None) -> Figure:
    """Draw the cumulative share of variance and mark what was kept.

    Args:
        curve: the share of 1, 2, … components.
        components: how many were kept.
        requested: the share that was to be reached, if one was.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(9.2, 4.0)
        shares = np.asarray(curve)
        shown = max(components, min(len(shares), int(np.searchsorted(shares, 0.995)) + 1))
        numbers = np.arange(0, shown + 1)
        heights = np.concatenate([[0.0], shares[:shown]])
        axes.plot(numbers, heights, color=MUTED, linewidth=1.6, solid_capstyle="round")
        kept = slice(0, components + 1)
        axes.fill_between(numbers[kept], heights[kept], color=ACCENT, alpha=0.12, linewidth=0)
        axes.plot(numbers[kept], heights[kept], color=ACCENT, linewidth=2.4, solid_capstyle="round")
        reached = shares[components - 1]
        axes.plot(
            [components], [reached], "o", color=ACCENT, markersize=8, markeredgecolor="white", markeredgewidth=1.5
        )
        if requested is not None:
            axes.axhline(requested, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.text(
                shown,
                requested + 0.012,
                f"requested: {requested:.0%}" if requested < 0.995 else "requested",
                ha="right",
                va="bottom",
                color=MUTED,
            )
        right = components > shown * 0.6
        above = right and reached < 0.93  # where the curve leaves room
        axes.annotate(
            f"{components} components keep {reached:.1%}",
            (components, reached),
            xytext=(-12 if right else 14, 8 if above else -22),
            textcoords="offset points",
            ha="right" if right else "left",
            va="bottom" if above else "top",
            color=ACCENT,
            fontweight="bold",
            fontsize=11,
        )
        axes.set(xlim=(0, shown * 1.01), ylim=(0, 1.04), xlabel="principal components", ylabel="share of the variance")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        return figure


def scatter(points: Floats, labels: Sequence[str], shares: Sequence[float], *, legend: bool) -> Figure:
    """Draw the first two components, one color a label.

    Every label's points are an SVG group `points-<n>`, n being its place among the sorted labels, so that a page can
    highlight them.

    Args:
        points: (n, 2).
        labels: (n,).
        shares: the share of variance of the two components.
        legend: name the labels beside the plot, if there are no more than `MAX_LEGEND`.
    """
    names = sorted(set(labels))
    chosen = np.asarray(labels)
    with mpl.rc_context(_STYLE):
        legend = legend and len(names) <= MAX_LEGEND
        figure, axes = _figure(9.2, 6.6, legend=legend)
        size = math.sqrt(np.clip(9000 / max(len(points), 1), 5, 28))
        look: Any = {"marker": "o", "linestyle": "none", "markersize": size, "markeredgewidth": 0, "alpha": 0.65}
        for number, (name, color) in enumerate(zip(names, colors(len(names)), strict=True)):
            # As lines without a line: `scatter` takes four times as long for 131 labels.
            [marks] = axes.plot(*points[chosen == name].T, color=color, label=_short(name, 24), **look)
            marks.set_gid(f"points-{number}")
            marks.set_in_layout(False)  # they are within the axes: no need to measure each
        axes.set(xlabel=f"component 1 · {shares[0]:.1%} of the variance", ylabel=f"component 2 · {shares[1]:.1%}")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(0.06)
        if legend:
            figure.legend(loc="outside right upper", frameon=False, markerscale=1.4)
        return figure


def small_multiples(points: Floats, labels: Sequence[str]) -> Figure:
    """Draw the same plane once per label: its points over the density of all.

    All panels share one `Axes`, a pixel of the density being its unit: an `Axes` each takes twice as long for 131 labels.

    Args:
        points: (n, 2).
        labels: (n,).
    """
    names, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    across = 4 if len(names) <= 8 else 6 if len(names) <= 24 else 8 if len(names) <= 64 else 11
    down = math.ceil(len(names) / across)
    (left, right, bottom, top), density = _density(points)
    tall, wide = density.shape
    gap_x, gap_y = round(0.08 * wide), round(0.32 * tall)
    corners = np.array(
        [(n % across * (wide + gap_x), (down - 1 - n // across) * (tall + gap_y)) for n in range(len(names))]
    )
    backdrop = np.full((down * (tall + gap_y) - gap_y, across * (wide + gap_x) - gap_x), np.nan)
    for x, y in corners:
        backdrop[y : y + tall, x : x + wide] = density
    scaled = (points - (left, bottom)) / (right - left, top - bottom) * (wide, tall)

    with mpl.rc_context(_STYLE):
        height = 9.4 / across * down * (1.0 if across > 4 else 0.85) + 0.3
        figure = Figure(figsize=(11.4, height), facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.004, 0.06 / height, 0.992, 1 - 0.28 / height))
        axes.set_axis_off()
        extent = (0.0, float(backdrop.shape[1]), 0.0, float(backdrop.shape[0]))
        axes.imshow(backdrop, extent=extent, origin="lower", aspect="auto", cmap="Greys", vmin=0, vmax=2.2)
        x, y = (corners[numbers] + scaled).T
        shades = np.asarray(colors(len(names)))[numbers]
        axes.scatter(x, y, s=5, color=shades, alpha=0.85, linewidths=0)
        frames = [Rectangle((x, y), wide, tall) for x, y in corners.tolist()]
        axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=GRID, linewidth=0.8, clip_on=False))
        size, length = (8.5, 21) if across < 11 else (7, 18)
        for name, (x, y) in zip(names, corners + np.array([0, tall]), strict=True):
            place: Any = {"xytext": (0, 3), "textcoords": "offset points", "annotation_clip": False}
            axes.annotate(_short(str(name), length), (x, y), fontsize=size, color=TEXT, **place)
        axes.set(xlim=extent[:2], ylim=extent[2:])
        return figure


def colors(count: int) -> list[str]:
    """Return `count` colors, as different as that many can be."""
    if count <= len(_FEW_COLORS):
        return list(_FEW_COLORS[:count])
    golden = (math.sqrt(5) - 1) / 2  # successive hues far apart, all of them evenly spread
    shades = ((0.42, 0.62), (0.50, 0.55), (0.32, 0.55))
    tones = (colorsys.hls_to_rgb(number * golden % 1, *shades[number % 3]) for number in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in tone) for tone in tones]


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element for a page: no XML prologue, no fixed size, no date."""
    stream = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    drawing = stream.getvalue()
    opening, rest = drawing[drawing.index("<svg") :].split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, sharp on a high-resolution screen."""
    stream = io.BytesIO()
    with mpl.rc_context(_STYLE):
        # A third of the time that drawing takes went into the last 15 % of the size.
        figure.savefig(stream, format="png", dpi=160, pil_kwargs={"compress_level": 1})
    return stream.getvalue()


def _figure(width: float, height: float, *, legend: bool = False) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with one pair of axes, which leave room for a legend outside if there is one."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained" if legend else None)
    FigureCanvasAgg(figure)
    if legend:  # as wide as its longest name: matplotlib draws everything twice to find out
        return figure, figure.add_subplot()
    left, bottom, edge = 0.74, 0.47, 0.04
    return figure, figure.add_axes(
        (left / width, bottom / height, 1 - (left + edge) / width, 1 - (bottom + edge) / height)
    )


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _density(points: Floats) -> tuple[tuple[float, float, float, float], Floats]:
    """Return the extent of all points with a margin, and where in it they are dense, (48, 64) in 0..1."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum((high - low) * 0.07, 1e-9)
    (left, bottom), (right, top) = low - margin, high + margin
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(64, 48), range=((left, right), (bottom, top)))
    density = np.log1p(counts.T)
    return (left, right, bottom, top), density / density.max()
