"""The DAG in an Airflow of somebody else's: laid out as for MWAA, on newer Pythons, with few packages of ours.

Real installations into Python 3.12 and 3.13, where the machine has them, are for `make test-installations`.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bundle
from tests.conftest import PROJECT

UV = PROJECT / ".venv/uv/bin/uv"
LOCKS = [
    *PROJECT.glob("requirements/*.txt"),
    *PROJECT.glob("bootstrap/*.txt"),
    PROJECT / "docker/requirements.txt",
    PROJECT / "app/requirements.txt",
]
# What every component of such an Airflow does with the folders: parse, load plugins, import what tasks and the triggerer import.
LOAD = """
import json, pathlib, sys
from airflow import plugins_manager
from airflow.dag_processing.dagbag import BundleDagBag
bag = BundleDagBag(sys.argv[1], bundle_path=pathlib.Path(sys.argv[1]), bundle_name="dags-folder")
from fruit_features import artifacts, config, inventory, outputs
import emr_triggers, s3_event_trigger
plugins, broken = plugins_manager._get_plugins()
print(json.dumps({
    "dags": sorted(bag.dags),
    "broken": {**bag.import_errors, **broken},
    "plugins": sorted(plugin.name for plugin in plugins if plugin.name.startswith("fruit")),
    "routes": len(next(app for plugin in plugins for app in plugin.fastapi_apps)["app"].routes),
    "artifacts": [artifact.name for artifact in artifacts.local_artifacts(config.PROJECT_FOLDER)],
}))
"""


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle where MWAA puts it: dags/, and plugins/ with the contents of the archive."""
    folder = tmp_path_factory.mktemp("mwaa") / "bundle"
    bundle.bundle(
        folder,
        [
            "FRUITS_BUCKET=orchard",
            'FRUITS_PRICES={"eu-west-3": {}}',
            "FRUITS_QUEUE_URL=",
            "JWT_SECRET=x",
            "FRUITS_SCHEDULE='0 5 * * *'",
            'FRUITS_IMAGES_PREFIX="my fruit/"',
            "FRUITS_EXCLUDE=''",
        ],
    )
    with zipfile.ZipFile(folder / "plugins.zip") as archive:
        archive.extractall(folder / "plugins")
    return folder


def load(python: Path, folder: Path, home: Path) -> None:
    """Load everything with an Airflow that knows the two folders alone."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "FRUITS_PROJECT": str(folder / "dags"),
        "FRUITS_BUCKET": "orchard",
        "FRUITS_QUEUE_URL": "https://sqs.eu-west-3.amazonaws.com/123456789012/images",
    }
    done = subprocess.run(
        [python, "-c", LOAD, folder / "dags"], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["broken"] == {}
    assert found["dags"] == ["fruit_features", "fruit_features_janitor", "fruit_features_retention"]
    assert found["plugins"] == ["fruit_results", "fruit_run_notes"]
    assert found["routes"]
    assert "spark_jobs.zip" in found["artifacts"]


def test_the_bundle_loads_where_dags_and_plugins_are_all_there_is(laid_out: Path, tmp_path: Path) -> None:
    load(Path(sys.executable), laid_out, tmp_path)


def test_the_bundle_is_what_mwaa_expects(laid_out: Path) -> None:
    with zipfile.ZipFile(laid_out / "plugins.zip") as archive:
        names = archive.namelist()
    assert "emr_hook.py" in names, "the contents of plugins/, not the folder"
    assert "results_page/templates/runs.html" in names
    ignored = (laid_out / "dags/.airflowignore").read_text().split()
    assert {"spark_jobs/", "bootstrap/", "fruit_features/"} <= set(ignored), "they would be parsed as DAGs"
    started = subprocess.run(
        ["sh", "-c", f". {laid_out}/startup.sh && env"], env={}, capture_output=True, text=True, check=True
    )
    assert {line for line in started.stdout.splitlines() if line.startswith("FRUITS_")} == {
        "FRUITS_BUCKET=orchard",
        'FRUITS_PRICES={"eu-west-3": {}}',
        "FRUITS_SCHEDULE=0 5 * * *",
        "FRUITS_IMAGES_PREFIX=my fruit/",
        "FRUITS_PROJECT=/usr/local/airflow/dags",
    }
    assert "JWT_SECRET" not in (laid_out / "startup.sh").read_text(), "secrets of compose are none of MWAA's business"


@pytest.mark.parametrize("python", ["3.11.2", "3.12.1", "3.13.0"])
@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(PROJECT)))
def test_no_line_of_a_lock_file_is_passed_over_by_a_newer_python(lock: Path, python: str) -> None:
    lines = [line.split("\\")[0] for line in lock.read_text().splitlines() if "==" in line and line[:1].strip("# ")]
    requirements = [Requirement(line) for line in lines]
    here = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    installed = {one.name for one in requirements if one.marker is None or one.marker.evaluate(here)}
    elsewhere = {"colorama", "pyyaml-ft", "tensorflow"}  # Windows; free-threaded 3.13; other processors

    assert {one.name for one in requirements} - installed <= elsewhere


def test_few_packages_are_asked_of_an_airflow_that_is_there_already() -> None:
    lines = (PROJECT / "requirements/installation.in").read_text().splitlines()
    wanted = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]

    assert {one.name for one in wanted} == {"apache-airflow-providers-amazon", "duckdb", "pyarrow"}
    for one in wanted:
        assert one.marker is None, "a line that installs nothing"
        assert importlib.metadata.version(one.name) in one.specifier, "what the tests run with"


def interpreter(version: str) -> Path | None:
    """Find a Python that runs: pyenv's shims are there for versions that are not chosen."""
    homes = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    for candidate in (*homes, shutil.which(f"python{version}")):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    return None


INSTALLS = {
    "with hashes": ["pip", "sync", "--require-hashes", "docker/requirements.txt"],
    # In place of Airflow's own constraints, which are no package: the lock's versions.
    "few packages": [
        *("pip", "install", "apache-airflow==3.3.2", "-r", "requirements/installation.in"),
        *("-c", "docker/requirements.txt"),
    ],
}


@pytest.mark.skipif(
    not os.environ.get("FRUITS_TEST_INSTALLATIONS"), reason="make test-installations: it installs Airflow"
)
@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_newer_python_installs_and_loads_it(laid_out: Path, tmp_path: Path, version: str, install: str) -> None:
    if not (python := interpreter(version)):
        pytest.skip(f"no Python {version} on this machine")
    subprocess.run([UV, "venv", "--quiet", "--python", python, tmp_path / "venv"], check=True)
    own = tmp_path / "venv/bin/python"
    subprocess.run([UV, *INSTALLS[install], "--quiet", "--python", own], cwd=PROJECT, check=True)
    subprocess.run([UV, "pip", "check", "--quiet", "--python", own], check=True)

    load(own, laid_out, tmp_path)
