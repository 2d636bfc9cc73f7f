"""What a run will cost, estimated before there is a cluster; `costs` has what it has cost.

Instances and EMR's fee only: disks (about 4 % more), requests to S3 and transfer are not counted.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk.exceptions import AirflowFailException

from fruit_features.cluster_settings import ClusterSettings
from fruit_features.instance_types import vcpus
from fruit_features.overrides import NODES
from fruit_features.prices import price, source, spot_share, unknown
from fruit_features.rates import FIXED, IMAGES_PER_VCPU_SECOND, REDUCED_PER_VCPU_SECOND
from fruit_features.run import Plan, Run

GOES_ON = "; interactive is on: the cluster costs that much per hour until it is idle"


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, as a number, None where a price is unknown, and in words."""

    usd: float | None
    words: str


def nodes(settings: ClusterSettings) -> str:
    """Return what the cluster is made of, in words."""
    if not settings.has_fleets:
        types = [settings.primary_instance_type] + [settings.core_instance_type] * settings.core_instance_count
        return " + ".join(f"{count} x {each}" for each, count in Counter(types).items())
    workers = " or ".join(settings.worker_types)
    spot = f" + {settings.task_instance_count} on Spot" if settings.task_instance_count else ""
    return f"1 x {settings.primary_instance_type} + ({settings.core_instance_count}{spot}) x {workers}"


def hourly_price(run: Run) -> float | None:
    """Return USD per hour of the run's cluster, at most: of a fleet's types the most expensive counts.

    None if a price is unknown, or `job_flow_overrides` chooses the instances.
    """
    settings = run.settings
    if _overridden(settings):
        return None
    primary, worker = price(settings.region, settings.primary_instance_type), _worker_price(settings)
    if primary is None or worker is None:
        return None
    return primary + worker * (settings.core_instance_count + spot_share() * settings.task_instance_count)


def _worker_price(settings: ClusterSettings) -> float | None:
    """Return USD per hour of a core or task node, at most: of the fleet's most expensive type."""
    unit = vcpus(settings.smallest_worker)
    workers = [(price(settings.region, each), vcpus(each) // unit) for each in settings.worker_types]
    known = [each / weight for each, weight in workers if each is not None]
    return max(known) if len(known) == len(workers) else None


def _overridden(settings: ClusterSettings) -> bool:
    return bool(frozenset().union(*NODES) & settings.job_flow_overrides.get("Instances", {}).keys())


def no_price(run: Run) -> str:
    """Say why `hourly_price` is None, and what to do."""
    settings = run.settings
    if _overridden(settings):
        return "no price known, as job_flow_overrides chooses the instances"
    return unknown(settings.region, _types(settings))


def _types(settings: ClusterSettings) -> list[str]:
    return [settings.primary_instance_type, *settings.worker_types]


def estimated_time(run: Run, plan: Plan) -> timedelta:
    """Return how long the run's cluster will live; an interactive one, until nobody has used it for its idle timeout."""
    settings = run.settings
    cores = vcpus(settings.smallest_worker) * settings.worker_count
    reduced = 0 if plan.unfinished else plan.images
    seconds = plan.new / (IMAGES_PER_VCPU_SECOND * cores) + reduced / (REDUCED_PER_VCPU_SECOND * cores)
    return FIXED + timedelta(seconds=seconds, minutes=settings.idle_timeout_minutes * settings.interactive)


def estimate(run: Run, plan: Plan) -> Estimate:
    """Return what the run will cost."""
    hours = estimated_time(run, plan) / timedelta(hours=1)
    hourly = hourly_price(run)
    cluster = nodes(run.settings)
    if hourly is None:
        return Estimate(None, f"{hours:.1f} h of {cluster}; {no_price(run)}")
    added, more = _added_by_scaling(run.settings)
    cost = hours * hourly + added
    dated = source(run.settings.region, _types(run.settings))
    words = f"${cost:.2f} ({hours:.1f} h of {cluster} at ${hourly:.3f} an hour{more}, {dated})"
    return Estimate(cost, words + GOES_ON * run.settings.interactive)


def _added_by_scaling(settings: ClusterSettings) -> tuple[float, str]:
    """Return what nodes that managed scaling adds will cost, at most, in USD and in words.

    They share the work, which costs the same on more nodes, but each is paid while it starts and until it is taken back.
    """
    more, worker = (settings.max_nodes or 0) - settings.worker_count, _worker_price(settings)
    if more <= 0 or worker is None:
        return 0, ""
    usd = more * worker * spot_share() * (FIXED / timedelta(hours=1))
    return usd, f", and ${usd:.2f} for up to {more} more node{'s' * (more > 1)}"


def check_budget(run: Run, plan: Plan) -> str:
    """Return the estimate as a sentence.

    Raises:
        AirflowFailException: the estimate exceeds `max_cost_usd`, or there is a limit but no price.
    """
    limit, expected = run.settings.max_cost_usd, estimate(run, plan)
    if limit is not None and expected.usd is None:
        raise AirflowFailException(f"max_cost_usd is {limit:g}, but {no_price(run)}, or leave max_cost_usd empty")
    if _exceeds(expected, limit):
        raise AirflowFailException(
            f"this run would cost about {expected.words}, more than max_cost_usd = {limit:g}: raise the limit, or take "
            f"fewer of the {plan.new} new images at a time (max_images_per_run)"
        )
    return f"estimate: {expected.words}"


def obstacles(run: Run, plan: Plan) -> list[str]:
    """Return what stands between the run and its cluster, for a dry run."""
    expected, settings = estimate(run, plan), run.settings
    if _exceeds(expected, settings.max_cost_usd):
        return [f"it would be refused, as max_cost_usd is {settings.max_cost_usd:g}"]
    if _exceeds(expected, settings.approval_above_usd):
        return [f"a person would be asked, as approval_above_usd is {settings.approval_above_usd:g}"]
    return []


def _exceeds(expected: Estimate, limit: float | None) -> bool:
    """Return whether a run costs more than a limit; an unknown cost does, no limit is never exceeded."""
    return limit is not None and (expected.usd is None or expected.usd > limit)


def approval_request(run: Run, plan: Plan) -> str | None:
    """Return what a person is asked before the cluster is created; None where nobody needs to be."""
    limit, expected = run.settings.approval_above_usd, estimate(run, plan)
    if not _exceeds(expected, limit):
        return None
    return (
        f"{plan.new} new images of {plan.images}: about {expected.words}. This is more than approval_above_usd = "
        f"{limit:g}, or unknown."
    )
