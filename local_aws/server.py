"""The endpoint as one object: `with LocalAws() as aws: ...`."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data

from local_aws.control import Control
from local_aws.emr.clusters import Surroundings
from local_aws.emr.node import ACCESS_KEY, SECRET_KEY, Node
from local_aws.emr.service import EmrService
from local_aws.faults import Faults
from local_aws.gateway import Gateway
from local_aws.http_server import Server
from local_aws.objects import Objects
from local_aws.reaper import Reaper
from local_aws.settings import Spark, Timing
from local_aws.storage import Storage

DEFAULT_REGION = "eu-west-3"
_running: set[LocalAws] = set()


class LocalAws:
    """An AWS endpoint of this process, whose EMR clusters run their steps.

    Clusters are its own. Buckets, queues and the rest are moto's, which is global: several endpoints of one process share
    them, and the last one to stop empties them.

    Args:
        port: 0 takes any free one.
        host: the address to listen on; nothing but 127.0.0.1 unless a container needs more.
        region: for clients that do not sign their requests, and for `environment()`.
        timing: how long the transitions take.
        spark: the Spark that runs the steps.
        data_dir: keeps buckets and the record of clusters here; without it everything is memory.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        region: str = DEFAULT_REGION,
        timing: Timing | None = None,
        spark: Spark | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self._address = (host, port)
        self.region = region
        self._timing = timing or Timing()
        self._spark = spark or Spark()
        self.faults = Faults()
        self._data_dir = data_dir
        self._storage: Storage | None = None
        self._server: Server | None = None

    def start(self) -> None:
        """Begins to answer.

        Raises:
            OSError: the port is taken.
        """
        self._objects = objects = Objects()
        reaper = Reaper()
        surroundings = Surroundings(self._timing, self.faults, reaper, objects, lambda: self.port, self._make_node)
        self.emr = EmrService(surroundings)
        control = Control(self.emr, self.faults, objects, self.reset)
        if self._data_dir:
            self._storage = storage = Storage(self._data_dir)
            storage.keep_objects(objects)
            for cluster in storage.clusters(surroundings):
                self.emr.adopt(cluster)
            surroundings.changed = storage.save_cluster
        self._server = Server(*self._address, Gateway(self.emr, control, self.faults, objects, self.region))
        # The port is ours: nothing can go wrong any more.
        reaper.start()
        self._reaper = reaper
        self._server.start()
        _running.add(self)

    def stop(self) -> None:
        """Ends every cluster and step, then the server; nothing is left behind."""
        if self._server is None:
            return
        self.emr.stop()
        self._server.stop()
        self._reaper.stop()
        if self._storage:
            self._storage.close()
            self._storage = None
        self._server = None
        _running.discard(self)
        if not _running:
            self._forget()

    def reset(self) -> None:
        """Forgets every bucket, cluster, queue, role and fault."""
        self.faults.clear()
        self.emr.reset()
        self._forget()
        if self._storage:
            self._storage.clear()

    def _forget(self) -> None:
        """Empties moto, whose state is the process's."""
        with self._objects.lock:
            BackendDict.reset()
            reset_model_data()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server, "start() first"
        return self._server.server_port

    @property
    def endpoint_url(self) -> str:
        """Where clients on this machine find it."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Environment variables that lead AWS clients here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": self.region,
        }

    def _make_node(self, cluster_id: str, configurations: list[dict[str, Any]], region: str, release: str) -> Node:
        return Node(cluster_id, configurations, self._spark, self.endpoint_url, region, release)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
