"""The form that triggers the DAG: its sections, what it proposes, and what the defaults will cost.

What is allowed, `settings` says; here is only how it is shown. A param that no section names is among the advanced ones.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param

from fruit_features import budget, prices
from fruit_features.config import DEFAULT_REGION
from fruit_features.layout import RunLayout
from fruit_features.run import Plan, Run
from fruit_features.settings import PARAMS, RunSettings

SECTIONS = {
    "Images": (
        "bucket",
        "images_bucket",
        "images_prefix",
        "include",
        "exclude",
        "full_refresh",
        "retry_rejects",
        "max_images_per_run",
        "max_reject_share",
    ),
    "Results": ("variance", "refit", "weights", "output_prefix", "dry_run"),
    "Cluster": (
        *("primary_instance_type", "core_instance_type", "core_instance_count", "region", "release_label"),
        *("applications", "task_instance_count", "max_nodes", "interactive"),
    ),
    "Cost": ("max_cost_usd", "approval_above_usd", "step_timeout_hours", "idle_timeout_minutes"),
}
ADVANCED = "Advanced"
TYPES = [
    f"{family}.{size}"
    for family in ("m5", "c7g", "m6g", "c6g", "r6g", "m6gd", "m6i", "c5", "m7i", "r5")
    for size in ("xlarge", "2xlarge", "4xlarge")
]
# Proposed by the form, which takes any other value that `settings` allows as well.
PROPOSED = {
    "release_label": ["emr-7.13.0", "emr-7.12.0", "emr-7.11.0", "emr-7.10.0"],
    "region": ["eu-west-3", "eu-west-1", "eu-central-1", "us-east-1", "us-west-2"],
}
OF_NODES = ("primary_instance_type", "core_instance_type")
EXAMPLES = (1_000, 100_000, 1_000_000)  # new images


def form_params() -> dict[str, Param]:
    """Return the DAG's params, section by section."""
    places = {name: section for section, names in SECTIONS.items() for name in names}
    order = [*SECTIONS, ADVANCED]
    names = sorted(PARAMS, key=lambda name: order.index(places.get(name, ADVANCED)))
    return {name: _shown(name, PARAMS[name], places.get(name, ADVANCED)) for name in names}


def _shown(name: str, param: Param, section: str) -> Param:
    schema: dict[str, Any] = {**param.schema, "section": section}
    if name in PROPOSED:
        schema["examples"] = PROPOSED[name]
    description = param.description or ""
    if name in OF_NODES:
        without = [each for each in TYPES if prices.price(DEFAULT_REGION, each) is None]
        schema["examples"] = sorted(TYPES, key=without.__contains__)
        description = f"{description} {_unpriced(without)}".strip()
    if name == "max_cost_usd":
        description = f"{description} {estimates()}"
    return Param(param.value, description=description, **schema)


def _unpriced(without: list[str]) -> str:
    """Return a sentence about the families of the types without a price in the default region; empty if there are none."""
    families = dict.fromkeys(each.partition(".")[0] for each in without)
    return f"No price known in {DEFAULT_REGION} for {', '.join(families)}: {prices.UNKNOWN}." if without else ""


def estimates() -> str:
    """Return what runs on the default cluster take and cost, in a sentence."""
    settings = RunSettings.from_params({"bucket": "any-bucket"})
    run = Run("", "", settings, RunLayout(settings, ""))
    hourly = budget.hourly_price(run)
    parts = []
    for images in EXAMPLES:
        plan = Plan(images=images, new=images, model_id=None, model_exported=False, pca_model=None, needs_cluster=True)
        time = budget.estimated_time(run, plan)
        cost = "" if hourly is None else f" and ${time / timedelta(hours=1) * hourly:.2f}"
        parts.append(f"{images:,} new images about {_duration(time)}{cost}")
    lacking = f"; {budget.no_price(run)}" if hourly is None else ""
    return f"Estimates for the default cluster: {', '.join(parts)}{lacking}."


def _duration(time: timedelta) -> str:
    minutes = round(time / timedelta(minutes=1))
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
