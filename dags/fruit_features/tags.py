"""The tags of a cluster: what it is of, for bills and for the janitor."""

import re
from typing import Any

APPLICATION, DEPLOYMENT, RUN, RUN_NAME, INTERACTIVE = "application", "deployment", "run", "run-name", "interactive"
STEP_TIMEOUT = "step-timeout-hours"
APPLICATION_NAME = "fruit-features"
# AWS's managed EMR policies act only on what carries this tag.
MANAGED = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}


def cluster_tags(
    run_id: str, deployment: str | None, *, step_timeout_hours: float, interactive: bool = False
) -> list[Any]:
    """Return the tags of a run's cluster.

    Args:
        run_id: of the DAG run, as Airflow knows it.
        deployment: name of this installation, if it has one.
        step_timeout_hours: how long each of the run's steps may take.
        interactive: whether the run leaves its cluster to a person.
    """
    name = run_tag(run_id)
    # Nobody can look up a run by what is left of its id: such a cluster has no `run`, and only its age counts.
    tags = {
        APPLICATION: APPLICATION_NAME,
        RUN if name == run_id else RUN_NAME: name,
        STEP_TIMEOUT: f"{step_timeout_hours:g}",
    }
    if deployment:
        tags[DEPLOYMENT] = deployment
    if interactive:
        tags[INTERACTIVE] = "true"
    return [*({"Key": key, "Value": value} for key, value in tags.items()), MANAGED]


def run_tag(run_id: str) -> str:
    """Return the run_id with what AWS refuses in a tag replaced."""
    return re.sub(r"[^\w +=.:/@-]", "-", run_id)[:256]


def value(cluster: dict[str, Any], key: str) -> str | None:
    """Return a tag of a cluster, as DescribeCluster returns it; None if it has none of that name."""
    return next((tag["Value"] for tag in cluster.get("Tags", []) if tag["Key"] == key), None)
