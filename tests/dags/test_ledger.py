"""The ledger saves requests, and never changes what counts."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import structlog.testing
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, history, objects
from fruit_features.layout import Location
from fruit_features.run import Run
from fruit_features.workspace import workspace

Build = Callable[..., Run]


def put(hook: S3Hook, where: str, *names: str, **more: Any) -> None:
    """Write rows of features, or of rejects with a `reason`."""
    schema = datasets.REJECTS if "reason" in more else datasets.FEATURES
    rows = [{"path": name, "etag": "e", "model_id": "net", **more} for name in names]
    rows = [{field: row.get(field) for field in schema.names} for row in rows]
    table = pa.Table.from_pylist(rows, schema)
    datasets.write(datasets.filesystem(hook), Location("fruits", where), table)
    hook.load_bytes(b"", f"{where.rpartition('/')[0]}/_SUCCESS", "fruits", replace=True)


@pytest.fixture
def run(hook: S3Hook, make_run: Build, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run after three that are in the ledger."""
    monkeypatch.setattr(history, "MANY_FOLDERS", 4)
    put(hook, "features/run=1/part-0.parquet", "a", "b")
    put(hook, "features/run=2/part-0.parquet", "c")
    put(hook, "features/run=2/part-1.parquet", "other", model_id="other net")
    put(hook, "rejects/run=1/part-0.parquet", "bad", reason="truncated")
    for number in (1, 2, 3):
        put(hook, f"rejects/run={number}/part-1.parquet", "gone", reason="not_found")
    put(hook, "rejects/run=3/part-2.parquet", "late", reason="not_found")
    run = make_run()
    history.extend_ledger(hook, run.layout)
    assert objects.exists(hook, run.layout.ledger / "latest.json")
    return run


def opened(
    hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[str], list[str], list[str]]:
    """Return which images are extracted and which rejected, and the files of runs that were opened to know it."""
    paths: list[str] = []
    original = history._rows
    with monkeypatch.context() as patch, workspace() as work:
        patch.setattr(
            history, "_rows", lambda files, path, *rest: (paths.append(path), original(files, path, *rest))[1]
        )
        history.collect_outcomes(hook, run.layout, work, "net", **options)
        (extracted,) = work.row("SELECT list(path ORDER BY path) FROM extracted")
        (rejected,) = work.row("SELECT list(path ORDER BY path) FROM rejected")
    return extracted or [], rejected or [], sorted(paths)


def test_runs_that_are_in_it_are_not_opened(hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(hook, run, monkeypatch) == (["a", "b", "c"], ["bad", "gone"], [])


def test_runs_since_are_opened(hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hook, "features/run=4/part-0.parquet", "d")
    for number in (4, 5):
        put(hook, f"rejects/run={number}/part-0.parquet", "late", reason="not_found")

    extracted, rejected, files = opened(hook, run, monkeypatch)

    assert (extracted, rejected) == (["a", "b", "c", "d"], ["bad", "gone", "late"])  # the third try is the last
    assert len(files) == 3


def test_a_run_that_was_cleared_or_deleted_counts_as_it_is_now(
    hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hook, "features/run=1/part-0.parquet", "a", "new")
    hook.delete_objects("fruits", ["features/run=2/part-0.parquet", "features/run=2/_SUCCESS"])
    hook.delete_objects("fruits", ["rejects/run=1/part-0.parquet"])

    assert opened(hook, run, monkeypatch)[:2] == (["a", "new"], ["gone"])


def test_what_does_not_count_does_not_count_from_the_ledger_either(
    hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Location("fruits", "features/run=1")
    assert opened(hook, run, monkeypatch, exclude=(own,)) == (["c"], ["bad", "gone"], [])


def test_a_ledger_grows_out_of_the_one_before(hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (4, 5, 6):
        put(hook, f"features/run={number}/part-0.parquet", f"d{number}")
    history.extend_ledger(hook, run.layout)
    assert len(opened(hook, run, monkeypatch)[2]) == 3, "three runs are too few"
    put(hook, "features/run=7/part-0.parquet", "d7")
    history.extend_ledger(hook, run.layout)

    assert opened(hook, run, monkeypatch) == (["a", "b", "c", "d4", "d5", "d6", "d7"], ["bad", "gone"], [])


def test_a_folder_with_a_foreign_file_is_named_each_time(
    hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hook.load_bytes(b"Dear reader", "features/run=2/part-9.parquet", "fruits")
    monkeypatch.setattr(history, "MANY_FOLDERS", 1)
    history.extend_ledger(hook, run.layout)
    caplog.clear()

    assert opened(hook, run, monkeypatch)[0] == ["a", "b", "c"]
    assert "features/run=2/part-9.parquet does not count as features" in caplog.text


def test_a_ledger_whose_file_was_deleted_is_named_and_read_as_none(
    hook: S3Hook, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = [key for key in hook.list_keys("fruits", run.layout.ledger.key) if key.endswith(".parquet")]
    hook.delete_objects("fruits", [file])

    with structlog.testing.capture_logs() as entries:
        extracted, rejected, files = opened(hook, run, monkeypatch)
    assert (extracted, rejected) == (["a", "b", "c"], ["bad", "gone"])
    assert len(files) == 8, "all of them"
    assert any(file in str(entry) for entry in entries)

    history.extend_ledger(hook, run.layout)
    assert opened(hook, run, monkeypatch) == (["a", "b", "c"], ["bad", "gone"], [])
