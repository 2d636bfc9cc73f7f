"""Arrow without pandas."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


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

    That takes 0.4 s and 36 MB of every Python worker, for objects that no task of ours has. Whoever imports pandas
    afterwards gets it; Arrow alone goes on without it. Does nothing where pandas is imported already.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
