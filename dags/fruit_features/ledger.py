"""What all earlier runs have done, in one file: so that looking for new images opens one object, not two for each run.

The ledger repeats what is in `features/` and `rejects/` and can be deleted at any time. It never says more than they do: it
counts for a run's folder only while the listing shows that folder as it was when its rows were copied.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, objects
from fruit_features.datasets import RunFolder
from fruit_features.layout import Location, RunLayout
from fruit_features.workspace import Workspace

# A row for each try at an image: it has features of a network, or was rejected. `folder` is the URI of the run's.
OUTCOMES = pa.schema([(name, pa.string()) for name in (*datasets.KEY, "model_id", "reason", "folder")])
FOLDERS = pa.schema([("folder", pa.string())])


@dataclass(frozen=True)
class Ledger:
    """Where the ledger is.

    Attributes:
        file: with rows of `OUTCOMES`; None before there was one.
        states: of the folders that it repeats, by URI.
    """

    file: Location | None
    states: dict[str, str]

    def knows(self, folder: RunFolder) -> bool:
        """Say whether the rows of a folder are in the ledger, as they are now."""
        return self.states.get(folder.where.uri) == folder.state


def read_ledger(hook: S3Hook, layout: RunLayout) -> Ledger:
    """Return the current ledger; of one whose file is gone none, with a warning."""
    pointer = layout.ledger / "latest.json"
    if not objects.exists(hook, pointer):
        return Ledger(None, {})
    found = objects.read_json(hook, pointer, "file", "states")
    file = layout.ledger / found["file"]
    if not objects.exists(hook, file):
        hook.log.warning("%s is gone, which %s names: each run's folder is read instead", file, pointer)
        return Ledger(None, {})
    return Ledger(file, found["states"])


def open_ledger(hook: S3Hook, ledger: Ledger, known: Iterable[RunFolder], work: Workspace) -> None:
    """Make the table `earlier` of what the ledger says of folders that it knows."""
    folders = sorted(folder.where.uri for folder in known)
    if not ledger.file or not folders:
        with work.collect("earlier", OUTCOMES):
            return
    file = work.folder / "ledger.parquet"
    hook.get_conn().download_file(ledger.file.bucket, ledger.file.key, str(file))
    work.define("ledger", file)
    with work.collect("known_folders", FOLDERS) as rows:
        rows.add(pa.table({"folder": folders}, FOLDERS))
    work.run("CREATE VIEW earlier AS SELECT ledger.* FROM ledger SEMI JOIN known_folders USING (folder)")


def write_ledger(hook: S3Hook, layout: RunLayout, folders: Iterable[RunFolder], work: Workspace) -> None:
    """Write a ledger of the table `outcomes`, which is of these folders, and move the pointer to it.

    Two at once do no harm: whichever moves the pointer last is right of the folders that it knows.
    """
    states = {folder.where.uri: folder.state for folder in folders}
    name = f"{hashlib.sha256(json.dumps(states, sort_keys=True).encode()).hexdigest()[:16]}.parquet"
    rows = work.stream("ledger", "SELECT * FROM outcomes ORDER BY path", OUTCOMES, datasets.ROWS_PER_GROUP)
    datasets.write_stream(datasets.filesystem(hook), layout.ledger / name, OUTCOMES, rows)
    objects.put_json(hook, layout.ledger / "latest.json", {"file": name, "states": states})
