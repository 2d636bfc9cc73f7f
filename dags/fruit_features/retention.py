"""What earlier runs have left and nobody needs any more: found by one rule, deleted when a person asks for it.

**Kept** are the newest published runs, whatever `latest.json` names, and every run that has written anything since the latest
results were listed, or lately. Of the others go inventory, manifest and results; features and rejects only where no image of a
kept run has its row there, and not before a run has published results of their network. Of the ledger's files goes what its
pointer does not name.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import listing, objects
from fruit_features.layout import Location, RunLayout
from fruit_features.ledger import read_ledger
from fruit_features.needed import needed_folders

AT_ONCE = 10  # as many connections as boto3 keeps open
KEYS_PER_REQUEST = 1000  # S3's limit for deleting
LEDGER_AGE = timedelta(days=1)

log = logging.getLogger(__name__)


@dataclass
class Folder:
    """What one run has in one place.

    Attributes:
        where: the folder.
        run: whose it is.
        size: bytes of all objects.
        newest: when the last of them was written (ISO 8601, UTC).
        keys: theirs.
    """

    where: Location
    run: str
    size: int = 0
    newest: str = ""
    keys: list[str] = field(default_factory=list)


@dataclass
class Unneeded:
    """What may go.

    Attributes:
        folders: where that is.
        latest: the run that `latest.json` named when they were found.
        ledgers: files of earlier ones.
        seen: all folders of the runs in question, needed ones too, as they were then.
    """

    folders: list[Folder] = field(default_factory=list)
    latest: str = ""
    ledgers: list[listing.Listed] = field(default_factory=list)
    seen: dict[str, list[Folder]] = field(default_factory=dict)

    def __str__(self) -> str:
        count, size = sum(len(one.keys) for one in self.folders), sum(one.size for one in self.folders)
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
    published = _published(hook, layout, folders) | {latest["run"]: latest}
    newest = sorted(published, key=lambda run: (str(published[run].get("listed", "")), run), reverse=True)
    kept = {latest["run"], *newest[:keep_runs]}
    # A run that has published nothing since may have extracted images that the next one counts on.
    since = min(latest["listed"], (now - min_age).isoformat())
    kept |= {folder.run for folder in folders if _time(folder.newest) >= _time(since)}
    others = [folder for folder in folders if folder.run not in kept]
    roots = tuple(f"{root.key}/" for root in (layout.features, layout.rejects))
    judged = {folder.where for folder in others if folder.where.key.startswith(roots)}
    needed = needed_folders(hook, layout, judged, kept, published)
    found = [folder for folder in others if folder.where not in needed]
    seen = defaultdict(list)
    for folder in others:
        seen[folder.run].append(folder)
    for folder in found:
        log.info("not needed: %s (%d objects, %s)", folder.where, len(folder.keys), megabytes(folder.size))
    return Unneeded(found, latest["run"], _old_ledgers(hook, layout, now), seen)


def delete(hook: S3Hook, layout: RunLayout, unneeded: Unneeded) -> Unneeded:
    """Delete what was found, but for runs that have written since: somebody has cleared them. Return what was deleted.

    Raises:
        AirflowFailException: other results are published meanwhile, so that the rule must be asked again; or S3 refuses.
    """
    published = objects.read_json(hook, layout.latest, "run")["run"]
    if published != unneeded.latest:
        raise AirflowFailException(
            f"nothing was deleted: {layout.latest} names run {published} now, not {unneeded.latest} as when this was looked "
            "for; trigger it again"
        )
    client, going = hook.get_conn(), {folder.where for folder in unneeded.folders}
    deleted = Unneeded(latest=published, ledgers=unneeded.ledgers)
    for run in sorted({folder.run for folder in unneeded.folders}):
        if _folders(hook, layout, run) != unneeded.seen[run]:
            log.warning("not deleted: run %s has written since this was looked for", run)
            continue
        for folder in (each for each in unneeded.seen[run] if each.where in going):
            _delete(client, folder.where, folder.keys)
            deleted.folders.append(folder)
            log.info("deleted %s (%d objects, %s)", folder.where, len(folder.keys), megabytes(folder.size))
    _delete(client, layout.ledger, [found.key for found in unneeded.ledgers])
    return deleted


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


def _folders(hook: S3Hook, layout: RunLayout, run: str = "") -> list[Folder]:
    """Return what there is of each run, or of one, in each place: that which says that a run was published is the last one."""
    client = hook.get_conn()
    roots = [(layout.features, "run="), (layout.rejects, "run="), (layout.runs, ""), (layout.results, "run=")]
    with listing.own_parser(client), ThreadPoolExecutor(len(roots)) as pool:
        return list(chain.from_iterable(pool.map(lambda each: _of_runs(client, each[0], each[1], run), roots)))


def _of_runs(client: Any, root: Location, start: str, only: str) -> Iterable[Folder]:
    found: dict[str, Folder] = {}
    for item in _listed(client, root.bucket, f"{root.key}/{start}{only and f'{only}/'}"):
        run, slash, _ = item.key.removeprefix(f"{root.key}/{start}").partition("/")
        if not slash:  # an object of somebody's beside the runs' folders
            continue
        folder = found.setdefault(run, Folder(root / f"{start}{run}", run))
        folder.keys.append(item.key)
        folder.size += item.size
        folder.newest = max(folder.newest, item.last_modified)
    return found.values()


def _listed(client: Any, bucket: str, prefix: str) -> Iterator[listing.Listed]:
    return chain.from_iterable(listing.pages(client, bucket, prefix))


def _published(hook: S3Hook, layout: RunLayout, folders: list[Folder]) -> dict[str, dict[str, Any]]:
    """Return what each published run has published."""
    markers = {
        folder.run: folder.where / "published.json"
        for folder in folders
        if folder.where == layout.results / f"run={folder.run}" and f"{folder.where.key}/published.json" in folder.keys
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda where: objects.read_json(hook, where), markers.values())
        return dict(zip(markers, found, strict=True))
