"""Bootstrap actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local_aws import objects
from local_aws.emr.node import Node
from local_aws.reaper import Reaper

if TYPE_CHECKING:
    from local_aws.emr.clusters import Cluster


@dataclass(frozen=True)
class Failure:
    """Why the cluster cannot start."""

    message: str
    details: dict[str, Any]


class Bootstrap:
    """Runs the actions."""

    def __init__(self, cluster: Cluster, node: Node, reaper: Reaper) -> None:
        self._cluster = cluster
        self.record: list[dict[str, Any]] = []

    def run(self, actions: list[dict[str, Any]]) -> Failure | None:
        """The first failure."""
        for number, action in enumerate(actions, 1):
            path = action["ScriptBootstrapAction"]["Path"]
            if path.startswith("s3") and objects.read(path) is None:
                master = self._cluster.master
                message = (
                    f"Master instance ({master.ec2_id if master else ''}) failed attempting to download "
                    f"bootstrap action {number} file from S3"
                )
                return Failure(
                    message,
                    {
                        "ErrorCode": "BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY",
                        "ErrorMessage": message,
                        "ErrorData": [],
                    },
                )
        return None

    def stop(self) -> None:
        """Ends it."""
