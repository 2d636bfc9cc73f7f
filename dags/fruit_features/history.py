"""What earlier runs have done: which images have features, and which are not worth another try."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets
from fruit_features.layout import Location

# Transient reasons: such images may be good, so that later runs retry them, at most MAX_TRIES times in all. Two of them are of
# earlier versions only: read_timeout and read_error now fail the task, not the image.
TRANSIENT_REASONS = frozenset({"not_found", "access_denied", "changed", "read_timeout", "read_error"})
MAX_TRIES = 3

log = logging.getLogger(__name__)

FILES_AT_ONCE = 16  # of small reads; Arrow's own threads are as many as there are cores


def extracted_images(hook: S3Hook, root: Location, model_id: str, exclude: Location | None = None) -> pa.Table:
    """Return path and ETag of every image that has features of this network, whether or not the run that made them ended well.

    Args:
        hook: for the bucket.
        root: of all runs' features.
        model_id: of the network.
        exclude: a run's folder that does not count.
    """
    files = datasets.filesystem(hook)
    folders = [folder for folder in datasets.run_folders(hook, root) if folder.where != exclude]
    paths = [path for folder in folders for path in folder.parts]
    of_network = pc.field("model_id") == model_id
    return _rows(files, paths, datasets.FEATURES, "features", columns=datasets.KEY, filter=of_network)


def rejected_images(hook: S3Hook, root: Location, exclude: Location | None = None) -> pa.Table:
    """Return path and ETag of every image not worth another try: rejected for good, or `MAX_TRIES` times for a transient reason.

    Only runs count whose extraction succeeded: what one rejects that fails, with half of S3 gone, says nothing of the images.

    Args:
        hook: for the bucket.
        root: of all runs' rejects.
        exclude: a run's folder that does not count.
    """
    folders = [folder for folder in datasets.run_folders(hook, root) if folder.committed and folder.where != exclude]
    paths = [path for folder in folders for path in folder.parts]
    rows = _rows(datasets.filesystem(hook), paths, datasets.REJECTS, "rejects", columns=[*datasets.KEY, "reason"])
    is_transient = pc.field("reason").isin(sorted(TRANSIENT_REASONS))
    tries = rows.filter(is_transient).group_by(datasets.KEY).aggregate([([], "count_all")])
    given_up = tries.filter(pc.field("count_all") >= MAX_TRIES).select(datasets.KEY)
    return pa.concat_tables([rows.filter(~is_transient).select(datasets.KEY), given_up])


def _rows(
    files: pa_fs.FileSystem, paths: list[str], schema: pa.Schema, name: str, columns: list[str], **options: Any
) -> pa.Table:
    """Return columns of those of these files that hold `schema`; log a warning for every other one."""

    def rows(path: str) -> pa.Table:
        try:
            found = datasets.open_parts(files, [path], schema)
            problem = datasets.wrong_columns(next(found.get_fragments()).physical_schema, schema)
        except pa.ArrowInvalid as error:  # S3's own failures are OSErrors: a retry's business
            problem = str(error)
        if problem:
            log.warning("s3://%s does not count as %s: %s", path, name, problem)
            return nothing
        return found.to_table(columns, **options)

    nothing = schema.empty_table().select(columns)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return pa.concat_tables([nothing, *pool.map(rows, paths)])
