"""report.html: one file that opens anywhere, without a network."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def render(
    report: Mapping[str, Any], svgs: Mapping[str, str], colors: Mapping[str, str], each_label: bytes | None
) -> str:
    """Return the page: `page.html` beside this module, with everything escaped but the charts, style and script.

    Args:
        report: the content of report.json.
        svgs: the charts `variance` and `components`.
        colors: of the labels of the scatter plot, in the order of its groups.
        each_label: PNG, the scatter plot once per label.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"thousands": _thousands, "percent": _percent, "bytes": _bytes, "usd": _usd}
    by_label = report["nearest_neighbors"]["by_label"]
    qualities = sorted(by_label.items(), key=lambda item: (item[1][0] / item[1][1], item[0]))
    labels = sorted(report["labels"].items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return environment.from_string(_text("page.html")).render(
        report=report,
        charts={name: Markup(svg) for name, svg in svgs.items()},  # noqa: S704 - matplotlib escapes its texts
        colors=colors,
        each_label=base64.b64encode(each_label).decode() if each_label else None,
        labels=labels,
        qualities=qualities,
        perfect=sum(right == all_ for _, (right, all_) in qualities),
        contents=_contents(report),
        figures={name: _csv(*table) for name, table in _tables(report).items()},
        most_images=max((sum(counts.values()) for _, counts in labels), default=0) or 1,
        longest=max(report["timings"].values(), default=0) or 1,
        now=datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC"),
        style=Markup(_text("style.css")),  # noqa: S704 - our own file
        script=Markup(_text("script.js")),  # noqa: S704 - our own file
    )


def _contents(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that the page has: id and heading."""
    sections = {
        "variance": "Variance",
        "images": "The images",
        "separation": "Class separation",
        "duplicates": "Near-duplicates" if report["nearest_neighbors"]["closest"] else "",
        "drift": "Since the previous run" if report.get("previous") else "",
        "varieties": "Varieties",
        "rejects": "Rejects",
        "time": "Time",
    }
    return [(name, heading) for name, heading in sections.items() if heading]


def _tables(report: Mapping[str, Any]) -> dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]]:
    """Return what can be downloaded: the file's name, its columns and rows."""
    neighbors = report["nearest_neighbors"]
    by_label = neighbors["by_label"]
    varieties = (
        (label, each["features"], each["rejects"], *by_label.get(label, ("", "")))
        for label, each in report["labels"].items()
    )
    return {
        "variance.csv": (("components", "share"), enumerate(report["variance_curve"], 1)),
        "varieties.csv": (("variety", "features", "rejects", "recognized", "sampled"), varieties),
        "confused.csv": (("variety", "taken for", "images"), neighbors["confused"]),
        "closest.csv": (("cosine", "image", "other"), ([e["cosine"], *e["paths"]] for e in neighbors["closest"])),
    }


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as a link that needs no server."""
    stream = io.StringIO()
    csv.writer(stream).writerows([columns, *rows])
    return "data:text/csv;charset=utf-8," + quote(stream.getvalue())


def _text(name: str) -> str:
    """Return a file beside this module, which may be in the zip of --py-files."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _thousands(number: int) -> str:
    return f"{number:,}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _usd(amount: float) -> str:
    return f"about ${amount:.2f}" if amount >= 0.01 else "less than $0.01"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:,.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
