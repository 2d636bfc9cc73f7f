"""Run a job as a person would, in a process of its own, and watch it."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.samples import PROJECT


@dataclass(frozen=True)
class Ran:
    """One run of extract_features.

    Attributes:
        seconds: from the start of the process to its end, Spark's start included.
        seconds_after_start: from the moment Spark was up and the manifest read.
        seconds_extracting: of the network's pass alone.
        peak_worker_mb: the largest resident size any Python worker ever had.
    """

    seconds: float
    seconds_after_start: float
    seconds_extracting: float
    peak_worker_mb: float


def extract(
    manifest: str | Path,
    model: str | Path,
    output: Path,
    *,
    cores: int = 2,
    submit: Iterable[str] = (),
    environment: dict[str, str] | None = None,
) -> Ran:
    """Run extract_features by spark-submit on `cores` cores of this machine, and on no other.

    Args:
        manifest: URI of the images to work on.
        model: URI of the pointer.
        output: folder in which features and rejects are written, replaced if there.
        cores: that the whole run, Spark included, may use.
        submit: further options of spark-submit.
        environment: variables beside this process's own.
    """
    shutil.rmtree(output, ignore_errors=True)  # otherwise the chunks of an earlier run would be reused
    command = [
        *spark_submit(cores, *submit),
        *(str(PROJECT / "spark_jobs/extract_features.py"), "--manifest", str(manifest), "--model", str(model)),
        *("--features", f"{output}/features", "--rejects", f"{output}/rejects"),
    ]
    started = time.monotonic()
    with subprocess.Popen(
        command,
        env=spark_environment() | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: pin(cores),  # noqa: PLW1509 - the threads of an earlier run have ended
    ) as process:
        peaks = PeakMemory(process.pid)
        up, extracting, lines = started, 0.0, []
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if " start images=" in line:
                up = time.monotonic()
            if done := re.search(r" done images=.* wall_seconds=([\d.]+)", line):
                extracting = float(done[1])
        peaks.stop()
    ended = time.monotonic()
    if process.returncode:
        raise RuntimeError("".join(lines[-30:]))
    return Ran(ended - started, ended - up, extracting, peaks.megabytes)


JARS = f"{PROJECT}/.venv/jars/*"
JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # short lives: one compiler, the serial collector
ARCHIVE = PROJECT / ".venv/spark-classes.jsa"


def spark_submit(cores: int, *options: str) -> list[str]:
    """Return a command as far as the script: what a step of the DAG has on local_emr.

    One compiler as in the cluster's spark-defaults; the serial collector and, where set-up could make it, an archive of
    classes (which saves 3 s of a run) as on the nodes of local_emr. The class path is part of the archive.
    """
    java = list(JVM)
    if ARCHIVE.exists():
        java += [f"-XX:SharedArchiveFile={ARCHIVE}", "-Xshare:auto", "-Xlog:cds=off"]
    return [
        *(str(Path(sys.executable).parent / "spark-submit"), "--master", f"local[{cores}]"),
        *("--driver-java-options", " ".join(java), "--driver-class-path", JARS, *options),
    ]


def conf(settings: Mapping[str, str]) -> list[str]:
    """Return settings as options of spark-submit."""
    return [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Run a command to its end and return its seconds and output.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    started = time.monotonic()
    result = subprocess.run(
        command,
        cwd=PROJECT,
        env=spark_environment() | (environment or {}),
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
        "SPARK_LAUNCHER_OPTS": " ".join([*JVM, "-Xshare:auto"]),
    }


def pin(cores: int) -> None:
    """Keep this process and its children on `cores` cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


class PeakMemory:
    """Watches the Python workers below a process; Linux only, elsewhere it sees nothing."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._root = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for pid in _descendants(self._root):
                self.megabytes = max(self.megabytes, _worker_peak(pid))


def _descendants(root: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _worker_peak(pid: int) -> float:
    try:
        if "pyspark.daemon" not in Path(f"/proc/{pid}/cmdline").read_text():
            return 0.0
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(peak[1]) / 1024 if peak else 0.0
