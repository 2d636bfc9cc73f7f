import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT


def printed(code: str) -> str:
    """Run code in a process of its own, as Arrow looks for pandas once in a process."""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USE = "import sys, pyarrow as pa\npa.array(['a'])\npa.Table.from_pylist([{'a': 1}])\nprint('pandas' in sys.modules)"


def test_arrow_would_import_pandas() -> None:
    assert printed(USE) == "True"  # if not, leave_pandas_out has nothing to do any more


def test_arrow_does_without_pandas() -> None:
    assert printed(f"from spark_jobs.python_worker import leave_pandas_out\nleave_pandas_out()\n{USE}") == "False"


def test_who_needs_pandas_gets_it_afterwards() -> None:
    code = (
        "from spark_jobs.python_worker import leave_pandas_out\nleave_pandas_out()\n"
        "import pandas as pd, pyarrow as pa\n"
        "table = pa.Table.from_pandas(pd.DataFrame({'a': [1, 2]}))\n"
        "print(table.to_pandas().a.sum(), pa.array(pd.Series([1, 2])).type)"
    )
    assert printed(code) == "3 int64"


def test_pandas_that_is_there_stays() -> None:
    code = (
        "import pandas as pd\nfrom spark_jobs.python_worker import leave_pandas_out\nleave_pandas_out()\n"
        "import pyarrow as pa\nprint(pa.array(pd.Categorical(['a', 'b'])).type)"
    )
    assert printed(code).startswith("dictionary")


@pytest.mark.parametrize(("keeping", "expected"), [("", "found"), ("keep_archives()", "not found")])
def test_the_directory_of_an_archive_is_read_once(tmp_path: Path, keeping: str, expected: str) -> None:
    code = (
        "import importlib, sys, zipfile\n"
        "from spark_jobs.python_worker import keep_archives\n"
        f"archive = r'{tmp_path / 'jobs.zip'}'\n"
        "with zipfile.ZipFile(archive, 'w') as jobs:\n    jobs.writestr('first.py', '')\n"
        "sys.path.insert(0, archive)\n"
        "import first\n"
        f"{keeping}\n"
        "with zipfile.ZipFile(archive, 'a') as jobs:\n    jobs.writestr('second.py', '')\n"
        "importlib.invalidate_caches()\n"  # as Spark does before each task
        "try:\n    import second\nexcept ModuleNotFoundError:\n    print('not found')\nelse:\n    print('found')"
    )
    assert printed(code) == expected


def test_an_archive_that_is_added_later_is_read(tmp_path: Path) -> None:
    code = (
        "import sys, zipfile\n"
        "from spark_jobs.python_worker import keep_archives\n"
        "keep_archives()\n"
        f"archive = r'{tmp_path / 'later.zip'}'\n"
        "with zipfile.ZipFile(archive, 'w') as jobs:\n    jobs.writestr('later.py', 'value = 1')\n"
        "sys.path.insert(0, archive)\n"
        "import later\nprint(later.value)"
    )
    assert printed(code) == "1"
