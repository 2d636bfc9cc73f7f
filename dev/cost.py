"""What runs cost on paper: dev/cost.py prints the table of docs/cost.md.

Estimates from the rates and prices below; the page says where each comes from.
"""

import math
from dataclasses import dataclass

# USD an hour, Linux On-Demand in eu-west-3: EC2, and EMR's fee. Of 2 March 2025; docs/cost.md has the command that renews them.
PRICES = {
    "m5.xlarge": (0.224, 0.048),
    "m5.2xlarge": (0.448, 0.096),
    "c7g.xlarge": (0.1717, 0.036),
}
DISK_USD_HOUR = 0.012  # a node's 64 GB of gp2 and its root volume, at 0.116 USD a GB and month
VCPUS = {"xlarge": 4, "2xlarge": 8}
IMAGES_PER_VCPU_SECOND = 50  # extraction
ROWS_PER_VCPU_SECOND = 1000  # reading all features back
FIXED_MINUTES = 15.0  # the cluster's start and end, and the start of three steps


@dataclass(frozen=True)
class Cluster:
    """One primary node and `cores` core nodes of one instance type."""

    instance_type: str
    cores: int = 2

    @property
    def usd_per_hour(self) -> float:
        """Instances, EMR's fee and disks."""
        return (self.cores + 1) * (sum(PRICES[self.instance_type]) + DISK_USD_HOUR)

    def minutes(self, images: int) -> float:
        """Return how long the cluster lives for a first run over so many images."""
        vcpus = self.cores * VCPUS[self.instance_type.partition(".")[2]]
        seconds = images / vcpus * (1 / IMAGES_PER_VCPU_SECOND + 1 / ROWS_PER_VCPU_SECOND)
        return FIXED_MINUTES + seconds / 60


def row(what: str, minutes: float, usd_per_hour: float, images: int) -> str:
    """Return one row of the table."""
    usd = minutes / 60 * usd_per_hour
    return f"| {what} | {images:,} | {math.ceil(minutes)} min | {usd:.2f} | {usd / images * 1000:.4f} |\n"


def table() -> str:
    """Return the table: here, and what others took."""
    lines = "| cluster | images | time | USD | USD per 1,000 |\n|---|---|---|---|---|\n"
    for images in (22_688, 67_692, 1_000_000):
        for name, note in (("m5.xlarge", "the default: 1 + 2"), ("c7g.xlarge", "1 + 2")):
            cluster = Cluster(name)
            lines += row(f"{note} {name}", cluster.minutes(images), cluster.usd_per_hour, images)
    lines += row("the original notebook, 1 + 2 m5.xlarge for two hours", 120, Cluster("m5.xlarge").usd_per_hour, 22_688)
    lines += row("published elsewhere, 1 + 2 m5.2xlarge", 83, Cluster("m5.2xlarge").usd_per_hour, 67_692)
    return lines


if __name__ == "__main__":
    print(table(), end="")
