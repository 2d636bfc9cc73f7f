"""EMR releases: labels and the versions of their applications.

From the release notes of the Amazon EMR Release Guide; the applications are those a pipeline of this kind asks for.
"""

from typing import Any

# label -> application -> version
RELEASES: dict[str, dict[str, str]] = {
    "emr-7.13.0": {"Hadoop": "3.4.2", "Spark": "3.5.6", "TensorFlow": "2.19.0"},
    "emr-7.12.0": {"Hadoop": "3.4.1", "Spark": "3.5.6", "TensorFlow": "2.19.0"},
    "emr-7.10.0": {"Hadoop": "3.4.1", "Spark": "3.5.5", "TensorFlow": "2.16.1"},
    "emr-6.15.0": {"Hadoop": "3.3.6", "Spark": "3.4.1", "TensorFlow": "2.11.0", "JupyterHub": "1.5.0"},
}
OS_RELEASES = {"emr-7": "2023.8.20250818.0", "emr-6": "2.0.20250808.1"}


def at_least(label: str, minimum: str) -> bool:
    """Return whether a release such as `emr-6.15.0` is that version, such as `6.15.0`, or a later one.

    A label that is no version counts as the latest: RunJobFlow accepts labels that are not known here.
    """
    try:
        return _version(label.removeprefix("emr-")) >= _version(minimum)
    except ValueError:
        return True


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def applications(label: str, requested: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the Applications of DescribeCluster: names as requested, versions of the release."""
    versions = RELEASES.get(label, {})
    names = [application["Name"] for application in requested] or ["Hadoop"]
    return [{"Name": name, "Version": versions.get(name, "")} for name in names]
