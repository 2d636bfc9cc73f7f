"""What EMR gives YARN on each instance type, and the share of it that fits this machine."""

import os
from collections.abc import Sequence

# GiB of memory per vCPU, by the letter an instance family begins with.
GIB_PER_VCPU = {"c": 2, "m": 4, "r": 8}
VCPUS = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16}
# What EMR leaves to the system and to its daemons, in GiB: a quarter of the memory, but 8 at most. That is the difference in
# every yarn.nodemanager.resource.memory-mb from 8 to 128 GiB of EMR's "Task configuration" page that we know: c5.xlarge 6144,
# c5.2xlarge and m5.xlarge 12288, m5.2xlarge and r5.xlarge 24576, m5.4xlarge and r5.2xlarge 57344, m5.8xlarge 122880. It
# depends on the memory alone, not on the family, so the later ones (m6g, m7g, m7a, c7g, r7g) are taken to get the same.
LARGEST_RESERVE_GIB = 8

SHARE_OF_MACHINE = (
    0.5  # of its memory, for the containers of all nodes; drivers, daemons and the endpoint need the rest
)
MAX_NODES = 4


def node_resources(instance_type: str) -> tuple[int, int]:
    """Return the memory in MB and the vcores that EMR gives YARN on an instance; an unknown type counts as m5.xlarge."""
    family, _, size = instance_type.partition(".")
    vcores = VCPUS.get(size, VCPUS["xlarge"])
    gib = vcores * GIB_PER_VCPU.get(family[:1], GIB_PER_VCPU["m"])
    return int((gib - min(gib / 4, LARGEST_RESERVE_GIB)) * 1024), vcores


def memory_scale(instance_types: Sequence[str], machine_mb: float) -> float:
    """Return the factor, at most 1, by which the memory of these nodes fits a machine of that memory."""
    asked = sum(node_resources(instance_type)[0] for instance_type in instance_types)
    return min(1.0, machine_mb * SHARE_OF_MACHINE / asked) if asked else 1.0


def machine_memory() -> float:
    """Return this machine's memory in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
