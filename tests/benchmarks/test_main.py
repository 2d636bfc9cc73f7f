"""The run: which rows are measured, what is kept of an earlier run, and what a row that cannot be measured says."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import machine, rows
from benchmarks.bench import FULL, SMALL, Bench
from benchmarks.bounds import at_least, indication
from benchmarks.machine import Machine
from benchmarks.measuring import Figures, SkippedError


def latency(bench: Bench) -> Figures:
    return {"latency_images": bench.sizes.latency, "latency_ratio": 0.96}


def cores(bench: Bench) -> Figures:
    return {"core_ratio": 0.5}


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the figures are kept, of two rows that take no time, on a machine where nobody else is."""
    monkeypatch.setattr(rows, "ROWS", {"latency": latency, "cores": cores})
    monkeypatch.setattr(
        rows, "BOUNDS", {"latency_ratio": at_least(0.95, "with and without"), "core_ratio": at_least(0.97, "2 and 1")}
    )
    monkeypatch.setattr(Bench, "images", [])
    monkeypatch.setattr(Bench, "rate", FULL.rate)
    monkeypatch.setattr(machine, "others", lambda: 0.0)
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(benchmarks, "this_machine", lambda: Machine("Test CPU", "avx2", 2))
    monkeypatch.setattr(benchmarks, "OUTPUT", tmp_path / "bench-output/bench.json")
    return tmp_path / "bench-output/bench.json"


def figures(output: Path) -> dict[str, Figures]:
    return {name: row["figures"] for name, row in json.loads(output.read_text())["rows"].items()}


def test_every_row_is_measured_and_a_missed_bound_is_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main([]) == 1

    assert figures(output) == {
        "latency": {"latency_images": FULL.latency, "latency_ratio": 0.96},
        "cores": {"core_ratio": 0.5},
    }
    table = capsys.readouterr().out.rpartition("size full on Test CPU, 2 cores (avx2)")[2].splitlines()
    assert {line.split()[0]: "MISSED" in line for line in table[1:3]} == {"latency_ratio": False, "core_ratio": True}
    assert table[-1] == "missed: core_ratio"


def test_a_bound_that_another_may_have_missed_fails_no_run(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "others", lambda: 0.5)
    assert benchmarks.main([]) == 0

    monkeypatch.setattr(machine, "others", lambda: 0.0)
    monkeypatch.setitem(rows.BOUNDS, "core_ratio", indication("≥", 0.97, "2 and 1"))
    assert benchmarks.main([]) == 0


def test_a_row_of_an_earlier_run_fails_no_later_one(output: Path) -> None:
    benchmarks.main([])

    assert benchmarks.main(["--only", "latency"]) == 0
    assert list(figures(output)) == ["latency", "cores"]


def test_a_small_size_is_not_judged_by_the_bounds_of_the_full_one(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.main(["--size", "small"])

    assert figures(output)["latency"]["latency_images"] == SMALL.latency
    assert "MISSED" not in capsys.readouterr().out


def test_a_slow_machine_takes_fewer_images_and_says_so(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Bench, "rate", FULL.rate / 4)

    benchmarks.main([])

    assert figures(output)["latency"]["latency_images"] == FULL.latency / 4
    assert f"the bare loop does {FULL.rate / 4:.0f} images/s here" in capsys.readouterr().out


def test_a_fast_machine_takes_no_more_images_and_few_stay_few() -> None:
    assert FULL.at(2 * FULL.rate) == FULL
    assert FULL.at(FULL.rate / 2).few == FULL.few
    assert SMALL.at(1) == SMALL


def test_some_rows_leave_the_others_as_they_were(output: Path) -> None:
    benchmarks.main([])
    kept = json.loads(output.read_text())
    kept["rows"]["cores"]["figures"]["core_ratio"] = 7.0
    output.write_text(json.dumps(kept))
    benchmarks.main(["--only", "latency"])

    assert figures(output)["cores"] == {"core_ratio": 7.0}


def test_rows_of_another_size_or_machine_are_not_kept(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks.main([])
    benchmarks.main(["--only", "latency", "--size", "small"])
    assert list(figures(output)) == ["latency"]

    benchmarks.main(["--size", "small"])
    monkeypatch.setattr(benchmarks, "this_machine", lambda: Machine("Another CPU", "", 4))
    benchmarks.main(["--only", "latency", "--size", "small"])
    assert list(figures(output)) == ["latency"]


def test_rows_of_a_machine_that_was_faster_or_slower_are_not_kept(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two machines of one description: 240 images/s and 404."""
    benchmarks.main([])
    monkeypatch.setattr(Bench, "rate", 0.92 * FULL.rate)
    benchmarks.main(["--only", "latency"])
    assert sorted(figures(output)) == ["cores", "latency"]

    monkeypatch.setattr(Bench, "rate", 0.8 * FULL.rate)
    benchmarks.main(["--only", "latency"])
    assert list(figures(output)) == ["latency"]
    assert "10 % off: cores\n" in capsys.readouterr().out


def test_a_row_that_fails_is_told_and_the_others_are_measured(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(bench: Bench) -> Figures:
        raise RuntimeError("extract_features ended with 1: no space left on device\nmore")

    monkeypatch.setitem(rows.ROWS, "latency", broken)

    assert benchmarks.main([]) == 1
    assert list(figures(output)["cores"]) == ["core_ratio"]
    assert "latency: FAILED: RuntimeError: extract_features ended with 1: no space left on device\n" in (
        capsys.readouterr().out
    )


def test_a_row_that_is_skipped_says_why(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def elsewhere(bench: Bench) -> Figures:
        raise SkippedError("Ray is not installed")

    monkeypatch.setitem(rows.ROWS, "latency", elsewhere)

    assert benchmarks.main(["--only", "latency"]) == 0
    assert "latency: not measured: Ray is not installed\n" in capsys.readouterr().out


def test_an_unknown_row_is_refused_with_those_that_are_there(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarks.main(["--only", "latencies"])

    assert "no row latencies; there are latency, cores" in capsys.readouterr().err


def test_the_table_goes_between_the_marks_of_a_page(output: Path, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- figures of make bench -->\nold\n<!-- end of the figures -->\nafter\n")
    benchmarks.main([])

    assert benchmarks.main(["--markdown", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- figures of make bench -->\nSize `full` on Test CPU, 2 cores (avx2)")
    assert text.endswith("<!-- end of the figures -->\nafter\n")
    assert "old" not in text
    assert "| `core_ratio` | 0.50 | ≥ 0.97, **missed** | 2 and 1 |" in text


def test_markdown_without_figures_says_how_to_get_them(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["--markdown"]) == 1
    assert "run make bench" in capsys.readouterr().err
