"""The table: which figures are there, which bounds are missed, and what `--only` keeps."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as table
from benchmarks.extraction import FULL, SMALL, Bench, Figures, seed


def latency(bench: Bench) -> Figures:
    return {"latency_images": float(bench.sizes.latency), "latency_ratio": 0.95}


def cores(bench: Bench) -> Figures:
    return {"core_ratio": 1.5}


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(table, "ROWS", (latency, cores))
    monkeypatch.setattr(table, "OUTPUT", tmp_path / "bench-output/bench.json")
    return tmp_path / "bench-output/bench.json"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    table.main()


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, bool]:
    """By key of the closing table, whether it is marked as missed."""
    table_lines = capsys.readouterr().out.splitlines()[-3:-1]
    return {line.split()[0]: "MISSED" in line for line in table_lines}


def test_every_row_is_measured_and_a_missed_bound_is_named(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)

    assert json.loads(output.read_text()) == {"latency_images": FULL.latency, "latency_ratio": 0.95, "core_ratio": 1.5}
    assert verdicts(capsys) == {"latency_ratio": False, "core_ratio": True}


def test_a_small_size_is_not_judged_by_the_bounds_of_the_full_one(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--size", "small")

    assert json.loads(output.read_text())["latency_images"] == SMALL.latency
    assert verdicts(capsys) == {"latency_ratio": False, "core_ratio": False}


def test_some_rows_leave_the_others_figures_as_they_were(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    stored = json.loads(output.read_text()) | {"core_ratio": 7.0}
    output.write_text(json.dumps(stored))
    run(monkeypatch, "--only", "latency")

    assert json.loads(output.read_text()) == {"latency_images": FULL.latency, "latency_ratio": 0.95, "core_ratio": 7.0}


def test_the_notebooks_flow_is_left_out_of_small_runs_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seed(Bench(tmp_path, SMALL)) == {}
    assert "seed: not measured" in capsys.readouterr().out
