"""A folder that the job writes: its own files and no others, as whoever reads it reads every file there."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from spark_jobs import uris
from spark_jobs.datasets import is_data
from spark_jobs.errors import JobError
from spark_jobs.stored import Stored


def clear(uri: str, is_own: Callable[[str], object], written: Mapping[str, Stored] | None = None) -> None:
    """Delete the files of earlier attempts; leave those of other programs, and what this attempt has `written`.

    Args:
        uri: of the folder.
        is_own: says of a file, by its path in the folder, whether this job may have written it.
        written: the files that must be there, by name; none before the job writes.

    Raises:
        JobError: naming a file of another program that readers would take for one of these, or one that is not as it was
            written.
    """
    there, written = uris.list_stored(uri), written or {}
    for name in there:
        if is_data(name) and not is_own(name):
            raise JobError(
                f"{uris.join(uri, name)}: not written by this job, but readers of {uri} would read it: move it elsewhere and run "
                "the step again"
            )
    for name, stored in written.items():
        if there.get(name) != stored:
            raise JobError(
                f"{uris.join(uri, name)}: {there.get(name, 'nothing')} is there, this job has written {stored}: something else "
                "writes into this folder; run the step again when nothing else does"
            )
    stale = [uris.join(uri, name) for name in there if is_own(name) and name not in written]
    with ThreadPoolExecutor() as pool:
        list(pool.map(uris.delete_file, stale))
