"""Files of a node that several modules write, and what they say."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""


def write_command(path: Path, body: str) -> None:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def hadoop_xml(properties: Mapping[str, str]) -> str:
    """Return a Hadoop configuration file."""
    entries = "".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{entries}</configuration>\n'


def last_problem(log: Path) -> str:
    """Return the last complaint in the log of a JVM, and where the log is."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"(Caused by: )?[\w.$]+(Exception|Error)\b", line)]
    said = (causes or lines or ["it has said nothing"])[-1].strip()
    return f"{said[:300]} ({log})"


def classified_properties(configurations: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the properties of a cluster's Configurations by `classification` or `classification/nested`."""
    return dict(_flatten(configurations, ""))


def _flatten(configurations: list[dict[str, Any]], parent: str) -> Iterator[tuple[str, dict[str, str]]]:
    for configuration in configurations:
        name = parent + configuration.get("Classification", "")
        yield name, dict(configuration.get("Properties") or {})
        yield from _flatten(configuration.get("Configurations") or [], f"{name}/")
