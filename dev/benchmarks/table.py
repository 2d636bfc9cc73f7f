"""What was measured, as kept in bench.json, and the tables made of it."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.bounds import Bound, Bounds
from benchmarks.measuring import Figures

BUSY = 0.1  # share of the cores that others may use before a bound that is missed is not held against this project

SAME_RATE = 0.1  # by how much the bare loop's rate may differ between rows of one table

# Where a page of the documentation has the table, or some figures of it: <!-- figures of make bench: rate, peer_ratio -->
MARKED = re.compile(
    r"(?P<begin><!-- figures of make bench(?:: (?P<keys>[\w, ]+?))? -->\n).*?(?P<end><!-- end of the figures -->\n)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        figures: what was found; empty for a row that was skipped or failed.
        skipped: why it was not measured.
        error: how it failed.
        began: when, UTC.
        seconds: that it took.
        load: average of the last minute, before and after.
        others: share of the cores that others used, before and after.
        between: the same between the row's runs, their median: a process of ours that ends late is no neighbor.
        stolen: share of the cores that the hypervisor gave to other guests meanwhile.
        rate: images/s of the bare loop in that run; 0 if it was not measured.
    """

    figures: Figures = field(default_factory=dict)
    skipped: str = ""
    error: str = ""
    began: str = ""
    seconds: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    others: tuple[float, float] = (0.0, 0.0)
    between: float = 0.0
    stolen: float = 0.0
    rate: float = 0.0

    @property
    def neighbors(self) -> float:
        """The largest of the shares that were not this project's."""
        return max(*self.others, self.between, self.stolen)

    @property
    def busy(self) -> bool:
        return self.neighbors > BUSY


@dataclass(frozen=True)
class Table:
    """All rows of one size on one machine."""

    size: str
    machine: str
    rows: dict[str, Measured]

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, file: Path) -> "Table | None":
        """Return what an earlier run kept, or None if there is nothing, or nothing of this format."""
        try:
            kept = json.loads(file.read_text())
            return cls(kept["size"], kept["machine"], {name: Measured(**row) for name, row in kept["rows"].items()})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def found(self, bounds: Bounds) -> Iterator[tuple[str, float, Bound, Measured]]:
        """Yield each figure that has a meaning, in the order of the bounds."""
        for key, bound in bounds.items():
            for row in self.rows.values():
                if key in row.figures:
                    yield key, row.figures[key], bound, row

    def lines(self, bounds: Bounds) -> Iterator[str]:
        """Yield the closing table as it is printed."""
        yield f"size {self.size} on {self.machine}"
        if self.size != "full":
            yield "an indication only: the bounds are those of the full size"
        for key, value, bound, row in self.found(bounds):
            verdict = f"{bound} {self.verdict(value, bound, row)}".strip()
            yield f"{key:24} {shown(value):>8}  {verdict:30} {bound.meaning}".rstrip()
        for name, row in self.rows.items():
            if row.skipped or row.error:
                yield f"{name}: {'not measured: ' + row.skipped if row.skipped else 'FAILED: ' + row.error.splitlines()[0]}"
        yield f"{sum(row.seconds for row in self.rows.values()):.0f} s in all: " + ", ".join(
            f"{name} {row.seconds:.0f}" for name, row in self.rows.items()
        )

    def verdict(self, value: float, bound: Bound, row: Measured) -> str:
        """Return what is to be said of a figure: MISSED if nobody but this project can be the cause."""
        if bound.holds(value) or self.size == "small":
            return ""
        if bound.machine:
            return "(not met)"
        return f"(not met; other processes used {row.neighbors:.0%} of the CPU)" if row.busy else "MISSED"

    def missed(self, bounds: Bounds, names: Collection[str]) -> list[str]:
        """Return the figures of rows that make a run fail: those whose bound is missed, with nobody else to be the cause."""
        judged = {name: self.rows[name] for name in names if name in self.rows}
        found = Table(self.size, self.machine, judged).found(bounds)
        return [key for key, value, bound, row in found if self.verdict(value, bound, row) == "MISSED"]

    def without_others(self, size: str, machine: str, rate: float) -> dict[str, Measured]:
        """Return the rows that may stand beside those of a run now: of its size and machine, at its rate of the bare loop.

        Two machines of one description may differ by more than half, and a machine from itself an hour ago.
        """
        if (self.size, self.machine) != (size, machine):
            return {}
        return {name: row for name, row in self.rows.items() if abs(row.rate - rate) <= SAME_RATE * rate}

    def markdown(self, bounds: Bounds) -> Iterator[str]:
        """Yield the table for the documentation."""
        days = sorted(row.began[:10] for row in self.rows.values() if row.began)
        loads = [row.load[0] for row in self.rows.values() if row.began]
        busiest = max((row.neighbors for row in self.rows.values()), default=0.0)
        yield f"Size `{self.size}` on {self.machine}; measured {days[0] if days else 'never'}, load before a row"
        yield (
            f"{min(loads, default=0):.1f} to {max(loads, default=0):.1f}, "
            f"other processes used at most {busiest:.0%} of the CPU."
        )
        yield from ("", "| | measured | target | what |", "|---|---|---|---|")
        for key, value, bound, row in self.found(bounds):
            verdict = (
                self.verdict(value, bound, row).replace("MISSED", ", **missed**").replace("(", ", ").replace(")", "")
            )
            wanted = f"{bound}{', indication' if bound.machine else ''}{verdict}"
            yield f"| `{key}` | {shown(value)} | {wanted} | {bound.meaning} |"
        for name, row in self.rows.items():
            if row.skipped or row.error:
                yield f"\n`{name}` was not measured: {(row.skipped or row.error).splitlines()[0]}."


def shown(value: float) -> str:
    """Return a figure with the digits that its size deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def insert(page: str, table: Table, bounds: Bounds) -> str:
    """Return a page with the table between its marks.

    Raises:
        ValueError: the page has no marks, or they name a figure that does not exist.
    """
    marked = MARKED.search(page)
    if not marked:
        raise ValueError("no line <!-- figures of make bench --> and after it <!-- end of the figures -->")
    keys = marked["keys"].split(", ") if marked["keys"] else list(bounds)
    if unknown := [key for key in keys if key not in bounds]:
        raise ValueError(f"no figure {', '.join(unknown)}; there are {', '.join(bounds)}")
    lines = "\n".join(table.markdown({key: bounds[key] for key in keys}))
    return f"{page[: marked.start()]}{marked['begin']}{lines}\n{marked['end']}{page[marked.end() :]}"
