"""Deployment by content: same content, same key, no upload."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features.artifacts import BOOTSTRAP_FILES, ENTRY_SCRIPTS, deploy, jobs_zip
from fruit_features.run import Run
from tests.conftest import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project folder."""
    for name in [
        *(f"spark_jobs/{script}.py" for script in ENTRY_SCRIPTS),
        *(f"bootstrap/{f}" for f in BOOTSTRAP_FILES),
    ]:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {name}\n")
    return tmp_path


def test_only_what_changed_is_uploaded(hook: S3Hook, make_run: Callable[..., Run], project: Path) -> None:
    uploads: list[str] = []
    hook.get_conn().meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: uploads.append(params["Key"].rsplit("/")[-1])
    )
    first = deploy(hook, make_run(), project)
    assert sorted(uploads) == sorted(first)
    assert len(uploads) == 7

    kinds = {name: hook.get_key(uri.removeprefix("s3://fruits/"), "fruits").content_type for name, uri in first.items()}
    assert kinds["spark_jobs.zip"] == "application/zip"
    assert kinds["requirements.txt"] == "text/plain; charset=utf-8"

    uploads.clear()
    os.utime(project / "spark_jobs" / "export_model.py", (0, 0))  # another date, the same content
    assert deploy(hook, make_run(), project) == first
    assert uploads == []

    (project / "spark_jobs" / "export_model.py").write_text("# changed\n")
    second = deploy(hook, make_run(), project)
    assert sorted(uploads) == ["export_model.py", "spark_jobs.zip"]
    assert {name for name in first if first[name] != second[name]} == {"export_model.py", "spark_jobs.zip"}
    # What a cluster was started with stays as it was.
    assert (
        hook.read_key(first["export_model.py"].removeprefix("s3://fruits/"), "fruits")
        == "# spark_jobs/export_model.py\n"
    )


def test_what_something_else_has_written_there_is_replaced(
    hook: S3Hook, make_run: Callable[..., Run], project: Path
) -> None:
    first = deploy(hook, make_run(), project)
    key = first["install_dependencies.sh"].removeprefix("s3://fruits/")
    right = hook.read_key(key, "fruits")
    for wrong in (right.replace("#", "$"), "", "echo another"):
        hook.load_string(wrong, key, "fruits", replace=True)

        assert deploy(hook, make_run(), project) == first
        assert hook.read_key(key, "fruits") == right


def test_the_zip_holds_the_importable_package_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(jobs_zip(PROJECT / "spark_jobs"))).namelist()

    assert "spark_jobs/__init__.py" in names
    assert "spark_jobs/extract_features.py" in names
    assert all(name.startswith("spark_jobs/") for name in names)
    assert not [name for name in names if name.endswith((".pyc", "ruff.toml"))]


def test_the_zip_carries_data_files(project: Path) -> None:
    (project / "spark_jobs" / "report").mkdir()
    (project / "spark_jobs" / "report" / "page.html").write_text("<html>")
    (project / "spark_jobs" / "__pycache__").mkdir()
    (project / "spark_jobs" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"")
    (project / "spark_jobs" / ".ruff_cache").mkdir()  # ruff puts it beside the nearest ruff.toml
    (project / "spark_jobs" / ".ruff_cache" / "CACHEDIR.TAG").write_text("Signature")

    names = zipfile.ZipFile(io.BytesIO(jobs_zip(project / "spark_jobs"))).namelist()

    assert names == [*(f"spark_jobs/{script}.py" for script in ENTRY_SCRIPTS), "spark_jobs/report/page.html"]


def test_the_zip_is_the_same_bytes_every_time(project: Path) -> None:
    before = jobs_zip(project / "spark_jobs")
    os.utime(project / "spark_jobs" / "export_model.py", (0, 0))

    assert jobs_zip(project / "spark_jobs") == before


def test_a_missing_file_is_named(hook: S3Hook, make_run: Callable[..., Run], project: Path) -> None:
    (project / "bootstrap" / "requirements.txt").unlink()

    with pytest.raises(AirflowFailException, match=r"requirements\.txt is missing: set FRUITS_PROJECT"):
        deploy(hook, make_run(), project)
