"""What make passes on, read from its dry runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")


def recipe(*arguments: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | variables
    dry = ["make", "--no-print-directory", "--dry-run", *arguments]
    return subprocess.run(dry, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("target", "option", "with_it", "without"),
    [
        ("compose-env", "BUCKET=own", 'docker/settings "own"', 'docker/settings ""'),
        ("bundle", "ENV=my stack.env", 'dev/bundle.py bundle "my stack.env"', "dev/bundle.py bundle"),
        ("wheelhouse", "ARCH=aarch64", "wheelhouse.py aarch64 wheelhouse/aarch64", "x86_64 wheelhouse/x86_64"),
    ],
)
def test_what_a_shell_exports_for_other_things_is_no_option(
    target: str, option: str, with_it: str, without: str
) -> None:
    name, _, value = option.partition("=")

    assert recipe(target, option).rstrip().endswith(with_it)
    assert recipe(target, **{name: value}).rstrip().endswith(without)


def test_a_bucket_with_a_space_is_one_argument() -> None:
    assert '-m app "my results/bucket" --port' in recipe("app", "RESULTS=my results/bucket")


def test_the_jars_and_the_class_archive_are_made_again_where_java_is_gone(tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    (venv / "java-17/bin").mkdir(parents=True)
    (venv / "java-17/bin/java").touch()
    (venv / "java").symlink_to(venv / "java-17")
    for stamp in ("uv", "airflow", "spark", "jars", "classes"):
        (venv / f".{stamp}").touch()

    assert "dev/setup" not in recipe("setup", f"VENV={venv}")
    shutil.rmtree(venv / "java-17")  # as an upgrade does
    assert recipe("setup", f"VENV={venv}").split("\n")[:2] == ["dev/setup jars", "dev/setup classes"]
