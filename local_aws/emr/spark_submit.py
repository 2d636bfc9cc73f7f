"""The node's `spark-submit`: the real one, with what only a YARN cluster has replaced by this machine.

Run as a program by the node's shell stub: OPTIONS -- ARGUMENTS OF SPARK-SUBMIT. Standard library only.
"""

from __future__ import annotations

import os
import sys

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


def localized(arguments: list[str], master: str, driver_memory: str, python: str, class_path: str) -> list[str]:
    """The same spark-submit command for this machine.

    Everything from the main script on is the application's and stays as it is.
    """
    kept: list[str] = []
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        option, equals, value = arguments[position].partition("=")
        if option in FLAGS:
            kept.append(option)
            position += 1
            continue
        if not equals:
            if position + 1 == len(arguments):
                kept.append(option)
                position += 1
                break
            value = arguments[position + 1]
        position += 1 if equals else 2
        if option in REPLACED_OPTIONS:
            continue
        if option in {"--conf", "-c"}:
            name, _, setting = value.partition("=")
            if name in REPLACED_PROPERTIES:
                continue
            if name in PYTHON_PROPERTIES:
                value = f"{name}={python}"
            elif name in {"spark.driver.extraClassPath", "spark.executor.extraClassPath"}:
                value = f"{name}={setting}:{class_path}"
        elif option == "--driver-class-path":
            value = f"{value}:{class_path}"
        kept += [option, value]
    local = ["--master", master, "--deploy-mode", "client", "--driver-memory", driver_memory]
    return kept + local + arguments[position:]


def main() -> None:
    """Replaces this process by the real spark-submit."""
    home, master, driver_memory, python, class_path = sys.argv[1:6]
    arguments = localized(sys.argv[7:], master, driver_memory, python, class_path)
    program = os.path.join(home, "bin", "spark-submit")
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
