"""What a node said when it failed to start: the end of its bootstrap action's own log."""

import re
import time
from datetime import datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

from emr_step_log import COPY_TIMEOUT, UNREADABLE, error_lines, last_lines, log_folder

# The words of EMR: "On the master instance (i-0123), bootstrap action 1 returned a non-zero return code".
FAILED_ACTION = re.compile(r"instance \((?P<instance>i-\w+)\)[\s\S]*bootstrap action (?P<number>\d+)")


def failed_action(cluster: dict[str, Any]) -> tuple[str, str] | None:
    """Return the instance that has failed and the number of its bootstrap action; None if the cluster did not end of that.

    Args:
        cluster: as DescribeCluster returns it.
    """
    reason = cluster["Status"].get("StateChangeReason", {})
    if reason.get("Code") != "BOOTSTRAP_FAILURE":
        return None
    found = FAILED_ACTION.search(reason.get("Message", ""))
    return (found["instance"], found["number"]) if found else None


class BootstrapLog:
    """The log of a bootstrap action that has failed.

    Args:
        s3: a hook for the connection that may read LogUri.
        cluster: as DescribeCluster returns it; it has a `failed_action` and a LogUri.
    """

    def __init__(self, s3: S3Hook, cluster: dict[str, Any]) -> None:
        action = failed_action(cluster)
        assert action
        instance, number = action
        self._s3 = s3
        self._ended: datetime | None = cluster["Status"]["Timeline"].get("EndDateTime")
        self.bucket, folder = log_folder(cluster)
        self.key = f"{folder}/node/{instance}/bootstrap-actions/{number}/stderr.gz"

    def is_awaited(self) -> bool:
        """Say whether the log is not in S3 yet, but may still come."""
        late = self._ended is not None and time.time() - self._ended.timestamp() > COPY_TIMEOUT.total_seconds()
        try:
            return not late and not self._s3.check_for_key(self.key, self.bucket)
        except (BotoCoreError, ClientError):  # it says so itself when it is read
            return False

    def read(self) -> list[str]:
        """Return its last lines, or one that says why there are none."""
        try:
            return last_lines(self._s3, self.bucket, self.key) or [f"no log at s3://{self.bucket}/{self.key}"]
        except UNREADABLE as error:
            return [f"could not read s3://{self.bucket}/{self.key}: {error}"]


def cause(log: list[str]) -> str:
    """Return the line of the log that says most: its last error, else its last line."""
    return (error_lines(log) or [line for line in log if line.strip()] or [""])[-1].strip()
