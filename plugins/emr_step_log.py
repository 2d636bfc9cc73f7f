"""Why an EMR step ended as it did: what EMR says, and the end of the step's own log."""

import gzip
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import ENDING_CLUSTER
from emr_links import ClusterLink
from emr_replacement import end_of

COPY_TIMEOUT = timedelta(minutes=6)  # EMR copies a log to S3 within minutes of the end of what has written it
LOG_LINES = 40
# The last three: it is no gzip, or not a whole one.
UNREADABLE = (BotoCoreError, ClientError, OSError, EOFError, zlib.error)
CLOCK_TOLERANCE = timedelta(seconds=5)  # between S3's and EMR's; an estimate
EXIT_CODE = re.compile(r"Command exiting with ret '(\d+)'")
EXIT_CODES = {
    "124": "the step did not finish within its time limit, and was stopped: raise the limit, or see what it waited for",
    "126": "the step's program could not be run",
    "127": "the step's program is not on the node",
    "134": "the driver aborted: its last lines name the library",
    "137": "the driver was killed, most likely because the primary node ran out of memory: choose a larger primary node. If the "
    "step took all of its time limit, it hung and did not end when asked to",
    "139": "the driver crashed in native code (segmentation fault): its last lines name the library",
    "143": "the driver was asked to end: the step was cancelled, or its cluster was terminated",
}
ERROR_LINE = re.compile(r"(error|ERROR): |[\w.]*(Error|Exception)\b")


def causes(cluster: dict[str, Any], step: dict[str, Any]) -> list[str]:
    """Return what EMR gives as reasons, of the step and of a cluster that is ending; both as DescribeX returns them."""
    status = step["Status"]
    details = status.get("FailureDetails", {})
    reasons = [details.get("Reason"), details.get("Message"), status.get("StateChangeReason", {}).get("Message")]
    change = cluster["Status"].get("StateChangeReason", {})
    # Of a step that has failed by itself the cluster's end is a consequence.
    consequence = status["State"] == "FAILED" and change.get("Code") == "USER_REQUEST"
    if cluster["Status"]["State"] in ENDING_CLUSTER and not consequence:
        reasons.append(f"the cluster is {end_of(cluster)}")
    return [reason for reason in reasons if reason]


def error_lines(log: list[str]) -> list[str]:
    """Return the lines of a log that name an error."""
    return [line for line in log if ERROR_LINE.match(line)]


def exit_code_meaning(lines: Iterable[str]) -> list[str]:
    """Return what the exit code means that EMR's command runner names in these lines, as one sentence or none."""
    codes = [match[1] for line in lines if (match := EXIT_CODE.search(line))]
    return [f"exit code {code}: {EXIT_CODES[code]}" for code in codes[-1:] if code in EXIT_CODES]


def failure(cluster: dict[str, Any], step: dict[str, Any], log: list[str]) -> str:
    """Return what a task says of its failed step: the job's own error in the first line, then EMR's reasons, then where to look.

    Args:
        cluster: as DescribeCluster returns it.
        step: as DescribeStep returns it.
        log: the end of the step's log, or nothing.
    """
    known = causes(cluster, step)
    reasons = "; ".join(reason.rstrip(".") for reason in known) or "no reason given"
    own = error_lines(log)[-1:]
    lines = [f"step {step['Name']} ({step['Id']}) is {step['Status']['State']}: {(own or [reasons])[0]}"]
    lines += [f"  EMR says: {reasons}"] if own else []
    lines += [f"  {meaning}" for meaning in exit_code_meaning([*known, *log])]
    if cluster.get("LogUri"):
        bucket, folder = log_folder(cluster)
        lines.append(f"  log: s3://{bucket}/{folder}/steps/{step['Id']}/ (stdout.gz: the job, stderr.gz: Spark)")
    link = ClusterLink.url(cluster["ClusterArn"].split(":")[3], cluster["Id"])
    lines.append(f"  cluster: {link or cluster['Id']}")
    return "\n".join(lines)


def end_of_log(s3: S3Hook, cluster: dict[str, Any], step: dict[str, Any], warn: Callable[..., object]) -> list[str]:
    """Return the last lines that Spark (stderr) and, in client deploy mode, the Python driver (stdout) have written.

    EMR copies a log to S3 every few minutes, while the step runs too: only a copy made after its end has the cause.

    Args:
        s3: a hook for the connection that may read LogUri.
        cluster: as DescribeCluster returns it.
        step: as DescribeStep returns it.
        warn: gets a message, with arguments for %-formatting, if the log cannot be read or is not complete.
    """
    if not cluster.get("LogUri"):
        return []
    bucket, folder = log_folder(cluster)
    folder = f"{folder}/steps/{step['Id']}"
    try:
        copy = s3.head_object(f"{folder}/stderr.gz", bucket)
        if not copy or not is_final_copy(copy["LastModified"], step):
            warn("No complete log at s3://%s/%s yet: look there later, or in the EMR console", bucket, folder)
        return [line for name in ("stderr.gz", "stdout.gz") for line in last_lines(s3, bucket, f"{folder}/{name}")]
    except UNREADABLE as error:  # the cause is known: its details are not worth losing it
        warn("Could not read the step's log: %s", error)
        return []


def log_folder(cluster: dict[str, Any]) -> tuple[str, str]:
    """Return the bucket and the key of the folder below LogUri that has the cluster's logs."""
    bucket, prefix = S3Hook.parse_s3_url(cluster["LogUri"].replace("s3n://", "s3://"))
    return bucket, f"{prefix.rstrip('/')}/{cluster['Id']}".lstrip("/")


def is_final_copy(written: datetime, step: dict[str, Any]) -> bool:
    """Say whether a copy of a step's log was made after the step's end, so that it has the cause."""
    return written >= step["Status"]["Timeline"]["EndDateTime"] - CLOCK_TOLERANCE


def last_lines(s3: S3Hook, bucket: str, key: str) -> list[str]:
    """Return the end of a log that is compressed with gzip; nothing where there is none."""
    if not s3.check_for_key(key, bucket):
        return []
    body = s3.get_key(key, bucket).get()["Body"]
    # Line by line: a log may be larger than the worker's memory.
    with gzip.open(body, "rt", encoding="utf-8", errors="replace") as log:
        return [line.rstrip("\n") for line in deque(log, maxlen=LOG_LINES)]
