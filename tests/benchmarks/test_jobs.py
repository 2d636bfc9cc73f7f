"""What a step is submitted with, here and as on EMR, and the baseline beside it."""

import shlex
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import jobs, start
from benchmarks.bench import SMALL, Bench


def option(command: list[str], name: str) -> list[str]:
    """Return all values of an option, of which spark-submit takes the last."""
    return [value for key, value in pairwise(command) if key == name]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "spark-classes.jsa"
    file.touch()
    monkeypatch.setattr(jobs, "ARCHIVE", file)
    return f"-XX:SharedArchiveFile={file}"


def test_a_plain_jvm_has_what_the_dag_asks_for_and_nothing_of_local_emr(archive: str) -> None:
    ours, plain = (option(jobs.spark_submit(2, *more), "--driver-java-options")[-1] for more in ([], jobs.PLAIN_JVM))

    assert plain == "-XX:TieredStopAtLevel=1"
    assert ours.split()[:3] == ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", archive]


def test_a_plain_step_is_submitted_as_such(archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(jobs, "run", lambda command, environment: (ran.append((command, environment)), (1.0, ""))[1])
    Bench(tmp_path, SMALL).step("export_model", plain=True)

    ((command, environment),) = ran
    assert option(command, "--driver-java-options")[-1] == "-XX:TieredStopAtLevel=1"
    assert environment["SPARK_LAUNCHER_OPTS"] == ""


def test_the_baseline_has_the_jvm_of_local_emr_with_both_compilers(archive: str) -> None:
    submit = shlex.split(jobs.notebook_environment()["PYSPARK_SUBMIT_ARGS"])

    assert option(submit, "--driver-java-options")[0].split()[:2] == ["-XX:+UseSerialGC", archive]
    assert submit[-1] == "pyspark-shell"


def test_a_worker_starts_from_the_zip_that_steps_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `worker_start` runs it; only the script is another one: it says where it finds spark_jobs."""
    (tmp_path / "model").write_text("")
    bench = Bench(tmp_path, SMALL)
    monkeypatch.setattr(Bench, "model", tmp_path / "model")
    monkeypatch.setattr(Bench, "images", [tmp_path / "image"])
    monkeypatch.setattr(start, "FIRST_IMAGE", "import spark_jobs.models; print(spark_jobs.models.__file__)")
    found, real = [], subprocess.run

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        found.append(real(*arguments, **options, text=True))  # type: ignore[call-overload]
        return found[-1]

    monkeypatch.setattr(subprocess, "run", run)
    start.worker_start(bench)

    assert {done.stdout.strip() for done in found} == {f"{jobs.py_files()}/spark_jobs/models.py"}
    assert zipfile.is_zipfile(jobs.py_files())
