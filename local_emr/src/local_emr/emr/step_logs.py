"""The logs of one step: files on the node while it runs, gzip objects below LogUri when it has ended."""

import gzip
import re
from pathlib import Path

from local_emr.emr import spark_events
from local_emr.emr.identifiers import now
from local_emr.emr.s3_access import S3Access

LOG_NAMES = ("controller", "stdout", "stderr")
LOG_LINE = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (TRACE|DEBUG|INFO|WARN|ERROR) ", re.MULTILINE)
ERROR_LINE = re.compile(r"(Exception in thread .*|Caused by: .*|(?:\w+\.)*\w+(?:Error|Exception)\b.*)")


class StepLogs:
    """The three logs of a step in a directory of their own.

    Args:
        directory: of the node; made here.
        uri: where they go in the end, with a slash; None without a LogUri.
    """

    def __init__(self, directory: Path, uri: str | None) -> None:
        (directory / spark_events.FOLDER).mkdir(parents=True)
        self.directory = directory
        self._uri = uri

    def control(self, line: str) -> None:
        """Add a line to the controller's log."""
        with (self.directory / "controller").open("a", encoding="utf-8") as controller:
            controller.write(f"{now():%Y-%m-%dT%H:%M:%S.000Z} {line}\n")

    def push(self, s3: S3Access) -> None:
        """Write the logs to S3. A bucket that does not exist costs the logs, not the step."""
        if self._uri:
            for name in LOG_NAMES:
                s3.write(f"{self._uri}{name}.gz", gzip.compress((self.directory / name).read_bytes(), 1))
            spark_events.push(self.directory, self._uri, s3)

    def failure_details(self, exit_code: int) -> dict[str, str]:
        """Return the FailureDetails of DescribeStep: EMR names the reason only where it recognizes it."""
        text = (self.directory / "stderr").read_bytes()[-65536:].decode(errors="replace")
        details = {
            "Reason": "Unknown Error.",
            "Message": _error_line(text) or f"Command exiting with ret '{exit_code}'",
        }
        if self._uri:
            details["LogFile"] = f"{self._uri}stderr.gz"
        return details


def _error_line(stderr: str) -> str:
    """Return the line of a log that says what went wrong, or nothing.

    Where Spark has logged, only a line that looks like an error counts: its messages run over several lines.
    """
    lines = stderr.rstrip().splitlines()[:-1]  # the last one is command-runner's own
    if LOG_LINE.search(stderr):
        lines = [line for line in lines if ERROR_LINE.match(line)]
    return lines[-1].strip()[:1000] if lines else ""
