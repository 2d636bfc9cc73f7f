"""The node's `spark-submit`: the real one, with what only a YARN cluster has replaced by this machine.

Run as a program by the node's shell command: OPTIONS -- ARGUMENTS OF SPARK-SUBMIT. Standard library only.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# The options of SparkSubmitOptionParser (Spark 3.5) that take no value; every other one takes one.
FLAGS = {"--help", "-h", "--verbose", "-v", "--version", "--supervise", "--usage-error"}
# A laptop has neither YARN nor a cluster's memory: the options of these names are replaced or left out.
REPLACED_OPTIONS = {"--master", "--deploy-mode", "--driver-memory", "--driver-cores"}
REPLACED_PROPERTIES = {"spark.master", "spark.submit.deployMode", "spark.driver.memory", "spark.driver.cores"}
PYTHON_PROPERTIES = {
    "spark.pyspark.python",
    "spark.pyspark.driver.python",
    "spark.executorEnv.PYSPARK_PYTHON",
    "spark.yarn.appMasterEnv.PYSPARK_PYTHON",
    "spark.yarn.appMasterEnv.PYSPARK_DRIVER_PYTHON",
}
CLASS_PATH_PROPERTIES = {"spark.driver.extraClassPath", "spark.executor.extraClassPath"}
# What an executor takes of its node, and the least of it in MB: with a smaller heap Spark refuses to start.
EXECUTOR_MEMORY = {
    "spark.executor.memory": 512,
    "spark.executor.memoryOverhead": 128,
    "spark.executor.pyspark.memory": 128,
    "spark.yarn.am.memory": 256,
    "spark.yarn.am.memoryOverhead": 128,
}
UNITS_IN_MB = {"": 1.0, "m": 1.0, "g": 1024.0, "t": 1024.0**2, "k": 1 / 1024}


def scale_property(name: str, value: str, scale: float) -> str:
    """Return the value of a property, scaled if it is a share of a node's memory; without a unit it counts MB."""
    size = re.fullmatch(r"(\d+)([kmgt]?)b?", value.strip().lower())
    if scale >= 1 or size is None or name not in EXECUTOR_MEMORY:
        return value
    return f"{max(EXECUTOR_MEMORY[name], int(int(size[1]) * UNITS_IN_MB[size[2]] * scale))}m"


def rewrite_arguments(
    arguments: list[str], master: str, driver_memory: str, python: str, class_path: str, scale: float = 1.0
) -> list[str]:
    """Return the same spark-submit command for this machine.

    Everything from the main script on is the application's and stays as it is.
    """
    kept: list[str] = []
    position = 0
    for option, value, end in _options(arguments):
        position = end
        if value is None:
            kept.append(option)
        elif option in {"--conf", "-c"}:
            if (setting := _rewrite_property(value, python, class_path, scale)) is not None:
                kept += [option, setting]
        elif option == "--executor-memory":
            kept += [option, scale_property("spark.executor.memory", value, scale)]
        elif option == "--driver-class-path":
            kept += [option, f"{value}:{class_path}"]
        elif option not in REPLACED_OPTIONS:
            kept += [option, value]
    local = ["--master", master, "--deploy-mode", "client", "--driver-memory", driver_memory]
    return kept + local + arguments[position:]


def _options(arguments: list[str]) -> Iterator[tuple[str, str | None, int]]:
    """Yield each option, its value (None: a flag, or the value is missing) and the position after both."""
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        option, equals, value = arguments[position].partition("=")
        position += 1
        if option in FLAGS:
            yield option, None, position
        elif equals:
            yield option, value, position
        elif position == len(arguments):
            yield option, None, position
        else:
            position += 1
            yield option, arguments[position - 1], position


def _rewrite_property(text: str, python: str, class_path: str, scale: float) -> str | None:
    """Return a `name=value` for this machine; None where it must go."""
    name, _, value = text.partition("=")
    if name in REPLACED_PROPERTIES:
        return None
    if name in PYTHON_PROPERTIES:
        return f"{name}={python}"
    if name in CLASS_PATH_PROPERTIES:
        return f"{name}={value}:{class_path}"
    return f"{name}={scale_property(name, value, scale)}" if name in EXECUTOR_MEMORY else text


def lacks_s3(arguments: list[str], class_path: str) -> bool:
    """Return whether the command names `s3://` but no jar makes it work."""
    folders = [Path(entry.removesuffix("/*")) for entry in class_path.split(":")]
    names_s3 = any("s3://" in argument for argument in arguments)
    return names_s3 and not any(list(folder.glob("*hadoop-aws*.jar")) for folder in folders)


def main() -> None:
    """Replace this process by the real spark-submit."""
    home, master, driver_memory, python, class_path, scale = sys.argv[1:7]
    given = sys.argv[8:]
    if lacks_s3(given, class_path):
        sys.stderr.write("local_emr: there is no hadoop-aws jar, so s3:// will fail: start local-emr with --jars\n")
    program = str(Path(home, "bin", "spark-submit"))
    rewritten = rewrite_arguments(given, master, driver_memory, python, class_path, float(scale))
    os.execv(program, [program, *rewritten])  # noqa: S606


if __name__ == "__main__":
    main()
