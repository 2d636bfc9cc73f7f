"""The processes of one cluster's YARN: each daemon below a supervisor, which its containers cannot leave."""

import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

from local_emr.emr.node_files import LOG4J, hadoop_xml, last_problem
from local_emr.emr.settings import SYSTEM_PATH, Spark
from local_emr.emr.yarn import supervisor
from local_emr.emr.yarn.capacity import MAX_NODES, machine_memory, memory_scale, node_resources
from local_emr.emr.yarn.configuration import CAPACITY_SCHEDULER, node_addresses, node_site, yarn_site
from local_emr.emr.yarn.worker import Worker

logger = logging.getLogger(__name__)

RESOURCE_MANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
NODE_MANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
EXECUTOR = "org.apache.spark.executor.YarnCoarseGrainedExecutorBackend"
# In client deploy mode: Spark's driver is the step's own process.
APPLICATION_MASTER = "org.apache.spark.deploy.yarn.ExecutorLauncher"
# A proxy of this machine's environment knows no other daemon of its loopback interface: nodes would never be seen to register.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ANSWER_SECONDS = 10  # the first answer of a ResourceManager takes one on a quiet machine
START_SECONDS = 240  # it takes ten; more than that only on a machine that does much else


class Yarn:
    """A ResourceManager and a NodeManager for each worker instance, four at most.

    Args:
        root: the directory for configuration, scratch and staging files.
        logs: where the daemons and containers write their output.
        home: of the steps' user, with the AWS configuration that each node gets.
        spark: the installation whose Hadoop classes and Java the daemons run on; its `yarn_jars` are set.
        instance_types: of the core and task instances.
        classified: properties by classification, of which `yarn-site` and `capacity-scheduler` are applied.
    """

    def __init__(
        self,
        root: Path,
        logs: Path,
        home: Path,
        spark: Spark,
        instance_types: Sequence[str],
        classified: Mapping[str, Mapping[str, str]],
    ) -> None:
        if len(instance_types) > MAX_NODES:
            logger.warning("%d core and task instances asked for: YARN gets %d", len(instance_types), MAX_NODES)
        # Without core instances EMR runs containers on the primary node.
        self._types = list(instance_types[:MAX_NODES]) or ["m5.xlarge"]
        self.scale = memory_scale(self._types, machine_memory())
        self._root, self._logs, self._home, self._spark = root, logs, home, spark
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: list[Worker] = []
        self.conf = root / "conf"
        self.staging = root / "staging"
        self._bin = root / "bin"
        self.site = yarn_site(classified.get("yarn-site", {}), self.scale, max(map(self._memory, self._types)))
        self._scheduler = CAPACITY_SCHEDULER | dict(classified.get("capacity-scheduler", {}))
        self.staging.mkdir(parents=True)
        self._write_configuration(self.conf, self.site)

    def start(self) -> None:
        """Start the daemons; `ready` tells when they are up."""
        self._began = time.monotonic()
        self._start_daemon(RESOURCE_MANAGER, self.conf, "resourcemanager")
        addresses = node_addresses(len(self._types))
        for number, (instance_type, address) in enumerate(zip(self._types, addresses, strict=True)):
            name = f"node-{number}"
            conf, logs = self._root / name / "conf", self._logs / name
            memory_mb, vcores = self._memory(instance_type), node_resources(instance_type)[1]
            worker = Worker(self._root / name, self._spark, self._home)
            worker.create()
            self._workers.append(worker)
            site = node_site(self.site, address, self._root / name / "local", worker, logs, memory_mb, vcores)
            self._write_configuration(conf, site)
            self._start_daemon(NODE_MANAGER, conf, name)

    def ready(self) -> bool:
        """Return whether every NodeManager has registered.

        Raises:
            RuntimeError: a daemon has ended, or is not up after `START_SECONDS`; the message says which and what its log says.
        """
        for name, daemon in self._supervisors.items():
            if (code := daemon.poll()) is not None:
                raise RuntimeError(f"YARN's {name} ended with exit code {code}: {self._last_problem(name)}")
        running = self.nodes_running()
        if running < len(self._types) and time.monotonic() - self._began > START_SECONDS:
            problems = "; ".join(f"{name}: {self._last_problem(name)}" for name in self._supervisors)
            raise RuntimeError(
                f"{running} of {len(self._types)} nodes of YARN have registered after {START_SECONDS} s: {problems}"
            )
        return running == len(self._types)

    def nodes_running(self) -> int:
        """Return how many nodes the ResourceManager counts as running; 0 while it does not answer."""
        return active_nodes(self.site["yarn.resourcemanager.webapp.address"])

    @property
    def has_application(self) -> bool:
        """Whether a container runs: an application has at least one, its ApplicationMaster's, as long as it is up."""
        return any(_runs(process, EXECUTOR, APPLICATION_MASTER) for process in self.containers())

    def containers(self) -> list[psutil.Process]:
        """Return every process of every container, those of dead NodeManagers included."""
        return [process for name in self._nodes() for process in self._processes(name)]

    def stop(self) -> None:
        """Kill the daemons and every container."""
        for daemon in self._supervisors.values():
            _end(daemon)

    def kill_executor(self) -> bool:
        """Kill one executor; return False where there is none."""
        return self._kill_process(EXECUTOR)

    def kill_application_master(self) -> bool:
        """Kill one ApplicationMaster; return False where there is none."""
        return self._kill_process(APPLICATION_MASTER)

    def kill_node(self, numbers: Collection[int] | None = None) -> bool:
        """Kill a NodeManager with all its containers, at least one executor among them; return False where there is none.

        Args:
            numbers: of the nodes to choose from, in the order of their instances; None: all.
        """
        for name in self._nodes() if numbers is None else [f"node-{number}" for number in numbers]:
            if name in self._supervisors and any(_runs(process, EXECUTOR) for process in self._processes(name)):
                _end(self._supervisors[name])
                return True
        return False

    def harm_node(self, harm: Callable[[Worker], None]) -> bool:
        """Do that to the last node."""
        harm(self._workers[-1])
        return True

    def _nodes(self) -> list[str]:
        return [name for name in self._supervisors if name.startswith("node-")]

    def _processes(self, name: str) -> list[psutil.Process]:
        """Return what runs below the supervisor of a daemon, the daemon included."""
        try:
            return psutil.Process(self._supervisors[name].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _memory(self, instance_type: str) -> int:
        return int(node_resources(instance_type)[0] * self.scale)

    def _kill_process(self, main_class: str) -> bool:
        """Kill the first JVM of containers that runs this class, with what it has started: Spark's Python workers."""
        for process in self.containers():
            if not _runs(process, main_class):
                continue
            with contextlib.suppress(psutil.Error):
                for victim in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.kill()
                return True
        return False

    def _last_problem(self, name: str) -> str:
        return last_problem(self._logs / name / "daemon.log")

    def _write_configuration(self, directory: Path, site: Mapping[str, str]) -> None:
        directory.mkdir(parents=True)
        core = {
            "fs.defaultFS": "file:///",
            "hadoop.tmp.dir": str(directory.parent / "tmp"),
            "ipc.client.connect.retry.interval": "200",
        }
        files = {"core-site": core, "yarn-site": site, "capacity-scheduler": self._scheduler}
        (directory / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        for name, properties in files.items():
            (directory / f"{name}.xml").write_text(hadoop_xml(properties), encoding="utf-8")

    def _start_daemon(self, main_class: str, conf: Path, name: str) -> None:
        spark, logs = self._spark, self._logs / name
        logs.mkdir(parents=True)
        hosts = self._root / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n", encoding="utf-8")
        # Short lives: the serial collector, and only the quick compiler. The hosts file keeps daemons from asking a name server
        # for the nodes' addresses, which may take its time.
        options = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            f"-Djdk.net.hosts.file={hosts}",
        ]
        class_path = f"{conf}:{spark.yarn_jars}/*:{spark.home}/jars/*"
        java = [f"{spark.java_home}/bin/java", *options, "-cp", class_path, main_class]
        with (logs / "daemon.log").open("wb") as log:
            self._supervisors[name] = subprocess.Popen(
                [sys.executable, "-I", supervisor.__file__, *java],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._root,
                env={
                    "HOME": str(self._home),
                    "PATH": SYSTEM_PATH,
                    "LANG": "C.UTF-8",
                    "JAVA_HOME": str(spark.java_home),
                },
                start_new_session=True,
            )


def active_nodes(address: str) -> int:
    """Return how many nodes a ResourceManager's web address counts as running; 0 while it does not answer."""
    try:
        with DIRECTLY.open(f"http://{address}/ws/v1/cluster/metrics", timeout=ANSWER_SECONDS) as answer:
            return int(json.load(answer)["activeNodes"])
    except (OSError, ValueError):
        return 0


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """Close the pipe that keeps a supervisor; return when nothing is left below it."""
    assert daemon.stdin
    daemon.stdin.close()
    daemon.wait()


def _runs(process: psutil.Process, *main_classes: str) -> bool:
    """Return whether it is a JVM that runs one of these classes, not the shell that started it."""
    try:
        program, *arguments = process.cmdline() or [""]
    except psutil.Error:
        return False
    return program.endswith("/java") and not set(main_classes).isdisjoint(arguments)
