"""What an hour of an instance costs, EMR's fee included; a type that is not in the table has no price.

The only place with prices: docs/cost.md is computed from it too (dev/cost.py).
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

# To renew or add a type, ask AWS and set FRUITS_PRICES (.env.example), or edit the table:
#   aws pricing get-products --region us-east-1 --service-code AmazonEC2 --filters \
#     Type=TERM_MATCH,Field=instanceType,Value=m5.xlarge Type=TERM_MATCH,Field=regionCode,Value=eu-west-3 \
#     Type=TERM_MATCH,Field=operatingSystem,Value=Linux Type=TERM_MATCH,Field=tenancy,Value=Shared
#   aws pricing get-products --region us-east-1 --service-code ElasticMapReduce --filters ...
PRICES_DATE = "2 March 2025"


@dataclass(frozen=True)
class Price:
    """USD an hour, Linux On-Demand.

    Attributes:
        ec2: the instance. The price list of Apache Libcloud 3.9.1, of `PRICES_DATE`, unless `derived` says otherwise.
        emr: EMR's fee. A third party's copy of AWS's page, unless `derived` says otherwise.
        derived: what of it has no source, and how it was computed; empty where both have.
    """

    ec2: float
    emr: float
    derived: str = ""


FEE = "EMR's fee: a quarter of EC2's price in us-east-1, as for m5.xlarge"
PRICES: dict[str, dict[str, Price]] = {
    "eu-west-3": {
        "m5.xlarge": Price(0.224, 0.048),
        "m5.2xlarge": Price(0.448, 0.096, "twice m5.xlarge"),
        "c6g.xlarge": Price(0.1716, 0.036, FEE),
        "c7g.xlarge": Price(0.1717, 0.036, FEE),
        "m6g.xlarge": Price(0.180, 0.0385, FEE),
    }
}
# gp2 in eu-west-3, 0.116 USD a GB and month: EMR gives an xlarge 64 GB, larger ones more with their vCPUs, and each node a root
# volume of 15 GB.
DISK_USD_PER_VCPU_HOUR = 0.003
GET_USD = 0.4e-6  # of S3; an image is one


def instance_price(region: str, instance_type: str) -> Price | None:
    """Return what an instance costs; None if no price is known.

    Raises:
        ValueError: FRUITS_PRICES is no JSON.
    """
    own = json.loads(os.environ.get("FRUITS_PRICES") or "{}").get(region, {}).get(instance_type)
    if own is not None:
        return Price(own, 0)  # with the fee in it
    return PRICES.get(region, {}).get(instance_type)


def price(region: str, instance_type: str) -> float | None:
    """Return USD per hour of one instance, EMR's fee included; None if no price is known.

    Raises:
        ValueError: FRUITS_PRICES is no JSON.
    """
    found = instance_price(region, instance_type)
    return None if found is None else found.ec2 + found.emr


def source(region: str, instance_types: Iterable[str]) -> str:
    """Return how old the prices of these types are, and which of them were derived."""
    found = {each: instance_price(region, each) for each in instance_types}
    derived = sorted(each for each, known in found.items() if known and known.derived)
    return f"prices of {PRICES_DATE}" + (f", in part derived for {', '.join(derived)}" if derived else "")


def spot_share() -> float:
    """Return what Spot costs of On-Demand, as the installation expects: 1, all of it, where it says nothing.

    Spot prices change by the hour, and EMR's fee is the same: only On-Demand is a limit that holds.

    Raises:
        ValueError: FRUITS_SPOT_SHARE is no number from 0 to 1.
    """
    share = float(os.environ.get("FRUITS_SPOT_SHARE") or 1)
    if not 0 <= share <= 1:
        raise ValueError(f"FRUITS_SPOT_SHARE is {share:g}: it is the share of the On-Demand price, from 0 to 1")
    return share
