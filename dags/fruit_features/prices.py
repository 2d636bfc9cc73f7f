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
