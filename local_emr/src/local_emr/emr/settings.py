"""Settings: which Spark runs the steps, how long the state transitions take."""

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"  # of all that runs on a node, behind its own commands
TICK_SECONDS = 0.2  # how often clusters and steps look at their faults and timers


class SparkNotFoundError(FileNotFoundError):
    """There is no pyspark for the steps; the message says what to do."""


@dataclass(frozen=True)
class Timing:
    """Seconds that each transition takes; AWS needs minutes.

    `idle_scale` is a factor on IdleTimeout; `kill_grace` is the time between SIGTERM and SIGKILL; Spark's history server
    ends when nobody has asked for a page of it for `history_idle`.
    """

    starting: float = 1.0
    bootstrapping: float = 0.5
    terminating: float = 0.5
    idle_scale: float = 1.0
    kill_grace: float = 5.0
    history_idle: float = 600.0


def absolute_path(text: str) -> Path:
    """Return the path that the text means here and now: steps run in directories of their own."""
    return Path(text).expanduser().absolute()


def _path_from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return absolute_path(value) if value else None


def _default_python() -> Path:
    return _path_from_environment("LOCAL_EMR_SPARK_PYTHON") or Path(sys.executable)


def _default_java_home() -> Path:
    return _path_from_environment("LOCAL_EMR_JAVA_HOME") or _path_from_environment("JAVA_HOME") or Path("/usr")


@dataclass(frozen=True)
class Spark:
    """The Spark installation that runs the steps. Defaults come from the environment variables named below.

    In local mode one JVM is the driver and the executors, so `driver_memory` is all the memory a step gets, whatever
    it asks for.

    Args:
        python: interpreter of an environment with pyspark (`LOCAL_EMR_SPARK_PYTHON`, else this interpreter).
        java_home: Java of the steps (`LOCAL_EMR_JAVA_HOME`, else `JAVA_HOME`, else /usr).
        jars: folder of hadoop-aws and its AWS SDK, which make `s3://` work (`LOCAL_EMR_JARS`).
        class_archive: file written by `python -m local_emr.class_archive`, used if it exists (`LOCAL_EMR_CLASS_ARCHIVE`).
        yarn_jars: folder of hadoop-client-minicluster and BouncyCastle, YARN's daemons (`LOCAL_EMR_YARN_JARS`).
        master: master URL of every step, unless it runs on YARN.
        driver_memory: Java heap of every step.
    """

    python: Path = field(default_factory=_default_python)
    java_home: Path = field(default_factory=_default_java_home)
    jars: Path | None = field(default_factory=lambda: _path_from_environment("LOCAL_EMR_JARS"))
    class_archive: Path | None = field(default_factory=lambda: _path_from_environment("LOCAL_EMR_CLASS_ARCHIVE"))
    yarn_jars: Path | None = field(default_factory=lambda: _path_from_environment("LOCAL_EMR_YARN_JARS"))
    master: str = "local[*,4]"
    driver_memory: str = "2g"

    @property
    def home(self) -> Path:
        """SPARK_HOME: the pyspark package of the environment.

        Raises:
            SparkNotFoundError: the environment has no pyspark.
        """
        if self.python == Path(sys.executable):
            spec = importlib.util.find_spec("pyspark")
            found = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
        else:
            found = sorted(self.python.parent.parent.glob("lib/python3*/site-packages/pyspark"))
        if not found:
            raise SparkNotFoundError(
                f"no pyspark beside {self.python}: install it there (pip install pyspark), or name the Python of "
                "another environment with --spark-python or LOCAL_EMR_SPARK_PYTHON"
            )
        return found[0]

    def require_yarn(self) -> None:
        """Make sure that YARN can start.

        Raises:
            SparkNotFoundError: there is no pyspark, or no YARN beside it.
        """
        if not self.yarn_jars or not list(self.yarn_jars.glob("*hadoop-client-minicluster*.jar")):
            raise SparkNotFoundError(
                "no jars of YARN: put hadoop-client-minicluster (of the version of pyspark's Hadoop, 3.3.4 for Spark 3.5) "
                "and bcprov-, bcpkix- and bcutil-jdk15on 1.70 in a folder, and name it with --yarn-jars or LOCAL_EMR_YARN_JARS"
            )
        assert self.home

    @property
    def class_path(self) -> str:
        """Jars of every driver and executor, as a Java class path.

        Spark's own jars too, although it adds them: a class archive wants its class path first, unbroken by the
        configuration folder that Spark puts between the two.
        """
        folders = [self.jars, self.home / "jars"] if self.jars else [self.home / "jars"]
        return ":".join(f"{folder}/*" for folder in folders)

    @property
    def class_archive_options(self) -> list[str]:
        """Options of a JVM whose class path begins with `class_path`; none where there is no archive."""
        if self.class_archive is None or not self.class_archive.is_file():
            return []
        # An archive of another JDK or class path is passed over; nobody needs to hear of it.
        return [f"-XX:SharedArchiveFile={self.class_archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
