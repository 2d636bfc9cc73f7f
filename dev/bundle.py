"""Lay out what an Airflow that reads folders and archives needs, as Amazon MWAA does: dev/bundle.py FOLDER [ENV_FILE].

MWAA has dags/ and nothing beside it, so that spark_jobs/ and bootstrap/ go below it, where .airflowignore keeps the DAG processor
out of them; plugins are a ZIP of the folder's contents; settings are what a startup script exports.
"""

import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DAGS_FOLDER = "/usr/local/airflow/dags"  # of MWAA
JOBS = ("spark_jobs", "bootstrap")
UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", "ruff.toml")


def bundle(folder: Path, settings: Iterable[str] = ()) -> None:
    """Fill the folder anew.

    Args:
        folder: to write dags/, plugins.zip, requirements.txt and startup.sh to.
        settings: lines of .env; what is no setting of the DAG is left out.
    """
    if folder.exists():
        shutil.rmtree(folder)
    dags = folder / "dags"
    shutil.copytree(PROJECT / "dags", dags, ignore=UNWANTED)
    for jobs in JOBS:
        shutil.copytree(PROJECT / jobs, dags / jobs, ignore=UNWANTED)
    with (dags / ".airflowignore").open("a", encoding="utf-8") as ignored:
        ignored.writelines(f"{jobs}/\n" for jobs in JOBS)
    write_plugins(folder / "plugins.zip")
    shutil.copy(PROJECT / "requirements/installation.in", folder / "requirements.txt")
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in fruits(settings))
    (folder / "startup.sh").write_text(f"#!/bin/sh\n{exports}export FRUITS_PROJECT={DAGS_FOLDER}\n", encoding="utf-8")


def write_plugins(archive: Path) -> None:
    """Write the contents of plugins/, not the folder itself."""
    plugins = PROJECT / "plugins"
    files = sorted(file for file in plugins.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as contents:
        for file in files:
            if file.name != "ruff.toml":
                contents.write(file, file.relative_to(plugins))


def fruits(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each setting of the DAG that has a value; quotes around it are the file's, as for a shell."""
    for line in lines:
        name, _, value = line.strip().partition("=")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if name.startswith("FRUITS_") and name != "FRUITS_PROJECT" and value:
            yield name, value


def main(arguments: list[str]) -> int:
    """Write the bundle, and say what to do with it."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: bundle.py FOLDER [ENV_FILE]\n")
        return 2
    folder = Path(arguments[0])
    lines = Path(arguments[1]).read_text(encoding="utf-8").splitlines() if arguments[1:] else []
    bundle(folder, lines)
    print(f"{folder}/: dags/, plugins.zip, requirements.txt, startup.sh; docs/installation.md says where they go")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
