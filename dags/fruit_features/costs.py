"""What a run's cluster has cost: the life of each instance times its price, disks and requests."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from fruit_features.instance_types import XLARGE_OR_LARGER, vcpus
from fruit_features.prices import DISK_USD_PER_VCPU_HOUR, GET_USD, instance_price, spot_share
from fruit_features.run import Run


def figures(
    run: Run, cluster: dict[str, Any], instances: Sequence[dict[str, Any]], now: datetime, *, new: int = 0
) -> dict[str, Any]:
    """Return what the cluster has cost until its end, or until now.

    Args:
        run: of the DAG.
        cluster: as DescribeCluster or ListClusters returns it.
        instances: of the cluster, as ListInstances returns them: those too that have ended.
        now: the end of what has not ended.
        new: images that the run had to extract.

    Returns:
        The cluster's id, its `hours` and whether it has `ended`; `cost_usd`, what it is made of and what it is per 1,000 new
        images, None where a price is unknown; the share of Spot in the instances' hours.
    """
    timeline = cluster["Status"]["Timeline"]
    end = timeline.get("EndDateTime", now)
    lives = [(each, _hours(each["Status"]["Timeline"], end)) for each in instances]
    parts = _parts(run.settings.region, lives, new)
    cost = None if parts is None else sum(parts.values())
    total = sum(hours for _, hours in lives)
    spot = sum(hours for each, hours in lives if each["Market"] == "SPOT")
    return {
        "cluster": cluster["Id"],
        "hours": round((end - timeline["CreationDateTime"]) / timedelta(hours=1), 2),
        "ended": "EndDateTime" in timeline,
        "cost_usd": None if cost is None else round(cost, 2),
        "cost_usd_per_1000": None if cost is None or not new else round(cost / new * 1000, 4),
        "cost_usd_of": None if parts is None else {name: round(usd, 4) for name, usd in parts.items()},
        "spot_share": round(spot / total, 2) if total else 0,
    }


def total(each: Sequence[dict[str, Any]], new: int) -> dict[str, Any]:
    """Return what the clusters of a run have cost together, with the ids of all as `clusters`, oldest first.

    Args:
        each: the figures of each cluster, newest first.
        new: images that the run had to extract.
    """
    parts = [one["cost_usd_of"] for one in each]
    known = None if None in parts else {name: round(sum(part[name] for part in parts), 4) for name in parts[0]}
    cost = None if known is None else sum(known.values())
    hours = sum(one["hours"] for one in each)
    return {
        **each[0],
        "clusters": [one["cluster"] for one in reversed(each)],
        "hours": round(hours, 2),
        "ended": all(one["ended"] for one in each),
        "cost_usd": None if cost is None else round(cost, 2),
        "cost_usd_per_1000": None if cost is None or not new else round(cost / new * 1000, 4),
        "cost_usd_of": known,
        "spot_share": round(sum(one["spot_share"] * one["hours"] for one in each) / hours, 2) if hours else 0,
    }


def _hours(timeline: dict[str, Any], end: datetime) -> float:
    return (timeline.get("EndDateTime", end) - timeline["CreationDateTime"]) / timedelta(hours=1)


def _parts(region: str, lives: list[tuple[dict[str, Any], float]], new: int) -> dict[str, float] | None:
    """Return USD by what they are paid for; None where the price of an instance is unknown, or how large it is."""
    parts = {"ec2": 0.0, "emr": 0.0, "disks": 0.0, "requests": new * GET_USD}
    for instance, hours in lives:
        price = instance_price(region, instance["InstanceType"])
        if price is None or not re.match(XLARGE_OR_LARGER, instance["InstanceType"]):  # job_flow_overrides takes any
            return None
        parts["ec2"] += hours * price.ec2 * (spot_share() if instance["Market"] == "SPOT" else 1)
        parts["emr"] += hours * price.emr
        parts["disks"] += hours * vcpus(instance["InstanceType"]) * DISK_USD_PER_VCPU_HOUR
    return parts
