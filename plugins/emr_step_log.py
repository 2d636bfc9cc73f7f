"""Why an EMR step ended as it did: what EMR says, and the end of the step's own log."""

import gzip
import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

LOG_LINES = 40
POLL_SECONDS = 5
CLOCK_TOLERANCE = timedelta(seconds=5)  # between S3's and EMR's; an estimate
EXIT_CODE = re.compile(r"Command exiting with ret '(\d+)'")
EXIT_CODES = {
    "124": "the step was not over within its time limit, and ended itself: raise the limit, or see what it waited for",
    "126": "the step's program could not be run",
    "127": "the step's program is not on the node",
    "134": "the driver aborted: its last lines name the library",
    "137": "the driver was killed, most likely as the primary node's memory was used up: choose a larger primary node. If the "
    "step took all of its time limit, it hung and did not end when asked to",
    "139": "the driver crashed in native code (segmentation fault): its last lines name the library",
    "143": "the driver was asked to end: the step was cancelled, or its cluster was terminated",
}
ERROR_LINE = re.compile(r"error: |[\w.]*(Error|Exception)\b")


def causes(cluster: dict[str, Any], step: dict[str, Any]) -> list[str]:
    """Return what EMR gives as reasons, of the step and of a cluster that is ending; both as DescribeX returns them."""
    status = step["Status"]
    details = status.get("FailureDetails", {})
    reasons = [details.get("Reason"), details.get("Message"), status.get("StateChangeReason", {}).get("Message")]
    if cluster["Status"]["State"] in {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}:
        change = cluster["Status"].get("StateChangeReason", {})
        reasons.append(f"the cluster is {cluster['Status']['State']}: {change.get('Message', 'no reason given')}")
    return [reason for reason in reasons if reason]


def error_lines(log: list[str]) -> list[str]:
    """Return the lines of a log that name an error."""
    return [line for line in log if ERROR_LINE.match(line)]


def exit_code_meaning(lines: Iterable[str]) -> list[str]:
    """Return what the exit code means that EMR's command runner names in these lines, as one sentence or none."""
    codes = [match[1] for line in lines if (match := EXIT_CODE.search(line))]
    return [f"exit code {code}: {EXIT_CODES[code]}" for code in codes[-1:] if code in EXIT_CODES]


def end_of_log(
    s3: S3Hook, cluster: dict[str, Any], step: dict[str, Any], timeout: timedelta, warn: Callable[..., object]
) -> list[str]:
    """Return the last lines that Spark (stderr) and, in client deploy mode, the Python driver (stdout) have written.

    EMR copies a log to S3 every few minutes, while the step runs too: only a copy made after its end has the cause.

    Args:
        s3: a hook for the connection that may read LogUri.
        cluster: as DescribeCluster returns it.
        step: as DescribeStep returns it.
        timeout: how long to wait for the final copy.
        warn: gets a message, with arguments for %-formatting, if the log cannot be read or is not complete.
    """
    if not cluster.get("LogUri"):
        return []
    bucket, prefix = S3Hook.parse_s3_url(cluster["LogUri"].replace("s3n://", "s3://"))
    folder = f"{prefix.rstrip('/')}/{cluster['Id']}/steps/{step['Id']}".lstrip("/")
    try:
        if not _wait_for_copy(s3, bucket, f"{folder}/stderr.gz", step["Status"]["Timeline"]["EndDateTime"], timeout):
            warn("No complete log at s3://%s/%s yet: look there later, or in the EMR console", bucket, folder)
        return [line for name in ("stderr.gz", "stdout.gz") for line in _last_lines(s3, bucket, f"{folder}/{name}")]
    except (BotoCoreError, ClientError, OSError) as error:  # the cause is known: its details are not worth losing it
        warn("Could not read the step's log: %s", error)
        return []


def _wait_for_copy(s3: S3Hook, bucket: str, key: str, ended: datetime, timeout: timedelta) -> bool:
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        copy = s3.head_object(key, bucket)
        if copy and copy["LastModified"] >= ended - CLOCK_TOLERANCE:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def _last_lines(s3: S3Hook, bucket: str, key: str) -> list[str]:
    if not s3.check_for_key(key, bucket):
        return []
    content = s3.get_key(key, bucket).get()["Body"].read()
    return gzip.decompress(content).decode(errors="replace").splitlines()[-LOG_LINES:]
