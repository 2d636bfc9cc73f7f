"""What makes Spark's Python workers lighter: set once in each, before its first task or with it."""

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from zipimport import zipimporter

import pyarrow as pa


def lighten() -> None:
    """Leave out what Spark, Arrow and Python do in every worker or task, for nothing in ours; see the functions below."""
    leave_pandas_out()
    keep_archives()
    gc.freeze()  # Spark collects garbage after each task: 10 ms, as long as all imported modules are looked through


class _NoPandas(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - importlib passes all three
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Refuse pandas; leave all else to the finders after this one."""
        if fullname == "pandas":
            raise ModuleNotFoundError("left out")
        return None


def leave_pandas_out() -> None:
    """Keep Arrow from importing pandas, which it looks for once in a process: at its first `pa.array`.

    That takes 0.4 s and 36 MB of the driver and of every Python worker, for objects that we have none of. Whoever imports
    pandas afterwards gets it; Arrow alone goes on without it. Does nothing where pandas is imported already.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def keep_archives() -> None:
    """Keep the directories of the ZIP archives that modules come from, pyspark.zip and --py-files, once they are read.

    Spark calls `importlib.invalidate_caches` before each task, and Python reads them again: 55 ms of every task, for
    files that never change while an executor lives. An archive that is added later is read when it is.
    """
    for finder in sys.path_importer_cache.values():
        if isinstance(finder, zipimporter):
            finder.invalidate_caches = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    """Stand in for a method that has nothing to do."""
