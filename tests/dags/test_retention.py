"""What may be deleted of earlier runs, and what never."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets, history, objects, retention
from fruit_features.layout import Location, RunLayout
from fruit_features.run import Run
from fruit_features_retention_dag import delete_unneeded

MODEL, OLD_MODEL = "mobilenetv2-b-224-v1", "mobilenetv2-a-224-v1"
# By the clock of these tests everything was written a month ago, and results were listed in the order of their days.
NOW = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def layout(make_run: Callable[..., Run]) -> RunLayout:
    return make_run().layout


@pytest.fixture
def history_of(hook: S3Hook, layout: RunLayout) -> "History":
    return History(hook, layout)


class History:
    """Writes what runs leave, as they do."""

    def __init__(self, hook: S3Hook, layout: RunLayout) -> None:
        self.hook = hook
        self.layout = layout
        self.files = datasets.filesystem(hook)

    def run(self, name: str, extracts: str, *, rejects: str = "", model: str = MODEL) -> None:
        """Features of images, a letter each, and rejects."""
        self._features(name, extracts, model)
        row = {"label": "L", "etag": "e", "size": 5, "reason": "empty", "detail": ""}
        table = pa.Table.from_pylist([{"path": path, **row} for path in rejects], datasets.REJECTS)
        self._dataset(self.layout.rejects / f"run={name}", table)

    def published(self, name: str, shows: str, *, day: int, model: str = MODEL, latest: bool = True) -> None:
        """Results of an inventory of images, a letter each."""
        when = datetime(2026, 11, day, tzinfo=UTC)
        row = {"label": "L", "etag": "e", "size": 5, "last_modified": when}
        table = pa.Table.from_pylist([{"path": path, **row} for path in shows], datasets.INVENTORY)
        folder, results = self.layout.runs / name, self.layout.results / f"run={name}"
        datasets.write(self.files, folder / "inventory" / "inventory.parquet", table)
        datasets.write(self.files, folder / "manifest" / "manifest.parquet", table)
        objects.put_json(self.hook, folder / "model.json", {"model_id": model})
        # Later than the clock by which S3 dates what is written here.
        listed = (NOW - timedelta(days=10) + timedelta(hours=day)).isoformat()
        document = {"run": name, "listed": listed, "model_id": model}
        datasets.write(self.files, results / "inventory.parquet", table)
        objects.put(self.hook, results / "pca" / "part-0.parquet", b"vectors")
        objects.put_json(self.hook, results / "published.json", document)
        if latest:
            objects.put_json(self.hook, self.layout.latest, document)

    def in_turn(self, *runs: tuple[str, str]) -> None:
        """Runs "1", "2" and so on, each on a day of its own: what it extracts, and what it shows."""
        for number, (extracts, shows) in enumerate(runs, 1):
            self.run(str(number), extracts)
            self.published(str(number), shows, day=number)

    def expire(self, *names: str) -> None:
        """What these runs have in `runs/` goes, by the bucket's own rule, after 90 days."""
        self.hook.delete_objects(
            "fruits", [key for name in names for key in self.hook.list_keys("fruits", f"runs/{name}/")]
        )

    def keys(self) -> set[str]:
        return set(self.hook.list_keys("fruits"))

    def _features(self, name: str, paths: str, model: str) -> None:
        row = {"label": "L", "etag": "e", "size": 5, "model_id": model, "width": 1, "height": 1, "features": [0.0]}
        table = pa.Table.from_pylist([{"path": path, **row} for path in paths], datasets.FEATURES)
        self._dataset(self.layout.features / f"run={name}", table)

    def _dataset(self, folder: Location, table: pa.Table) -> None:
        datasets.write(self.files, folder / "part-0.parquet", table)
        objects.put(self.hook, folder / "_SUCCESS", b"")


def found(history_of: History, keep_runs: int = 1, **options: Any) -> list[str]:
    """The keys of the folders that may go."""
    rule = {"keep_runs": keep_runs, "min_age": timedelta(days=7), "now": NOW, **options}
    return sorted(
        folder.where.key for folder in retention.find_unneeded(history_of.hook, history_of.layout, **rule).folders
    )


def test_nothing_is_unneeded_before_anything_is_published(history_of: History) -> None:
    history_of.run("1", "ab")
    assert found(history_of) == []


def test_results_of_old_runs_go_and_features_that_the_latest_run_shows_stay(history_of: History) -> None:
    history_of.in_turn(("ab", "ab"), ("c", "abc"), ("", "bc"))

    # The features of a and b stay for b's sake; the rejects of 1 and 2 are nobody's.
    assert found(history_of) == ["rejects/run=1", "rejects/run=2", "results/run=1", "results/run=2", "runs/1", "runs/2"]
    assert found(history_of, keep_runs=2) == ["rejects/run=1", "results/run=1", "runs/1"]
    assert found(history_of, keep_runs=3) == []


def test_features_go_when_no_kept_run_shows_an_image_of_theirs(history_of: History) -> None:
    history_of.in_turn(("ab", "ab"), ("cd", "cd"))

    assert "features/run=1" in found(history_of)
    assert found(history_of, keep_runs=2) == []


def test_features_of_an_earlier_network_go_with_its_results(history_of: History) -> None:
    history_of.run("1", "ab", model=OLD_MODEL)
    history_of.published("1", "ab", day=1, model=OLD_MODEL)
    history_of.run("2", "ab")
    history_of.published("2", "ab", day=2)

    assert "features/run=1" in found(history_of)
    assert "features/run=1" not in found(history_of, keep_runs=2)


def test_rejects_of_images_that_are_still_there_stay(history_of: History) -> None:
    history_of.run("1", "a", rejects="b")
    history_of.published("1", "ab", day=1)
    history_of.run("2", "a")
    history_of.published("2", "ab", day=2)

    assert "rejects/run=1" not in found(history_of), "b would be extracted again"


def test_the_run_that_latest_json_names_stays_though_it_is_not_the_newest(history_of: History) -> None:
    history_of.in_turn(("a", "a"))
    history_of.run("2", "b")
    history_of.published("2", "b", day=2, latest=False)  # somebody went back to 1

    assert found(history_of, keep_runs=1) == []


def test_what_a_failed_run_has_extracted_since_stays(history_of: History) -> None:
    """The images of run 2 are in no inventory of a kept run yet, and the next run must not extract them again."""
    history_of.run("0", "z")
    history_of.published("0", "z", day=1)
    history_of.run("1", "a")
    history_of.published("1", "a", day=2)
    document = objects.read_json(history_of.hook, history_of.layout.latest)
    before = {**document, "listed": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}
    objects.put_json(history_of.hook, history_of.layout.latest, before)
    history_of.run("2", "bc")

    assert found(history_of) == []


def test_what_was_written_lately_stays(history_of: History) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))

    assert found(history_of, min_age=timedelta(days=31)) == []


def test_folders_that_cannot_be_judged_stay(history_of: History, caplog: pytest.LogCaptureFixture) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))
    objects.put(history_of.hook, history_of.layout.features / "run=1" / "part-9.parquet", b"somebody's")
    assert found(history_of) == ["rejects/run=1", "results/run=1", "runs/1"]


def test_what_kept_runs_show_stays_after_their_own_folders_have_expired(history_of: History) -> None:
    history_of.in_turn(("a", "ab"), ("b", "b"), ("c", "c"))
    history_of.expire("1", "2", "3")

    assert found(history_of, keep_runs=3) == []
    assert found(history_of, keep_runs=2) == ["features/run=1", "rejects/run=1", "results/run=1"]


@pytest.mark.parametrize("run", ["2", "3"])
def test_no_features_go_while_nobody_knows_what_a_kept_run_shows(
    history_of: History, caplog: pytest.LogCaptureFixture, run: str
) -> None:
    """One that an earlier version has published, without a copy of its inventory."""
    history_of.in_turn(("a", "a"), ("b", "b"), ("c", "c"))
    assert "features/run=1" in found(history_of, keep_runs=2)
    history_of.hook.delete_objects("fruits", f"results/run={run}/inventory.parquet")
    assert "features/run=1" in found(history_of, keep_runs=2), "it is in runs/ still"
    history_of.expire(run)

    with caplog.at_level(logging.WARNING):
        assert found(history_of, keep_runs=2) == ["results/run=1", "runs/1"]
    assert f"no features and no rejects can go: the inventory of {run} is gone" in caplog.text


def test_features_of_a_network_that_is_not_published_yet_stay(
    history_of: History, caplog: pytest.LogCaptureFixture
) -> None:
    """New weights are tried by hand, in slices, while the schedule goes on with the old ones."""
    history_of.in_turn(("a", "a"))
    history_of.run("slice", "a", rejects="x", model="mobilenetv2-new-224-v1")
    history_of.run("2", "b")
    history_of.published("2", "ab", day=2)

    with caplog.at_level(logging.INFO):
        assert found(history_of) == ["rejects/run=1", "results/run=1", "runs/1"]
    assert "features/run=slice, of a network that no run has published. If none will, delete it by hand" in caplog.text


def test_what_goes_is_named_with_its_size_and_nothing_else_is_touched(
    history_of: History, caplog: pytest.LogCaptureFixture
) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))
    history_of.hook.load_bytes(b"image", "images/L/a", "fruits")
    before = history_of.keys()
    with caplog.at_level(logging.INFO):
        unneeded = retention.find_unneeded(
            history_of.hook, history_of.layout, keep_runs=1, min_age=timedelta(days=7), now=NOW
        )
    assert "not needed: s3://fruits/features/run=1 (2 objects, 0.0 MB)" in caplog.text
    assert str(unneeded).startswith("10 objects in 4 folders, ")
    assert history_of.keys() == before

    retention.delete(history_of.hook, history_of.layout, unneeded)

    gone = before - history_of.keys()
    assert {
        key.rpartition("/")[0].replace("/inventory", "").replace("/manifest", "").replace("/pca", "") for key in gone
    } == {
        "features/run=1",
        "rejects/run=1",
        "results/run=1",
        "runs/1",
    }
    assert len(gone) == 10


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_dag_says_what_it_does(history_of: History, *, dry_run: bool) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))
    before = history_of.keys()
    params = {"bucket": "fruits", "output_prefix": None, "region": "eu-west-3", "keep_runs": 1, "min_age_days": 0}

    told = delete_unneeded.function(params={**params, "dry_run": dry_run}, run_id="manual__1")

    assert told.startswith("dry_run is on: 10 objects" if dry_run else "deleted 10 objects")
    assert len(before - history_of.keys()) == (0 if dry_run else 10)


def test_nothing_is_deleted_after_other_results_were_published(history_of: History) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))
    unneeded = retention.find_unneeded(
        history_of.hook, history_of.layout, keep_runs=1, min_age=timedelta(days=7), now=NOW
    )
    objects.put_json(history_of.hook, history_of.layout.latest, {"run": "1"})
    before = history_of.keys()

    with pytest.raises(AirflowFailException, match=r"nothing was deleted: .* names run 1 now, not 2"):
        retention.delete(history_of.hook, history_of.layout, unneeded)
    assert history_of.keys() == before


@pytest.mark.parametrize("written", ["runs/failed/inventory/inventory.parquet", "features/run=failed/part-1.parquet"])
def test_a_run_that_was_cleared_since_keeps_what_it_has(
    history_of: History, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    history_of.run("failed", "z")
    history_of.in_turn(("a", "a"), ("b", "b"))
    unneeded = retention.find_unneeded(
        history_of.hook, history_of.layout, keep_runs=1, min_age=timedelta(days=7), now=NOW
    )
    assert {folder.run for folder in unneeded.folders} == {"1", "failed"}
    history_of.hook.load_bytes(b"more", written, "fruits")
    before = history_of.keys()

    deleted = retention.delete(history_of.hook, history_of.layout, unneeded)

    assert {folder.run for folder in deleted.folders} == {"1"}
    assert {key for key in before if "failed" in key} <= history_of.keys()
    assert "not deleted: run failed has written since this was looked for" in caplog.text


def test_a_ledger_that_repeats_deleted_features_does_no_harm(
    history_of: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history_of.in_turn(("a", "a"), ("b", "b"))
    monkeypatch.setattr(history, "MANY_FOLDERS", 1)
    history.extend_ledger(history_of.hook, history_of.layout)
    unneeded = retention.find_unneeded(
        history_of.hook, history_of.layout, keep_runs=1, min_age=timedelta(days=7), now=NOW
    )
    retention.delete(history_of.hook, history_of.layout, unneeded)

    with history.workspace() as work:
        history.collect_outcomes(history_of.hook, history_of.layout, work, MODEL)
        assert work.row("SELECT list(path) FROM extracted") == (["b"],)


def test_ledgers_that_the_pointer_does_not_name_go(history_of: History) -> None:
    history_of.in_turn(("a", "a"))
    ledger = history_of.layout.ledger
    objects.put_json(history_of.hook, ledger / "latest.json", {"file": "new.parquet", "states": {}})
    for name in ("old.parquet", "new.parquet", "notes.txt"):
        objects.put(history_of.hook, ledger / name, b"rows")
    before = history_of.keys()

    def delete(now: datetime) -> str:
        rule = {"keep_runs": 1, "min_age": timedelta(days=7), "now": now}
        unneeded = retention.find_unneeded(history_of.hook, history_of.layout, **rule)
        retention.delete(history_of.hook, history_of.layout, unneeded)
        return str(unneeded)

    assert delete(datetime.now(UTC)) == "0 objects in 0 folders, 0.0 MB", "its pointer may be about to be written"
    assert delete(NOW) == "0 objects in 0 folders, 0.0 MB; 1 old ledger, 0.0 MB"
    assert before - history_of.keys() == {"results/ledger/old.parquet"}
