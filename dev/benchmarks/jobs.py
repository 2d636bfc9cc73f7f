"""Run a job as a person would, in a process of its own, and watch it."""

import atexit
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.memory import PeakMemory
from benchmarks.samples import PROJECT


@dataclass(frozen=True)
class Ran:
    """One run of extract_features, or of the bare loop, whose start takes no time.

    Attributes:
        seconds: from the start of the process to its end, Spark's start included.
        seconds_after_start: from the moment Spark was up and the manifest read.
        seconds_extracting: of the network's pass alone.
        cpu_seconds: processor time of the Python workers' tasks.
        reused: images of chunks that were there already.
        peak_worker_mb: the largest resident size any Python worker ever had.
    """

    seconds: float
    seconds_after_start: float
    seconds_extracting: float
    cpu_seconds: float
    reused: int = 0
    peak_worker_mb: float = 0.0


DONE = re.compile(r" done images=.* reused=(\d+) wall_seconds=([\d.]+) .* cpu_seconds=([\d.]+)")


def extract_command(
    manifest: str | Path, model: str | Path, output: str | Path, *, cores: int = 2, submit: Iterable[str] = ()
) -> list[str]:
    """Return extract_features as the DAG submits it.

    Args:
        manifest: URI of the images to work on.
        model: URI of the pointer.
        output: URI of the folder for features and rejects.
        cores: that Spark may use.
        submit: further options of spark-submit.
    """
    return [
        *spark_submit(cores, *submit),
        *(str(PROJECT / "spark_jobs/extract_features.py"), "--manifest", str(manifest), "--model", str(model)),
        *("--features", f"{output}/features/run=bench", "--rejects", f"{output}/rejects/run=bench"),
        *("--progress", f"{output}/progress.json", "--max-reject-share", "0.05"),
    ]


def extract(
    manifest: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    cores: int = 2,
    submit: Iterable[str] = (),
    environment: dict[str, str] | None = None,
    resume: bool = False,
    plain: bool = False,
) -> Ran:
    """Run extract_features by spark-submit on `cores` cores of this machine, and on no other.

    Args:
        manifest: URI of the images to work on.
        model: URI of the pointer.
        output: URI of the folder for features and rejects; one of this machine is emptied first.
        cores: that the whole run, Spark included, may use.
        submit: further options of spark-submit.
        environment: variables beside this process's own.
        resume: keep what an earlier run has left in `output`.
        plain: on a JVM as EMR starts it.

    Raises:
        RuntimeError: the job failed; with the end of what it printed.
    """
    if isinstance(output, Path) and not resume:
        shutil.rmtree(output, ignore_errors=True)
    options, variables = jvm(plain=plain)
    command = extract_command(manifest, model, output, cores=cores, submit=[*options, *submit])
    started = time.monotonic()
    with start(command, cores, variables | (environment or {})) as process:
        peaks = PeakMemory(process.pid)
        up, done, lines = started, None, []
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if " start images=" in line:
                up = time.monotonic()
            done = DONE.search(line) or done
        peaks.stop()
    ended = time.monotonic()
    if process.returncode or not done:
        raise RuntimeError(f"extract_features ended with {process.returncode}: {''.join(lines[-30:])}")
    return Ran(ended - started, ended - up, float(done[2]), float(done[3]), int(done[1]), peaks.megabytes)


def start(
    command: Sequence[str], cores: int, environment: dict[str, str] | None = None, *, session: bool = False
) -> "subprocess.Popen[str]":
    """Start a job on `cores` cores; its output comes line by line.

    Args:
        command: of `extract_command` or `spark_submit`.
        cores: that it and its children may use.
        environment: variables beside this process's own.
        session: in a session of its own, so that all of it can be killed at once.
    """
    return subprocess.Popen(
        command,
        env=step_environment() | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: pin(cores),  # noqa: PLW1509 - the threads of an earlier run have ended
        start_new_session=session,
    )


JARS = f"{PROJECT}/.venv/jars/*"
ARCHIVE = PROJECT / ".venv/spark-classes.jsa"
ONE_COMPILER = "-XX:TieredStopAtLevel=1"  # of the DAG, in the cluster's spark-defaults
SERIAL = "-XX:+UseSerialGC"  # of local_emr

# What EMR starts a driver with: no archive of classes, the JVM's own choice of a collector. spark-submit takes the last option.
PLAIN_JVM = ["--driver-java-options", ONE_COMPILER]
PLAIN_LAUNCHER = {"SPARK_LAUNCHER_OPTS": ""}


def jvm(*, plain: bool) -> tuple[list[str], dict[str, str]]:
    """Return options of spark-submit and variables, beside a step's own: what makes its JVM a `plain` one, or nothing."""
    return (PLAIN_JVM, PLAIN_LAUNCHER) if plain else ([], {})


def local_jvm() -> list[str]:
    """Return what the JVMs on the nodes of local_emr have beside the DAG's own options.

    The serial collector and, where set-up could make it, an archive of classes, which saves seconds of a run.
    """
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}", "-Xshare:auto", "-Xlog:cds=off"] if ARCHIVE.exists() else []
    return [SERIAL, *archive]


def spark_submit(cores: int, *options: str) -> list[str]:
    """Return a command as far as the script: what a step of the DAG has on local_emr. The class path is part of the archive."""
    java = [ONE_COMPILER, *local_jvm()]
    return [
        *(str(Path(sys.executable).parent / "spark-submit"), "--master", f"local[{cores}]"),
        *("--driver-java-options", " ".join(java), "--driver-class-path", JARS, "--py-files", py_files(), *options),
    ]


@cache
def py_files() -> str:
    """Return the zip of the jobs that every step is submitted with, made once a run and removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="fruits-bench-jobs-")
    atexit.register(folder.cleanup)
    file = Path(folder.name, "spark_jobs.zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((PROJECT / "spark_jobs").rglob("*")):
            if path.is_file() and path.suffix not in {".pyc", ".toml"}:
                archive.write(path, path.relative_to(PROJECT))
    return str(file)


def conf(settings: Mapping[str, str]) -> list[str]:
    """Return settings as options of spark-submit."""
    return [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Run a command to its end and return its seconds and output.

    Args:
        command: the program and its arguments.
        environment: all of its variables; a step's by default.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    started = time.monotonic()
    result = subprocess.run(
        command,
        cwd=PROJECT,
        env=(environment or step_environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout[-3000:]}")
    return time.monotonic() - started, result.stdout


def spark_environment() -> dict[str, str]:
    """Return this process's variables with what Spark's processes need."""
    java = os.environ.get("JAVA_HOME") or str(PROJECT / ".venv/java")
    return os.environ | {
        "JAVA_HOME": java,
        "PYTHONPATH": f"{PROJECT}:{PROJECT}/dev",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LAUNCHER_OPTS": f"{ONE_COMPILER} {SERIAL} -Xshare:auto",
    }


def notebook_environment() -> dict[str, str]:
    """Return the same for a driver that is no step: its JVM is local_emr's, with both compilers, as Spark ML computes in it."""
    submit = ["--driver-java-options", " ".join(local_jvm()), "--driver-class-path", JARS, "pyspark-shell"]
    return spark_environment() | {"PYSPARK_SUBMIT_ARGS": shlex.join(submit)}


def step_environment() -> dict[str, str]:
    """Return the same for a step, whose code comes from `--py-files` alone."""
    environment = spark_environment()
    del environment["PYTHONPATH"]
    return environment


def pin(cores: int) -> None:
    """Keep this process and its children on `cores` cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
