"""What every cluster of a server shares."""

from collections.abc import Callable
from dataclasses import dataclass

from local_emr.emr.cluster import Cluster
from local_emr.emr.faults import Faults
from local_emr.emr.node import Node
from local_emr.emr.reaper import Reaper
from local_emr.emr.s3_access import S3Access
from local_emr.emr.settings import Timing


@dataclass(frozen=True)
class ServerContext:
    """The server as its clusters see it.

    Args:
        timing: how long the transitions take.
        faults: what may go wrong.
        reaper: kills the steps if the server is killed.
        s3: where logs go and scripts come from.
        port: the endpoint's, known once it listens.
        make_node: makes a cluster's primary node.
        save: called after each change of a cluster that a restart should know.
    """

    timing: Timing
    faults: Faults
    reaper: Reaper
    s3: S3Access
    port: Callable[[], int]
    make_node: Callable[[Cluster], Node]
    save: Callable[[Cluster], None] = lambda _: None
