"""What EMR gives YARN on each instance type, and the share of it that fits this machine."""

import os
from collections.abc import Sequence

# GiB of memory per vCPU, by the letter an instance family begins with.
GIB_PER_VCPU = {"c": 2, "m": 4, "r": 8}
VCPUS = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16}
# yarn.nodemanager.resource.memory-mb by the instance's GiB, as EMR's "Task configuration" page has it for m5 and r5.xlarge. That
# the other families get the same for the same memory is assumed.
YARN_MB = {4: 2048, 8: 6144, 16: 12288, 32: 24576, 64: 57344, 128: 122880}

SHARE_OF_MACHINE = (
    0.5  # of its memory, for the containers of all nodes; drivers, daemons and the endpoint need the rest
)
MAX_NODES = 4


def node_resources(instance_type: str) -> tuple[int, int]:
    """Return the memory in MB and the vcores that EMR gives YARN on an instance; an unknown type counts as m5.xlarge."""
    family, _, size = instance_type.partition(".")
    vcores = VCPUS.get(size, VCPUS["xlarge"])
    return YARN_MB[vcores * GIB_PER_VCPU.get(family[:1], GIB_PER_VCPU["m"])], vcores


def memory_scale(instance_types: Sequence[str], machine_mb: float) -> float:
    """Return the factor, at most 1, by which the memory of these nodes fits a machine of that memory."""
    asked = sum(node_resources(instance_type)[0] for instance_type in instance_types)
    return min(1.0, machine_mb * SHARE_OF_MACHINE / asked) if asked else 1.0


def machine_memory() -> float:
    """Return this machine's memory in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
