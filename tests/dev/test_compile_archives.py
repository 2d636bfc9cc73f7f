"""Spark's workers import pyspark from an archive that holds compiled modules."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

import compile_archives
from tests.conftest import PROJECT


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "package.zip"
    with ZipFile(file, "w") as content:
        content.writestr("package/__init__.py", "import sys\nLOADED = __spec__.cached or __file__\n")
        content.writestr("package/broken_in_tests/tests/odd.py", "not python at all")
        content.writestr("package/data.txt", "kept")
    return file


def run(archive: Path, code: str) -> str:
    """What Python prints that imports from the archive."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_modules_are_loaded_compiled(archive: Path) -> None:
    assert run(archive, "import package; print(package.__file__)").endswith("/package/__init__.py")

    assert compile_archives.compile_archive(archive) == 1

    assert run(archive, "import package; print(package.__file__)").endswith("/package/__init__.pyc")
    with ZipFile(archive) as content:
        assert content.read("package/data.txt") == b"kept"


def test_nothing_is_compiled_twice(archive: Path) -> None:
    compile_archives.compile_archive(archive)
    before = archive.read_bytes()

    assert compile_archives.compile_archive(archive) == 0
    assert archive.read_bytes() == before


def test_an_error_shows_the_line_of_its_source(archive: Path) -> None:
    with ZipFile(archive, "a") as content:
        content.writestr("package/wrong.py", "def fail():\n    raise ValueError('here')\n")
    compile_archives.compile_archive(archive)
    code = "import traceback; from package import wrong\ntry:\n    wrong.fail()\nexcept ValueError: print(traceback.format_exc())"

    shown = run(archive, code)

    assert "raise ValueError('here')" in shown


def test_the_environment_of_spark_is_compiled() -> None:
    """Without this, every executor of every test and of every local run compiles pyspark anew."""
    archives = sorted((PROJECT / ".venv/spark").glob("lib/python*/site-packages/pyspark/python/lib/pyspark.zip"))
    if not archives:
        pytest.skip("no environment of Spark here: make setup")
    with ZipFile(archives[0]) as content:
        assert "pyspark/daemon.pyc" in content.namelist()
