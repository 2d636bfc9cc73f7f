"""Measure everything and print it as a table: python -m benchmarks [--size full|small] [--only cores,latency].

python -m benchmarks --markdown [PAGE...] measures nothing: it prints the last run's table for the documentation, or puts it
between the marks of pages.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks import rows
from benchmarks.bench import FULL, SMALL, Bench
from benchmarks.machine import Conditions, load, this_machine
from benchmarks.measuring import SkippedError
from benchmarks.samples import PROJECT
from benchmarks.table import Measured, Table, insert, shown

OUTPUT = PROJECT / "bench-output/bench.json"
SIZES = {"full": FULL, "small": SMALL}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=summary)
    add = parser.add_argument
    add(
        "--size",
        choices=SIZES,
        default="full",
        help="full: half an hour; small: 5 minutes, and only an indication",
    )
    add("--only", help=f"some of {', '.join(rows.ROWS)}; the others stay as an earlier run of that size left them")
    add("--markdown", nargs="*", metavar="PAGE", help="print the last run's table, or put it into these pages")
    options = parser.parse_args(argv)
    options.only = options.only.split(",") if options.only else [row for row in rows.ROWS if row not in rows.ON_REQUEST]
    if unknown := set(options.only) - set(rows.ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(rows.ROWS)}")
    return options


def measure(name: str, bench: Bench) -> Measured:
    """Measure one row; a row that fails does not take the others with it."""
    conditions = Conditions()
    figures, skipped, error = {}, "", ""
    try:
        figures = rows.ROWS[name](bench)
    except SkippedError as reason:
        skipped = str(reason)
    except Exception as failure:  # noqa: BLE001 - it is told, and the exit code is 1
        error = f"{type(failure).__name__}: {failure}"
    return Measured(figures=figures, skipped=skipped, error=error, rate=bench.rate, **conditions.so_far())


def report(row: Measured, total: float) -> None:
    for key, value in row.figures.items():
        print(f"  {key:24} {shown(value):>8}")
    if row.skipped:
        print(f"  not measured: {row.skipped}")
    if row.error:
        print(f"  FAILED: {row.error}")
    print(
        f"  {row.seconds:.0f} s, {total / 60:.1f} min so far; load {row.load[0]:.1f} before, {row.load[1]:.1f} after; of the cores,"
        f" others used {row.others[0]:.0%} before, {row.between:.0%} between runs, {row.others[1]:.0%} after, other guests {row.stolen:.0%}",
        flush=True,
    )


def document(pages: Sequence[str]) -> int:
    """Print the last run's table, or put it into pages; return the exit code."""
    table = Table.load(OUTPUT)
    if table is None:
        print(f"no figures in {OUTPUT}: run make bench", file=sys.stderr)
        return 1
    for page in pages:
        try:
            Path(page).write_text(insert(Path(page).read_text(), table, rows.BOUNDS))
        except (OSError, ValueError) as error:
            print(f"{page}: {error}", file=sys.stderr)
            return 1
    if not pages:
        print(*table.markdown(rows.BOUNDS), sep="\n")
    return 0


def earlier_rows(size: str, machine: str, rate: float, again: Collection[str]) -> dict[str, Measured]:
    """Return what an earlier run has left and this one may keep; say what of it is dropped and not measured again."""
    earlier = Table.load(OUTPUT) or Table(size, machine, {})
    kept = earlier.without_others(size, machine, rate)
    if dropped := sorted(set(earlier.rows) - set(kept) - set(again)):
        print(f"dropped, of another size or machine, or of a bare loop more than 10 % off: {', '.join(dropped)}")
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the rows that are asked for.

    Returns:
        The exit code: 1 if a row failed, or a bound was missed that this project alone can be the cause of. Rows that cannot be
        measured here, figures of the small size and those that the machine decides fail no run, nor do those of a busy machine.
    """
    options = parse(argv)
    if options.markdown is not None:
        return document(options.markdown)
    machine = str(this_machine())
    print(f"make bench, size {options.size}, on {machine}; load {load():.1f}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fruits-bench-") as folder:
        bench = Bench(Path(folder), SIZES[options.size])
        # All of it is made once, before anything is timed.
        print(
            f"\n{len(bench.images):,} images, the model; the bare loop does {bench.rate:.0f} images/s here", flush=True
        )
        table = Table(options.size, machine, earlier_rows(options.size, machine, bench.rate, options.only))
        for name in options.only:
            print(f"\n{name}", flush=True)
            table.rows[name] = measure(name, bench)
            report(table.rows[name], time.monotonic() - started)
            table.save(OUTPUT)
    print("", *table.lines(rows.BOUNDS), f"all figures: {OUTPUT}", sep="\n")
    missed = table.missed(rows.BOUNDS, options.only)
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed or any(table.rows[name].error for name in options.only) else 0


if __name__ == "__main__":
    sys.exit(main())
