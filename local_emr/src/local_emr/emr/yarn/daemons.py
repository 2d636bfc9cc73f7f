"""The processes of one cluster's YARN. Each daemon is a process session; a NodeManager's containers are in its session."""

import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from local_emr.emr.node_files import LOG4J, hadoop_xml, write_command
from local_emr.emr.reaper import Reaper, session_members, signal_session
from local_emr.emr.settings import Spark
from local_emr.emr.yarn.capacity import MAX_NODES, machine_memory, memory_scale, node_resources
from local_emr.emr.yarn.configuration import CAPACITY_SCHEDULER, node_site, yarn_site

logger = logging.getLogger(__name__)

RESOURCE_MANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
NODE_MANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
EXECUTOR = "org.apache.spark.executor.YarnCoarseGrainedExecutorBackend"
# In client deploy mode: Spark's driver is the step's own process.
APPLICATION_MASTER = "org.apache.spark.deploy.yarn.ExecutorLauncher"
# Hadoop starts a container by `setsid`, in a session that nobody would find again once its NodeManager is dead. A process
# group of its own is all that it needs there.
PROCESS_GROUP = "import os, sys; os.setpgid(0, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Yarn:
    """A ResourceManager and a NodeManager for each worker instance, four at most.

    Args:
        root: the directory for configuration, scratch and staging files.
        logs: where the daemons and containers write their output.
        home: home directory of the containers' user.
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
        self.conf = root / "conf"
        self.staging = root / "staging"
        self._bin = root / "bin"
        self.site = yarn_site(classified.get("yarn-site", {}), self.scale, home, max(map(self._memory, self._types)))
        self._scheduler = CAPACITY_SCHEDULER | dict(classified.get("capacity-scheduler", {}))
        self._manager: subprocess.Popen[bytes] | None = None
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._bin.mkdir(parents=True)
        self.staging.mkdir()
        write_command(
            self._bin / "setsid", f'exec {shlex.join([sys.executable, "-I", "-S", "-c", PROCESS_GROUP])} "$@"'
        )
        self._write_configuration(self.conf, self.site)

    def start(self, reaper: Reaper) -> None:
        """Start the daemons; `ready` tells when they are up."""
        self._reaper = reaper
        self._manager = self._start_daemon(RESOURCE_MANAGER, self.conf, "resourcemanager")
        for number, instance_type in enumerate(self._types):
            name = f"node-{number}"
            conf, logs = self._root / name / "conf", self._logs / name
            site = node_site(
                self.site,
                self._root / name / "local",
                logs,
                self._memory(instance_type),
                node_resources(instance_type)[1],
            )
            self._write_configuration(conf, site)
            self._nodes.append(self._start_daemon(NODE_MANAGER, conf, name))

    def ready(self) -> bool:
        """Return whether every NodeManager has registered.

        Raises:
            RuntimeError: a daemon has ended; the message says where its log is.
        """
        for daemon in self._daemons():
            if daemon.poll() is not None:
                raise RuntimeError(
                    f"a daemon of YARN ended with code {daemon.returncode}: see the logs in {self._logs}"
                )
        return self.nodes_running() == len(self._types)

    def nodes_running(self) -> int:
        """Return how many nodes the ResourceManager counts as running; 0 while it does not answer."""
        address = self.site["yarn.resourcemanager.webapp.address"]
        try:
            with urllib.request.urlopen(f"http://{address}/ws/v1/cluster/metrics", timeout=2) as answer:
                return int(json.load(answer)["activeNodes"])
        except (OSError, ValueError):
            return 0

    @property
    def has_application(self) -> bool:
        """Whether a container runs: an application has at least one, its ApplicationMaster's, as long as it is up."""
        return any(self._java_processes(EXECUTOR, APPLICATION_MASTER))

    @property
    def sessions(self) -> list[int]:
        """Process sessions of the NodeManagers with their containers."""
        return [node.pid for node in self._nodes]

    def stop(self) -> None:
        """Kill the daemons and every container."""
        for daemon in self._daemons():
            signal_session(daemon.pid, signal.SIGKILL)
            daemon.wait()
            self._reaper.forget(daemon.pid)

    def kill_executor(self) -> bool:
        """Kill one executor; return False where there is none."""
        return self._kill_process(EXECUTOR)

    def kill_application_master(self) -> bool:
        """Kill one ApplicationMaster; return False where there is none."""
        return self._kill_process(APPLICATION_MASTER)

    def kill_node(self) -> bool:
        """Kill a NodeManager with all its containers, at least one executor among them; return False where there is none."""
        for process in self._java_processes(EXECUTOR):
            with contextlib.suppress(ProcessLookupError):
                signal_session(os.getsid(process.pid), signal.SIGKILL)
                return True
        return False

    def _daemons(self) -> list[subprocess.Popen[bytes]]:
        return [*self._nodes, *([self._manager] if self._manager else [])]

    def _memory(self, instance_type: str) -> int:
        return int(node_resources(instance_type)[0] * self.scale)

    def _kill_process(self, main_class: str) -> bool:
        for process in self._java_processes(main_class):
            with contextlib.suppress(psutil.Error):
                process.kill()
                return True
        return False

    def _java_processes(self, *main_classes: str) -> Iterator[psutil.Process]:
        """Yield the JVMs of containers that run one of these classes, not the shells that started them."""
        for pid in [member for session in self.sessions for member in session_members(session)]:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                program, *arguments = process.cmdline() or [""]
                if program.endswith("/java") and not set(main_classes).isdisjoint(arguments):
                    yield process

    def _write_configuration(self, directory: Path, site: Mapping[str, str]) -> None:
        directory.mkdir(parents=True)
        core = {"fs.defaultFS": "file:///", "hadoop.tmp.dir": str(directory.parent / "tmp")}
        files = {"core-site": core, "yarn-site": site, "capacity-scheduler": self._scheduler}
        (directory / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        for name, properties in files.items():
            (directory / f"{name}.xml").write_text(hadoop_xml(properties), encoding="utf-8")

    def _start_daemon(self, main_class: str, conf: Path, name: str) -> subprocess.Popen[bytes]:
        spark, logs = self._spark, self._logs / name
        logs.mkdir(parents=True)
        class_path = f"{conf}:{spark.yarn_jars}/*:{spark.home}/jars/*"
        # Short lives: the serial collector, and only the quick compiler.
        options = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
        ]
        with (logs / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                [f"{spark.java_home}/bin/java", *options, "-cp", class_path, main_class],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._root,
                env={
                    "HOME": str(self._home),
                    "PATH": f"{self._bin}:/usr/local/bin:/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "JAVA_HOME": str(spark.java_home),
                },
                start_new_session=True,
            )
        self._reaper.watch(process.pid)
        return process
