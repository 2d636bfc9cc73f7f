"""What earlier runs have left and nobody needs any more: found by one rule, deleted when a person asks for it.

**Kept** are the newest published runs, whatever `latest.json` names, and every run that has written anything since the latest
results were listed, or lately. Of the others go inventory, manifest and results; features and rejects only where no image of a
kept run has its row there. Of the ledger's files goes what its pointer does not name.
"""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets, history, listing, objects
from fruit_features.layout import Location, RunLayout
from fruit_features.ledger import read_ledger
from fruit_features.workspace import Workspace, workspace

AT_ONCE = 10  # as many connections as boto3 keeps open
KEYS_PER_REQUEST = 1000  # S3's limit for deleting
LEDGER_AGE = timedelta(days=1)

# The images of kept runs, with the network whose features they show; without one, any network's count.
NEEDED = pa.schema([(name, pa.string()) for name in (*datasets.KEY, "model_id")])
IN_USE = """
    SELECT list(DISTINCT outcomes.folder) FROM outcomes JOIN needed USING (path, etag)
    WHERE outcomes.reason IS NOT NULL OR needed.model_id IS NULL OR needed.model_id = outcomes.model_id
"""

log = logging.getLogger(__name__)


@dataclass
class Folder:
    """What one run has in one place.

    Attributes:
        where: the folder.
        run: whose it is.
        count: how many objects there are.
        size: their bytes.
        newest: when the last of them was written (ISO 8601, UTC).
    """

    where: Location
    run: str
    count: int = 0
    size: int = 0
    newest: str = ""


@dataclass
class Unneeded:
    """What may go.

    Attributes:
        folders: where that is.
        latest: the run that `latest.json` named when they were found.
        ledgers: files of earlier ones.
    """

    folders: list[Folder] = field(default_factory=list)
    latest: str = ""
    ledgers: list[listing.Listed] = field(default_factory=list)

    def __str__(self) -> str:
        count, size = sum(one.count for one in self.folders), sum(one.size for one in self.folders)
        told = f"{count:,} objects in {len(self.folders)} folders, {megabytes(size)}"
        if old := len(self.ledgers):
            told += f"; {old} old ledger{'s' * (old > 1)}, {megabytes(sum(one.size for one in self.ledgers))}"
        return told


def megabytes(size: int) -> str:
    """Return bytes as people read them."""
    return f"{size / 1e6:,.1f} MB"


def find_unneeded(hook: S3Hook, layout: RunLayout, *, keep_runs: int, min_age: timedelta, now: datetime) -> Unneeded:
    """Return what no kept run needs.

    Args:
        hook: for the bucket.
        layout: of any run.
        keep_runs: how many published runs are kept, besides the one that `latest.json` names.
        min_age: what a run has written last must be older.
        now: the time.

    Raises:
        AirflowFailException: `latest.json` is damaged.
    """
    if not objects.exists(hook, layout.latest):
        log.info("nothing is published in %s, so everything is kept", layout.results)
        return Unneeded()
    latest = objects.read_json(hook, layout.latest, "run", "listed")
    folders = _folders(hook, layout)
    kept = {latest["run"], *_newest_published(hook, layout, folders, keep_runs)}
    # A run that has published nothing since may have extracted images that the next one counts on.
    since = min(latest["listed"], (now - min_age).isoformat())
    kept |= {folder.run for folder in folders if _time(folder.newest) >= _time(since)}
    others = [folder for folder in folders if folder.run not in kept]
    in_use = _in_use(hook, layout, others, kept, latest["run"])
    found = [folder for folder in others if folder.where not in in_use]
    for folder in found:
        log.info("not needed: %s (%d objects, %s)", folder.where, folder.count, megabytes(folder.size))
    return Unneeded(found, latest["run"], _old_ledgers(hook, layout, now))


def delete(hook: S3Hook, layout: RunLayout, unneeded: Unneeded) -> None:
    """Delete what was found.

    Raises:
        AirflowFailException: other results are published meanwhile, so that the rule must be asked again; or S3 refuses.
    """
    published = objects.read_json(hook, layout.latest, "run")["run"]
    if published != unneeded.latest:
        raise AirflowFailException(
            f"nothing was deleted: {layout.latest} names run {published} now, not {unneeded.latest} as when this was looked "
            "for; trigger it again"
        )
    client: Any = hook.get_conn()
    for folder in unneeded.folders:
        with listing.own_parser(client):
            keys = [found.key for found in _listed(client, folder.where.bucket, f"{folder.where.key}/")]
        _delete(client, folder.where, keys)
        log.info("deleted %s (%d objects, %s)", folder.where, folder.count, megabytes(folder.size))
    _delete(client, layout.ledger, [found.key for found in unneeded.ledgers])


def _delete(client: Any, where: Location, keys: list[str]) -> None:
    for start in range(0, len(keys), KEYS_PER_REQUEST):
        some = [{"Key": key} for key in keys[start : start + KEYS_PER_REQUEST]]
        answer = client.delete_objects(Bucket=where.bucket, Delete={"Objects": some, "Quiet": True})
        if refused := answer.get("Errors"):
            raise AirflowFailException(f"{where} cannot be deleted, {len(refused)} objects: {refused[0]}")


def _old_ledgers(hook: S3Hook, layout: RunLayout, now: datetime) -> list[listing.Listed]:
    """Return the files that the ledger's pointer does not name; not those of a day, as one may be about to be named."""
    current, client = read_ledger(hook, layout).file, hook.get_conn()
    with listing.own_parser(client):
        found = list(_listed(client, layout.ledger.bucket, f"{layout.ledger.key}/"))
    files = [each for each in found if each.key.endswith(".parquet") and _time(each.last_modified) < now - LEDGER_AGE]
    old = [each for each in files if current is None or each.key != current.key]
    for each in old:
        log.info("not needed: %s, an earlier ledger (%s)", each.key, megabytes(each.size))
    return old


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _folders(hook: S3Hook, layout: RunLayout) -> list[Folder]:
    """Return what there is of each run in each place."""
    client = hook.get_conn()
    roots = [(layout.runs, ""), *((root, "run=") for root in (layout.results, layout.features, layout.rejects))]
    with listing.own_parser(client), ThreadPoolExecutor(len(roots)) as pool:
        return list(chain.from_iterable(pool.map(lambda each: _of_runs(client, *each), roots)))


def _of_runs(client: Any, root: Location, start: str) -> Iterable[Folder]:
    found: dict[str, Folder] = {}
    for item in _listed(client, root.bucket, f"{root.key}/{start}"):
        run, slash, _ = item.key.removeprefix(f"{root.key}/{start}").partition("/")
        if not slash:  # an object of somebody's beside the runs' folders
            continue
        folder = found.setdefault(run, Folder(root / f"{start}{run}", run))
        folder.count += 1
        folder.size += item.size
        folder.newest = max(folder.newest, item.last_modified)
    return found.values()


def _listed(client: Any, bucket: str, prefix: str) -> Iterator[listing.Listed]:
    return chain.from_iterable(listing.pages(client, bucket, prefix))


def _newest_published(hook: S3Hook, layout: RunLayout, folders: list[Folder], count: int) -> list[str]:
    """Return the published runs whose listing is newest."""

    def listed(run: str) -> tuple[str, str]:
        marker = layout.results / f"run={run}" / "published.json"
        return (str(objects.read_json(hook, marker).get("listed", "")) if objects.exists(hook, marker) else "", run)

    runs = [folder.run for folder in folders if folder.where == layout.results / f"run={folder.run}"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [run for when, run in sorted(pool.map(listed, runs), reverse=True) if when][:count]


def _in_use(hook: S3Hook, layout: RunLayout, others: list[Folder], kept: set[str], latest: str) -> set[Location]:
    """Return the folders of features and rejects that an image of a kept run has a row in, or that cannot be judged."""
    roots = (layout.features.key, layout.rejects.key)
    judged = {folder.where for folder in others if folder.where.key.startswith(tuple(f"{root}/" for root in roots))}
    if not judged:
        return set()
    with workspace() as work:
        if not _collect_needed(hook, layout, work, kept, latest):
            return judged
        foreign = history.collect_outcomes(hook, layout, work, None)
        (found,) = work.row(IN_USE)
    in_use = set(found or ())
    return {where for where in judged if where.uri in in_use} | (foreign & judged)


def _collect_needed(hook: S3Hook, layout: RunLayout, work: Workspace, kept: set[str], latest: str) -> bool:
    """Make the table `needed` of the kept runs' inventories; return whether that of the latest results is there."""
    files, found = datasets.filesystem(hook), set()
    with work.collect("needed", NEEDED) as rows:
        for run in sorted(kept):
            inventory, pointer = (layout.runs / run / name for name in ("inventory/inventory.parquet", "model.json"))
            if not objects.exists(hook, inventory):  # of a run that has ended before it wrote one, or it has expired
                continue
            found.add(run)
            model_id = objects.read_json(hook, pointer)["model_id"] if objects.exists(hook, pointer) else None
            for batch in datasets.stream(files, inventory, datasets.KEY):
                model = pa.array([model_id] * len(batch), pa.string())
                rows.add(pa.table([batch["path"], batch["etag"], model], NEEDED))
    if latest not in found:
        log.warning(
            "the inventory of run %s, whose results are published, is not there any more: no features and no rejects can go "
            "before the next run has published",
            latest,
        )
    return latest in found
