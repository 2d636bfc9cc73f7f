"""What imports what: the numeric core knows no cluster and no bucket, and the jobs import what is slow only when they need it."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

CORE = (
    "errors",
    "schemas",
    "extraction.images",
    "extraction.mobilenet",
    "extraction.rejects",
    "reduction.moments",
    "reduction.pca",
    "report.neighbors",
)
SLOW = ("pandas", "tensorflow", "matplotlib", "jinja2", "ai_edge_litert")
# None in sys.modules makes every import of that name fail.
IMPORT = """
import importlib, sys
module, *blocked = sys.argv[1:]
sys.modules.update(dict.fromkeys(blocked))
importlib.import_module(module)
"""


def errors(module: str, *blocked: str) -> str:
    """Import a module where others are missing, and return what Python says."""
    command = [sys.executable, "-c", IMPORT, f"spark_jobs.{module}", *blocked]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False).stderr


@pytest.mark.parametrize("module", CORE)
def test_the_numeric_core_imports_neither_spark_nor_storage(module: str) -> None:
    assert errors(module, "pyspark", "py4j", "botocore", "obstore", "spark_jobs.uris", *SLOW) == ""


@pytest.mark.parametrize("module", ["export_model", "extract_features", "reduce_dimensions"])
def test_a_job_starts_without_what_is_slow_to_import(module: str) -> None:
    assert errors(module, *SLOW) == ""


def test_the_probe_sees_a_blocked_import() -> None:
    assert "pyspark" in errors("reduction.distributed", "pyspark")
