"""What runs cost on paper: dev/cost.py prints the table of docs/cost.md.

Estimates from the rates and prices that the DAG estimates with; the page says where each comes from. Needs dags/ on PYTHONPATH.
"""

import math
from dataclasses import dataclass
from datetime import timedelta

from fruit_features.instance_types import vcpus
from fruit_features.prices import DISK_USD_PER_VCPU_HOUR, PRICES, price
from fruit_features.rates import FIXED, IMAGES_PER_VCPU_SECOND, REDUCED_PER_VCPU_SECOND

REGION = "eu-west-3"


@dataclass(frozen=True)
class Cluster:
    """One primary node and `cores` core nodes of one instance type."""

    instance_type: str
    cores: int = 2

    @property
    def usd_per_hour(self) -> float:
        """Instances, EMR's fee and disks."""
        hourly = price(REGION, self.instance_type)
        assert hourly is not None
        return (self.cores + 1) * (hourly + vcpus(self.instance_type) * DISK_USD_PER_VCPU_HOUR)

    def minutes(self, images: int) -> float:
        """Return how long the cluster lives for a first run over so many images."""
        rate = 1 / IMAGES_PER_VCPU_SECOND + 1 / REDUCED_PER_VCPU_SECOND
        seconds = images / (self.cores * vcpus(self.instance_type)) * rate
        return (FIXED + timedelta(seconds=seconds)) / timedelta(minutes=1)


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


def price_table() -> str:
    """Return the prices, and what of them has no source."""
    lines = "| region | type | EC2, USD an hour | EMR's fee | without a source |\n|---|---|---|---|---|\n"
    for region, types in PRICES.items():
        for instance_type, each in types.items():
            lines += f"| {region} | {instance_type} | {each.ec2:.4f} | {each.emr:.4f} | {each.derived or '-'} |\n"
    return lines


if __name__ == "__main__":
    print(table())
    print(price_table(), end="")
