"""What earlier runs have done: which images have features, and which are not worth another try."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, listing
from fruit_features.datasets import RunFolder
from fruit_features.layout import Location, RunLayout
from fruit_features.ledger import OUTCOMES, Ledger, open_ledger, read_ledger, write_ledger
from fruit_features.workspace import Workspace, workspace

# Transient reasons: such images may be good, so that later runs retry them, at most MAX_TRIES times in all. Two of them are of
# earlier versions only: read_timeout and read_error now fail the task, not the image.
TRANSIENT_REASONS = frozenset({"not_found", "access_denied", "changed", "read_timeout", "read_error"})
MAX_TRIES = 3

log = logging.getLogger(__name__)

FILES_AT_ONCE = 32  # of small reads; Arrow's own threads are as many as there are cores
# What is not in the ledger yet is read file by file: enough of it is worth a new ledger.
MANY_FOLDERS, MANY_FILES = 32, 256

FEATURES = (datasets.FEATURES, "features", "model_id")
REJECTS = (datasets.REJECTS, "rejects", "reason")

# Path and ETag of the images that have features of the network in question, whether or not the run that made them ended well,
# and of those not worth another try: rejected for good, or MAX_TRIES times for a transient reason.
EXTRACTED = "CREATE VIEW extracted AS SELECT path, etag FROM outcomes WHERE model_id = getvariable('model_id')"
REJECTED = """
    CREATE VIEW rejected AS
    SELECT path, etag FROM outcomes WHERE reason IS NOT NULL AND NOT list_contains(getvariable('transient'), reason)
    UNION ALL
    SELECT path, etag FROM outcomes WHERE list_contains(getvariable('transient'), reason)
    GROUP BY path, etag HAVING count(*) >= getvariable('max_tries')
"""


def collect_outcomes(
    hook: S3Hook, layout: RunLayout, work: Workspace, model_id: str | None, *, exclude: tuple[Location, ...] = ()
) -> set[Location]:
    """Make the tables `extracted` and `rejected` of a workspace, of `outcomes`: a row for each try at an image.

    Return the folders with files that do not count.

    Rejects count of runs only whose extraction succeeded: what one rejects that fails, with half of S3 gone, says nothing of the
    images.

    Args:
        hook: for the bucket.
        layout: where features and rejects are.
        work: to put the table into.
        model_id: of the network in question.
        exclude: runs' folders that do not count.
    """
    work.set(model_id=model_id or "", transient=sorted(TRANSIENT_REASONS), max_tries=MAX_TRIES)
    folders = [folder for folder in _folders(hook, layout) if folder.where not in exclude]
    foreign = _collect(hook, layout, work, read_ledger(hook, layout), folders)
    work.run(EXTRACTED)
    work.run(REJECTED)
    return foreign


def extend_ledger(hook: S3Hook, layout: RunLayout) -> None:
    """Write a new ledger, if enough runs have ended since the last one to be worth reading and writing all of it."""
    folders, ledger = _folders(hook, layout), read_ledger(hook, layout)
    recent = [folder for folder in folders if not ledger.knows(folder)]
    if len(recent) < MANY_FOLDERS and sum(len(folder.parts) for folder in recent) < MANY_FILES:
        return
    with workspace() as work:
        foreign = _collect(hook, layout, work, ledger, folders)
        write_ledger(hook, layout, [folder for folder in folders if folder.where not in foreign], work)


def _folders(hook: S3Hook, layout: RunLayout) -> list[RunFolder]:
    client = hook.get_conn()
    with listing.own_parser(client), ThreadPoolExecutor(2) as pool:
        features, rejects = pool.map(lambda root: datasets.run_folders(client, root), (layout.features, layout.rejects))
    return [*features, *rejects]


def _collect(
    hook: S3Hook, layout: RunLayout, work: Workspace, ledger: Ledger, folders: list[RunFolder]
) -> set[Location]:
    """Make the table `outcomes` of these folders' rows; return the folders with files that do not count."""
    open_ledger(hook, ledger, [folder for folder in folders if ledger.knows(folder)], work)
    files = datasets.filesystem(hook)

    def read(folder: RunFolder, path: str) -> Location | None:
        schema, name, column = FEATURES if _is_of(folder, layout.features) else REJECTS
        rows = _rows(files, path, schema, name, [*datasets.KEY, column])
        if rows is None:
            return folder.where
        recent.add(_outcomes(rows, folder.where))
        return None

    parts = [
        (folder, path)
        for folder in folders
        if not ledger.knows(folder) and (folder.committed or _is_of(folder, layout.features))
        for path in folder.parts
    ]
    with work.collect("recent", OUTCOMES) as recent, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        foreign = {where for where in pool.map(read, *zip(*parts, strict=True)) if where} if parts else set()
    work.run("CREATE VIEW outcomes AS SELECT * FROM recent UNION ALL SELECT * FROM earlier")
    return foreign


def _is_of(folder: RunFolder, root: Location) -> bool:
    return folder.where.key.startswith(f"{root.key}/")


def _rows(files: pa_fs.FileSystem, path: str, schema: pa.Schema, name: str, columns: list[str]) -> pa.Table | None:
    """Return columns of a file that holds `schema`; of another none, with a warning in the log."""

    def read(source: Any) -> pa.Table:
        found = pq.ParquetFile(source)
        if wrong := datasets.wrong_columns(found.schema_arrow, schema):
            raise pa.ArrowInvalid(wrong)
        return found.read(columns, use_threads=False)

    try:
        with files.open_input_file(path) as source:
            return read(source)
    except pa.ArrowException as error:
        problem = str(error)
    except OSError:  # S3's failure, which is a retry's business, or a damaged file, of which Arrow may say the same
        with files.open_input_stream(path) as source:
            content = source.read()
        try:
            return read(pa.BufferReader(content))
        except (OSError, pa.ArrowException) as error:
            problem = str(error)
    log.warning("s3://%s does not count as %s: %s", path, name, problem)
    return None


def _outcomes(rows: pa.Table, folder: Location) -> pa.Table:
    """Return rows of features or rejects with the columns of the ledger."""
    columns = {name: rows[name] if name in rows.column_names else pa.nulls(len(rows)) for name in OUTCOMES.names}
    columns["folder"] = pa.repeat(folder.uri, len(rows))
    return pa.table(columns).cast(OUTCOMES)
