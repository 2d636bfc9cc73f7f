"""What a run costs: an estimate before there is a cluster, and a figure when it has ended.

Instances and EMR's fee only: disks (about 4 % more), requests to S3 and transfer are not counted.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from fruit_features.executors import vcpus
from fruit_features.prices import PRICES_DATE, cluster_price
from fruit_features.run import Plan, Run

# Of a run without images: the cluster's start and end, and the start of three steps. An estimate.
FIXED = timedelta(minutes=15)
# Extraction on an m5's hardware threads: images of 100 x 100 pixels, half of what a whole core does. An estimate.
IMAGES_PER_VCPU_SECOND = 50
# Reading the features of all images back, new ones or not. An estimate.
REDUCED_PER_VCPU_SECOND = 1000


def nodes(run: Run) -> dict[str, int]:
    """Return how many instances of each type the run's cluster has."""
    settings = run.settings
    return dict(
        Counter([settings.primary_instance_type] + [settings.core_instance_type] * settings.core_instance_count)
    )


def hourly_price(run: Run) -> float | None:
    """Return USD per hour of the run's cluster; None if a price is unknown, or `job_flow_overrides` chooses the instances."""
    if {"InstanceGroups", "InstanceFleets"} & run.settings.job_flow_overrides.get("Instances", {}).keys():
        return None
    return cluster_price(run.settings.region, nodes(run))


def estimated_time(run: Run, plan: Plan) -> timedelta:
    """Return how long the run's cluster will live."""
    cores = vcpus(run.settings.core_instance_type) * run.settings.core_instance_count
    seconds = plan.new / (IMAGES_PER_VCPU_SECOND * cores) + plan.images / (REDUCED_PER_VCPU_SECOND * cores)
    return FIXED + timedelta(seconds=seconds)


def check_budget(run: Run, plan: Plan) -> str:
    """Return the estimate as a sentence.

    Raises:
        AirflowFailException: the estimate exceeds `max_cost_usd`, or there is a limit but no price.
    """
    limit = run.settings.max_cost_usd
    hours = estimated_time(run, plan) / timedelta(hours=1)
    hourly = hourly_price(run)
    cluster = " + ".join(f"{count} x {instance_type}" for instance_type, count in nodes(run).items())
    if hourly is None:
        if limit is not None:
            raise AirflowFailException(
                f"max_cost_usd is {limit:g}, but no price is known for {cluster} in {run.settings.region}: set FRUITS_PRICES "
                "(.env.example), or leave max_cost_usd empty"
            )
        return f"estimate: {hours:.1f} h of {cluster}; no price known in {run.settings.region}"
    cost = hours * hourly
    estimate = f"${cost:.2f} ({hours:.1f} h of {cluster} at ${hourly:.3f} an hour, prices of {PRICES_DATE})"
    if limit is not None and cost > limit:
        raise AirflowFailException(
            f"this run would cost about {estimate}, more than max_cost_usd = {limit:g}: raise the limit, or upload fewer of the "
            f"{plan.new} new images at a time"
        )
    return f"estimate: {estimate}"


def figures(run: Run, cluster: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return what the run's cluster has cost: its id, `hours`, and `cost_usd`, None where no price is known.

    Args:
        run: of the DAG.
        cluster: as DescribeCluster returns it.
        now: the end of a cluster that has not ended.
    """
    timeline = cluster["Status"]["Timeline"]
    hours = (timeline.get("EndDateTime", now) - timeline["CreationDateTime"]) / timedelta(hours=1)
    hourly = hourly_price(run)
    cost = None if hourly is None else round(hours * hourly, 2)
    return {"cluster": cluster["Id"], "hours": round(hours, 2), "cost_usd": cost}
