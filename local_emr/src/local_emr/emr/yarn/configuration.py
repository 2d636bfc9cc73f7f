"""The configuration of a cluster's YARN: EMR's, with ports and directories of this machine, and the Configurations over it."""

import random
import socket
from collections.abc import Mapping
from pathlib import Path

from local_emr.emr.yarn.worker import Worker

RESOURCE_MANAGER_PORTS = ("", ".scheduler", ".resource-tracker", ".admin", ".webapp")
PORTS = range(20_000, 32_000)
# Properties that count memory, to be scaled like the nodes.
MEMORY_PROPERTIES = ("yarn.nodemanager.resource.memory-mb", "yarn.scheduler.maximum-allocation-mb")
CAPACITY_SCHEDULER = {
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    # Hadoop's 0.1 leaves no room for a second application on nodes this small.
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
    "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DefaultResourceCalculator",
}


def yarn_site(requested: Mapping[str, str], scale: float, largest_node_mb: int) -> dict[str, str]:
    """Return yarn-site.xml of the ResourceManager and of the steps.

    Args:
        requested: the classification `yarn-site`.
        scale: factor on every memory size in it.
        largest_node_mb: scaled memory of the largest node: no container can be larger.
    """
    local = {
        "yarn.resourcemanager.hostname": "127.0.0.1",
        **{f"yarn.resourcemanager{name}.address": f"127.0.0.1:{port}" for name, port in _free_ports().items()},
    }
    defaults = {
        "yarn.scheduler.minimum-allocation-mb": "32",
        "yarn.scheduler.maximum-allocation-mb": str(largest_node_mb),
        "yarn.nodemanager.pmem-check-enabled": "true",
        # Left on, it leaves the limit to cgroups, which are not used here.
        "yarn.nodemanager.resource.memory.enforced": "false",
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.container-monitor.interval-ms": "1000",
        # A laptop's disk is fuller than a fresh node's.
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
        # Hadoop takes a node for lost after ten minutes; here time goes faster. The ApplicationMaster has its ten minutes: they
        # count from its launch, and a JVM starts slowly on a busy machine. Its death is reported by its node.
        "yarn.nm.liveness-monitor.expiry-interval-ms": "10000",
        "yarn.resourcemanager.am.max-attempts": "2",
        # Containers are given out at heartbeats: at Hadoop's one a second each takes its time to start.
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "250",
        # A NodeManager that is up before the ResourceManager tries again after this time; Hadoop's waits half a minute.
        "yarn.resourcemanager.connect.retry-interval.ms": "500",
    }
    scaled = {name: str(int(int(requested[name]) * scale)) for name in MEMORY_PROPERTIES if name in requested}
    return {**defaults, **requested, **scaled, **local}


def node_addresses(count: int) -> list[str]:
    """Return an address for each node, of the loopback interface: what Spark never runs twice on one host needs several.

    Linux has all of 127.0.0.0/8; where a system has but 127.0.0.1 the nodes share that.
    """
    addresses = [f"127.0.0.{number + 2}" for number in range(count)]
    return addresses if all(_is_free(0, address) for address in addresses) else ["127.0.0.1"] * count


def node_site(
    site: Mapping[str, str], address: str, directory: Path, worker: Worker, logs: Path, memory_mb: int, vcores: int
) -> dict[str, str]:
    """Return yarn-site.xml of one NodeManager.

    Args:
        site: of the ResourceManager.
        address: to listen on, and the host's name as far as YARN and Spark are concerned.
        directory: where the containers work.
        worker: home and PATH of the containers.
        logs: where the containers' output goes.
        memory_mb: scaled memory of the node, unless the site says otherwise.
        vcores: of the node, unless the site says otherwise.
    """
    resources = {
        "yarn.nodemanager.resource.memory-mb": str(memory_mb),
        "yarn.nodemanager.resource.cpu-vcores": str(vcores),
    }
    own = {
        "yarn.nodemanager.bind-host": address,  # with it YARN takes the name from the address
        **{f"yarn.nodemanager{name}.address": f"{address}:0" for name in ("", ".localizer", ".webapp")},
        "yarn.nodemanager.local-dirs": str(directory),
        "yarn.nodemanager.user-home-dir": str(worker.home),
        "yarn.nodemanager.admin-env": f"PATH={worker.path}",
        "yarn.nodemanager.log-dirs": str(logs),
    }
    return {**resources, **site, **own}


def _free_ports() -> dict[str, int]:
    """Return a free port for each address of the ResourceManager: clients and nodes must know them before it runs.

    They lie below those that a system gives to whoever asks for any port, so that nobody takes them before it listens.
    """
    ports: dict[str, int] = {}
    candidates = iter(random.sample(PORTS, len(PORTS)))
    for name in RESOURCE_MANAGER_PORTS:
        ports[name] = next(port for port in candidates if _is_free(port))
    return ports


def _is_free(port: int, address: str = "127.0.0.1") -> bool:
    try:
        socket.create_server((address, port)).close()
    except OSError:
        return False
    return True
