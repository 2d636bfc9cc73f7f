"""What an hour of an instance costs, EMR's fee included; a type that is not in the table has no price, never a guessed one."""

import json
import os

# Linux On-Demand in USD an hour, EC2 + EMR. EC2: the price list of Apache Libcloud 3.9.1, of 2 March 2025. EMR: a third party's
# copy of AWS's page. To renew or add a type, ask AWS and set FRUITS_PRICES (.env.example), or edit this table:
#   aws pricing get-products --region us-east-1 --service-code AmazonEC2 --filters \
#     Type=TERM_MATCH,Field=instanceType,Value=m5.xlarge Type=TERM_MATCH,Field=regionCode,Value=eu-west-3 \
#     Type=TERM_MATCH,Field=operatingSystem,Value=Linux Type=TERM_MATCH,Field=tenancy,Value=Shared
#   aws pricing get-products --region us-east-1 --service-code ElasticMapReduce --filters ...
PRICES: dict[str, dict[str, float]] = {"eu-west-3": {"m5.xlarge": 0.224 + 0.048}}
PRICES_DATE = "2 March 2025"


def price(region: str, instance_type: str) -> float | None:
    """Return USD per hour of one instance; None if no price is known.

    Raises:
        ValueError: FRUITS_PRICES is no JSON.
    """
    own = json.loads(os.environ.get("FRUITS_PRICES") or "{}")
    return own.get(region, {}).get(instance_type, PRICES.get(region, {}).get(instance_type))


def cluster_price(region: str, nodes: dict[str, int]) -> float | None:
    """Return USD per hour of a cluster; None if the price of one of its types is unknown.

    Args:
        region: of AWS.
        nodes: how many there are of each instance type.
    """
    prices = {instance_type: price(region, instance_type) for instance_type in nodes}
    known = {instance_type: each for instance_type, each in prices.items() if each is not None}
    if known.keys() != nodes.keys():
        return None
    return sum(each * nodes[instance_type] for instance_type, each in known.items())
