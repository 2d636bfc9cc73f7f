"""What can be set: where Spark is, how long the transitions take."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Timing:
    """Seconds that a transition takes; AWS needs minutes. `idle_scale` stretches or shrinks IdleTimeout."""

    starting: float = 1.0
    bootstrapping: float = 0.5
    terminating: float = 0.5
    idle_scale: float = 1.0
    kill_grace: float = 5.0


@dataclass(frozen=True)
class Spark:
    """The Spark installation that runs the steps.

    `class_archive` is what `python -m local_aws.class_archive` makes; used where it exists.
    `python` is the interpreter of an environment with pyspark; `jars` holds hadoop-aws and its AWS SDK. In local mode
    one JVM is the driver and the executors, so `driver_memory` is all the memory a step gets, whatever it asks for.
    """

    python: Path = REPOSITORY / ".venv/spark/bin/python"
    java_home: Path = field(default_factory=lambda: _java_home())
    jars: Path = REPOSITORY / ".venv/jars"
    class_archive: Path = REPOSITORY / ".venv/spark-classes.jsa"
    master: str = "local[*,4]"
    driver_memory: str = "2g"

    @property
    def home(self) -> Path:
        """SPARK_HOME: the pyspark package of the environment."""
        found = sorted(self.python.parent.parent.glob("lib/python3*/site-packages/pyspark"))
        if not found:
            raise FileNotFoundError(
                f"no pyspark beside {self.python}: run `make setup`, or pass another --spark-python"
            )
        return found[0]


def _java_home() -> Path:
    local = REPOSITORY / ".venv/java"
    return local if local.exists() else Path(os.environ.get("JAVA_HOME", "/usr"))
