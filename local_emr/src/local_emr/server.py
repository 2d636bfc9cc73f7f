"""The endpoint as one object: `with LocalEmr() as aws: ...`."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data

from local_emr import account
from local_emr.access_log import AccessLog
from local_emr.admin import Admin
from local_emr.emr.cluster import Cluster
from local_emr.emr.context import ServerContext
from local_emr.emr.faults import Faults
from local_emr.emr.node import Node
from local_emr.emr.reaper import Reaper
from local_emr.emr.s3_access import ACCESS_KEY, SECRET_KEY, S3Access
from local_emr.emr.service import EmrService
from local_emr.emr.settings import Spark, Timing
from local_emr.gateway import Gateway
from local_emr.http_server import Application, Server
from local_emr.persistence import Persistence
from local_emr.same_origin import LOCAL_NAMES, SameOrigin
from local_emr.spark_history import SparkHistory

DEFAULT_REGION = "eu-west-3"
DEFAULT_HOST = "127.0.0.1"
# The endpoints of this process: moto's state is the process's too, so the last one to stop empties it.
_running: set["LocalEmr"] = set()


class LocalEmr:
    """An AWS endpoint of this process, whose EMR clusters run their steps.

    Clusters are its own. Buckets, queues and the rest are moto's, which is global: several endpoints of one process share
    them, and the last one to stop empties them.

    Args:
        port: 0 takes any free one.
        host: the address to listen on; nothing but 127.0.0.1 unless a container needs more. With another one, requests may
            call the endpoint by any name.
        region: for clients that do not sign their requests, and for `environment()`.
        timing: how long the transitions take.
        spark: the Spark that runs the steps.
        yarn: run the steps on a YARN of their cluster's, with a node per core or task instance, rather than in local mode.
        data_dir: keeps buckets and the record of clusters here; without it everything is memory.
        access_log: file to which every AWS call is added, as IAM sees it; see `access_log`.

    Attributes:
        faults: the rules in force.
        quotas: of EC2, by the code that Service Quotas gives each.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = DEFAULT_HOST,
        region: str = DEFAULT_REGION,
        timing: Timing | None = None,
        spark: Spark | None = None,
        yarn: bool = False,
        data_dir: Path | None = None,
        access_log: Path | None = None,
    ) -> None:
        self._address = (host, port)
        self.region = region
        self._timing = timing or Timing()
        self._spark = spark or Spark()
        self._yarn = yarn
        self.faults = Faults()
        self.quotas = dict(account.EC2_QUOTAS)
        self._data_dir = data_dir
        self._access_log = access_log
        self._persistence: Persistence | None = None
        self._server: Server | None = None
        self._ending = threading.Lock()  # a reset does not let in what a stop keeps out

    def start(self) -> None:
        """Begin to answer.

        Raises:
            OSError: the port is taken; or `data_dir` or `access_log`, which it names, cannot be written.
            SparkNotFoundError: YARN is asked for, and its jars or pyspark are not there.
        """
        if self._yarn:
            self._spark.require_yarn()
        self._s3 = s3 = S3Access()
        self._reaper = Reaper()
        persistence = self._persistence = Persistence(self._data_dir) if self._data_dir else None
        context = ServerContext(
            timing=self._timing,
            faults=self.faults,
            reaper=self._reaper,
            s3=s3,
            port=lambda: self.port,
            make_node=self._make_node,
            save=persistence.save_cluster if persistence else lambda _: None,
        )
        self.emr = EmrService(context)
        if persistence:
            persistence.restore_objects(s3)
            for cluster in persistence.restore_clusters():
                self.emr.registry.restore(cluster)
        self._history = SparkHistory(self._spark, s3, self._reaper, self._timing.history_idle)
        admin = Admin(self.emr.registry, self.faults, s3, self._history, self.reset)
        application: Application = Gateway(self.emr, admin, self.faults, s3, self.region, self.quotas)
        if self._access_log:
            application = AccessLog(application, self.emr.registry, self._access_log)
        self._server = Server(*self._address, SameOrigin(application, any_host=self._address[0] not in LOCAL_NAMES))
        account.make_default_roles()
        # The port is ours: nothing can go wrong any more.
        self._reaper.start()
        self._server.start()
        _running.add(self)

    def stop(self) -> None:
        """End every cluster and step, then the server; nothing is left behind."""
        with self._ending:
            if self._server is None:
                return
            self.emr.stop()
            self._server.stop()
            self._history.stop()
            self._reaper.stop()
            if self._persistence:
                self._persistence.close()
                self._persistence = None
            self._server = None
            _running.discard(self)
            if not _running:
                self._empty_moto()

    def reset(self) -> None:
        """Forget every bucket, cluster, queue, role and fault."""
        with self._ending:
            if self._server is None:
                return
            self.faults.clear()
            self.quotas.update(account.EC2_QUOTAS)
            self._history.stop()
            self.emr.stop()
            self._empty_moto()
            account.make_default_roles()
            if self._persistence:
                self._persistence.clear()
            self.emr.forget()

    def _empty_moto(self) -> None:
        """Empty moto, whose state is the process's."""
        with self._s3.lock:
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
        """Return the environment variables that lead AWS clients here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": self.region,
        }

    def _make_node(self, cluster: Cluster) -> Node:
        request = cluster.request
        with cluster.lock:
            workers = [instance.instance_type for instance in cluster.instances if instance.role != "MASTER"]
        return Node(
            cluster.id,
            request.get("Configurations", []),
            self._spark,
            self.endpoint_url,
            cluster.region,
            request.get("ReleaseLabel", ""),
            workers if self._yarn else None,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
