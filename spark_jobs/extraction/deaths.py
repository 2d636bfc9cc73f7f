"""Whether a Python worker of this executor has died in the middle of a task, as an image may make it do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkFiles


@contextmanager
def at_work(job: str) -> Iterator[bool]:
    """Keep a note while a task is at work; yield whether another worker has left one and is gone.

    Spark counts a worker's death as a failed task, and takes the executor out after a few: on a small cluster a handful of
    images would end the job. So after the first death the executor's tasks isolate what they decode (`processing`).

    Args:
        job: a name that no other job has.
    """
    notes = Path(SparkFiles.getRootDirectory(), f"at-work-{job}")  # each executor has a folder of its own
    notes.mkdir(exist_ok=True)
    mine = notes / str(os.getpid())
    mine.touch()
    try:
        yield any(not _is_alive(int(note.name)) for note in notes.iterdir())
    finally:
        mine.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user has the number now
        return False
    return True
