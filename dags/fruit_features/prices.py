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
        own: whether the installation has named it in FRUITS_PRICES, as `ec2`.
    """

    ec2: float
    emr: float
    derived: str = ""
    own: bool = False


FEE = "EMR's fee: a quarter of EC2's price in us-east-1, as for m5.xlarge"
SAME_FEE = "EMR's fee: taken to be that of eu-west-3"
HALF = "EC2: half of m5.2xlarge"
# The list contradicts itself, by up to 10 % between sizes of a family. Of eu-west-3 it has all of these; of the other regions are
# here only those whose price for a vCPU it has twice, for two sizes or (m5 of eu-west-1) for m6i too.
PRICES: dict[str, dict[str, Price]] = {
    "eu-west-3": {
        "m5.xlarge": Price(0.224, 0.048),
        "m6i.xlarge": Price(0.224, 0.048, FEE),
        "c5.xlarge": Price(0.202, 0.0425, FEE),
        "c6g.xlarge": Price(0.1716, 0.036, FEE),
        "c7g.xlarge": Price(0.1717, 0.036, FEE),
        "m6g.xlarge": Price(0.180, 0.0385, FEE),
        "m6gd.xlarge": Price(0.2112, 0.0452, FEE),
        "r6g.xlarge": Price(0.236, 0.0504, FEE),
    },
    "eu-west-1": {"m5.xlarge": Price(0.214, 0.048, f"{HALF}; {SAME_FEE}")},
    "eu-central-1": {"m5.xlarge": Price(0.230, 0.048, f"{HALF}; {SAME_FEE}")},
    "us-east-1": {
        "m5.xlarge": Price(0.192, 0.048, f"{HALF}; {SAME_FEE}"),
        "m7g.xlarge": Price(0.1632, 0.0408, FEE),
        "c7g.xlarge": Price(0.145, 0.036, f"EC2: half of c7g.2xlarge; {FEE}"),
    },
    "us-west-2": {
        "m5.xlarge": Price(0.192, 0.048, SAME_FEE),
        "m6g.xlarge": Price(0.154, 0.0385, FEE),
    },
}
# EC2's price and EMR's fee grow with the vCPUs: the list has 0.1800, 0.3600 and 0.7200 for m6g.xlarge, 2xlarge and 4xlarge in
# eu-west-3, a third party's copy of EMR's table 0.048, 0.096 and 0.192 for m5's. Larger sizes have a lower fee than that.
TIMES_XLARGE = {"2xlarge": 2, "4xlarge": 4}
UNKNOWN = "set FRUITS_PRICES (docs/cost.md)"
# gp2 in eu-west-3, 0.116 USD a GB and month: EMR gives an xlarge 64 GB, larger ones more with their vCPUs, and each node a root
# volume of 15 GB.
DISK_USD_PER_VCPU_HOUR = 0.003
GET_USD = 0.4e-6  # of S3; an image is one


def instance_price(region: str, instance_type: str) -> Price | None:
    """Return what an instance costs; None if no price is known.

    Without a price of its own a 2xlarge costs two, a 4xlarge four of the family's xlarge.

    Raises:
        ValueError: FRUITS_PRICES is no JSON.
    """
    own = json.loads(os.environ.get("FRUITS_PRICES") or "{}").get(region, {})
    known = PRICES.get(region, {}) | {each: Price(usd, 0, own=True) for each, usd in own.items()}  # with the fee in it
    family, _, size = instance_type.rpartition(".")
    if instance_type in known or size not in TIMES_XLARGE:
        return known.get(instance_type)
    smaller, times = known.get(f"{family}.xlarge"), TIMES_XLARGE[size]
    if smaller is None:
        return None
    how = "; ".join(part for part in (smaller.derived, f"{times} x {family}.xlarge") if part)
    return Price(smaller.ec2 * times, smaller.emr * times, how, smaller.own)


def price(region: str, instance_type: str) -> float | None:
    """Return USD per hour of one instance, EMR's fee included; None if no price is known.

    Raises:
        ValueError: FRUITS_PRICES is no JSON.
    """
    found = instance_price(region, instance_type)
    return None if found is None else found.ec2 + found.emr


def unknown(region: str, instance_types: Iterable[str]) -> str:
    """Say which of these types have no price, and what to do; an empty text if all have one."""
    without = sorted({each for each in instance_types if price(region, each) is None})
    return f"no price known for {', '.join(without)} in {region}: {UNKNOWN}" if without else ""


def source(region: str, instance_types: Iterable[str]) -> str:
    """Return where the prices of these types are from, how old the table's are, and which of them were derived."""
    found = {each: known for each in sorted(set(instance_types)) if (known := instance_price(region, each))}
    own = [each for each, known in found.items() if known.own]
    listed = [each for each in found if each not in own]
    parts = [(PRICES_DATE, listed), (f"FRUITS_PRICES for {', '.join(own)}" if listed else "FRUITS_PRICES", own)]
    said = []
    for name, types in parts:
        derived = [each for each in types if found[each].derived]
        if types:
            said.append(f"of {name}" + (f", in part derived for {', '.join(derived)}" if derived else ""))
    return f"prices {', and '.join(said)}"


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
