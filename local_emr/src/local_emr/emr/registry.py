"""What the operations share: the clusters and security configurations of every region, and how to find them."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local_emr.emr.capacity import InstanceCollection
from local_emr.emr.cluster import CLOSING_STATES, Cluster
from local_emr.emr.context import ServerContext
from local_emr.emr.errors import EmrError, InvalidRequestError, UnavailableError, ValidationError, no_such_cluster
from local_emr.emr.lifecycle import Lifecycle

Request = dict[str, Any]
Answer = dict[str, Any]

PAGE_SIZE = 50


class Registry:
    """Every cluster by its id, every security configuration by its region and name."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self._lock = threading.Lock()
        self._lifecycles: dict[str, Lifecycle] = {}
        self._closed = False
        self.security_configurations: dict[tuple[str, str], Answer] = {}

    def restore(self, cluster: Cluster) -> None:
        """Add a cluster of an earlier server, which has ended."""
        with self._lock:
            self._lifecycles[cluster.id] = Lifecycle(cluster, self.context)

    def launch(self, cluster: Cluster) -> None:
        """Add a new cluster, and let it start.

        Raises:
            UnavailableError: the clusters are being ended; nobody would end this one.
        """
        lifecycle = Lifecycle(cluster, self.context)
        # Whoever ends the clusters finds this one saved and started, or not at all.
        with self._lock:
            if self._closed:
                raise UnavailableError("local_emr is being reset or stopped.")
            self.context.save(cluster)
            lifecycle.start()
            self._lifecycles[cluster.id] = lifecycle

    def close(self) -> list[Lifecycle]:
        """Take no new clusters from now on; return the lifecycles of those that are there."""
        with self._lock:
            self._closed = True
        return self.lifecycles()

    def lifecycles(self) -> list[Lifecycle]:
        """Return every cluster's lifecycle, oldest first."""
        with self._lock:
            return list(self._lifecycles.values())

    @contextmanager
    def changing(self, cluster: Cluster, error: type[EmrError] = ValidationError) -> Iterator[None]:
        """Hold the lock of a cluster while the block changes it, and save it then.

        Raises:
            EmrError: it has ended or is about to; of the operation's kind.
        """
        with cluster.lock:
            if cluster.state in CLOSING_STATES:
                raise error("A job flow that is shutting down, terminated, or finished may not be modified.")
            yield
            self.context.save(cluster)

    def clear(self) -> None:
        """Forget everything, and take new clusters again."""
        with self._lock:
            self._lifecycles.clear()
            self.security_configurations.clear()
            self._closed = False

    def clusters(self, region: str) -> list[Cluster]:
        """Return the region's clusters, oldest first."""
        return [lifecycle.cluster for lifecycle in self.lifecycles() if lifecycle.cluster.region == region]

    def find(self, cluster_id: str, region: str | None = None) -> Lifecycle | None:
        """Return the lifecycle of the cluster of that id, in any region or in that one; None if there is none."""
        with self._lock:
            found = self._lifecycles.get(cluster_id)
        return found if found and region in {None, found.cluster.region} else None

    def lifecycle(self, cluster_id: str, region: str) -> Lifecycle:
        """Return the lifecycle of a cluster, for operations that speak of clusters.

        Raises:
            InvalidRequestError: there is no such cluster.
        """
        found = self.find(cluster_id, region)
        if found is None:
            raise no_such_cluster(cluster_id)
        return found

    def cluster(self, cluster_id: str, region: str) -> Cluster:
        """Return a cluster, for operations that speak of clusters.

        Raises:
            InvalidRequestError: there is no such cluster.
        """
        return self.lifecycle(cluster_id, region).cluster

    def job_flow(self, cluster_id: str, region: str) -> Lifecycle:
        """Return the lifecycle of a cluster, for the older operations, which speak of job flows.

        Raises:
            ValidationError: there is no such cluster.
        """
        found = self.find(cluster_id, region)
        if found is None:
            raise ValidationError("Specified job flow ID does not exist.")
        return found

    def job_flows(self, request: Request, region: str) -> list[Lifecycle]:
        """Return those that the request names in JobFlowIds."""
        return [self.job_flow(cluster_id, region) for cluster_id in request["JobFlowIds"]]

    def collection(self, collection_id: str, region: str) -> tuple[Cluster, InstanceCollection]:
        """Return an instance group or fleet with its cluster.

        Raises:
            InvalidRequestError: there is none of that id.
        """
        for cluster in self.clusters(region):
            for collection in cluster.collections:
                if collection.id == collection_id:
                    return cluster, collection
        raise InvalidRequestError(f"Instance group or fleet id '{collection_id}' is not valid.")


def page(key: str, items: list[Answer], request: Request, size: int = PAGE_SIZE) -> Answer:
    """Return the page after the request's Marker, and the Marker of the next one, if there is one."""
    start = 0
    if marker := request.get("Marker"):
        try:
            start = int(base64.urlsafe_b64decode(marker).decode().removeprefix("from:"))
        except ValueError:
            raise InvalidRequestError(f"Marker '{marker}' is not valid.") from None
    answer: Answer = {key: items[start : start + size]}
    if start + size < len(items):
        answer["Marker"] = base64.urlsafe_b64encode(f"from:{start + size}".encode()).decode()
    return answer
