"""The pointer to the latest good results, `results/latest.json`: moved last, in one PUT, and never backwards.

Two runs can work on one bucket at once: those of two installations, or a run that was cleared long after it failed. The one
whose listing is newer wins, whichever ends first.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import history, objects
from fruit_features.layout import Location, RunLayout
from fruit_features.run import Run


def latest_results(hook: S3Hook, run: Run) -> dict[str, Any]:
    """Return what `publish` wrote last; empty before anything was published.

    It has no fingerprint where the inventory of those results is gone, so that they are made anew: nobody can read them.

    Raises:
        AirflowFailException: `latest.json` is damaged.
    """
    latest = _read_latest(hook, run)[0]
    if latest.get("run") and find_inventory(hook, run.layout, latest["run"]) is None:
        hook.log.warning("the inventory of run %s, which is published, is gone: new results are due", latest["run"])
        return latest | {"fingerprint": None}
    return latest


def find_inventory(hook: S3Hook, layout: RunLayout, run: str) -> Location | None:
    """Return where the inventory of a run is; None if it is gone.

    Earlier versions published without a copy of it, so that it is only where it may expire.
    """
    return next((where for where in layout.inventories(run) if objects.exists(hook, where)), None)


def _read_latest(hook: S3Hook, run: Run) -> tuple[dict[str, Any], str | None]:
    """Return the pointer and its ETag; nothing and None before anything was published."""
    where = run.layout.latest
    if not objects.exists(hook, where):
        return {}, None
    found = objects.read(hook, where)
    try:
        return objects.parse_json(where, found["Body"].read()), found["ETag"]
    except AirflowFailException as damaged:
        raise AirflowFailException(
            f"{damaged}. Each published run keeps a copy as {run.layout.results}/run=<run>/published.json"
        ) from None


def check_unpublished(hook: S3Hook, run: Run) -> dict[str, Any]:
    """Return what was published last, unless this run was: clearing it would overwrite what readers may be reading.

    Raises:
        AirflowFailException: the run is published, or `latest.json` is damaged.
    """
    latest = latest_results(hook, run)
    if latest.get("run") == run.name or objects.exists(hook, run.layout.published):
        raise AirflowFailException(f"run {run.name} is published: clearing it would overwrite it; trigger a new run")
    return latest


class Fingerprint:
    """A hash of all that the results depend on: the same fingerprint, the same results."""

    def __init__(self, run: Run, model_id: str | None) -> None:
        self._digest = hashlib.sha256(json.dumps([model_id, run.settings.variance, run.settings.refit]).encode())

    def add(self, batch: pa.RecordBatch) -> None:
        """Add images, with `path` and `etag`, in order of path."""
        paths = pc.binary_join_element_wise("", batch["path"], "\n")
        lines = pc.binary_join_element_wise(paths, batch["etag"], "\t")
        self._digest.update("".join(lines.to_pylist()).encode())

    def hexdigest(self) -> str:
        """Return the hash."""
        return self._digest.hexdigest()


def publish(hook: S3Hook, run: Run, results: dict[str, Any]) -> None:
    """Move `latest.json` to this run's results, in one PUT: readers see the old ones or the new ones, never a mixture.

    Args:
        hook: for the bucket.
        run: whose results these are.
        results: what to write; with `listed`, when the images were listed (ISO 8601, UTC).

    Raises:
        AirflowFailException: what is published comes of a newer listing, or of another installation's run of this name,
            `latest.json` is damaged, or the run's inventory is gone.
    """
    document = {**results, "published": datetime.now(UTC).isoformat(timespec="seconds")}
    while True:  # until nobody else has published between reading and writing
        latest, etag = _read_latest(hook, run)
        if latest.get("run") == run.name:
            _check_own(run, latest, results)
            document = latest  # an earlier try of this task did it, and its answer was lost
            break
        if latest.get("listed", "") > results["listed"]:
            raise AirflowFailException(
                f"run {run.name} is not published: run {latest['run']} is, which listed the images later "
                f"({latest['listed']} against {results['listed']}). Nothing is lost: the features of this run count. "
                "Trigger a new run if the published one does not show all images"
            )
        # Readers of the results need it, and what is in `runs` expires.
        objects.copy(hook, run.layout.inventory, run.layout.published_inventory)
        if objects.put_json_if(hook, run.layout.latest, document, etag):
            break
        hook.log.info("another run published meanwhile: comparing with it")
    objects.put_json(hook, run.layout.published, document)
    _extend_ledger(hook, run)
    hook.log.info("published %s", run.layout.latest)


def _check_own(run: Run, latest: dict[str, Any], results: dict[str, Any]) -> None:
    """Check that what is published under the run's name are its results; what only one of them says is no matter."""
    if differing := sorted(name for name, value in results.items() if latest.get(name, value) != value):
        raise AirflowFailException(
            f"run {run.name} is not published: another installation has published results under the same name, with another "
            f"value of {', '.join(differing)}. Both write to the same folders: give them schedules at different "
            "minutes (docs/schedule.md), and trigger a new run"
        )


def _extend_ledger(hook: S3Hook, run: Run) -> None:
    try:
        history.extend_ledger(hook, run.layout)
    except Exception:
        hook.log.exception("The ledger was not updated")  # a copy: without it the next run reads more files


def leave_for_later(hook: S3Hook, run: Run, results: dict[str, Any]) -> str:
    """Publish nothing of a run that has extracted some images by a new network; return what is to be said.

    Its features are in S3, where the next run finds them: nothing else needs to be kept.
    """
    _extend_ledger(hook, run)
    return (
        f"{results['extracted']} images extracted by {results['model_id']}, {results['left']} of {results['images']} left: "
        f"{run.layout.latest} stays as it is until a run leaves none. Trigger the DAG again, or wait for its schedule"
    )
