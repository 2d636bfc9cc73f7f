"""### Ends clusters of `fruit_features` that no run will end any more.

A run ends its cluster itself, and EMR ends an idle one. This DAG is for the remaining cases: a run that was deleted, an Airflow
that was rebuilt, a cluster with a hung application. It looks for active clusters with this installation's tags, and ends those
whose DAG run is finished, does not exist any more, or whose age exceeds `max_age_hours` (and three times the run's own
`step_timeout_hours`); of those that a finished run has left to a person (the param `interactive`), only those that are older than
`max_age_hours`. It runs every hour once the installation has a name (`FRUITS_DEPLOYMENT`).

| task | what it does |
|---|---|
| `find_leftovers` | lists clusters that should no longer exist, and why |
| `end_clusters` | terminates them, unless `dry_run` is on; with `FRUITS_JANITOR_ENDS=true` it is off by default |

If `FRUITS_NOTIFY_CONN` names a connection, it is notified when the janitor fails.

Clusters of other deployments in the same account are left alone: each has its own `FRUITS_DEPLOYMENT`.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, chain, dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from emr_hook import IdempotentEmrHook
from fruit_features import config, janitor, notifications, runs


@task
def find_leftovers(params: dict[str, Any], ti: Any) -> list[dict[str, Any]]:
    """Return the clusters that nobody needs any more."""
    if not config.DEPLOYMENT:
        raise AirflowFailException(
            "FRUITS_DEPLOYMENT is not set: without it this Airflow cannot tell which clusters are its own"
        )
    found = []
    for region in params["regions"]:
        found += janitor.find_leftovers(
            IdempotentEmrHook(region_name=region),
            region=region,
            deployment=config.DEPLOYMENT,
            max_age=timedelta(hours=params["max_age_hours"]),
            run_state=runs.state_of(ti),
        )
    return [leftover.model_dump() for leftover in found]


@task
def end_clusters(found: list[dict[str, Any]], params: dict[str, Any]) -> None:
    """Terminate them."""
    leftovers = [janitor.Leftover(**one) for one in found]
    if params["dry_run"]:
        raise AirflowSkipException(f"dry_run is on: {len(leftovers)} cluster(s) would be ended")
    for region in {leftover.region for leftover in leftovers}:
        there = [leftover for leftover in leftovers if leftover.region == region]
        janitor.end(IdempotentEmrHook(region_name=region), there)


@dag(
    doc_md=__doc__,
    schedule="@hourly" if config.DEPLOYMENT else None,
    catchup=False,
    params={
        "dry_run": Param(not config.JANITOR_ENDS, type="boolean", title="Only list what would be ended"),
        "max_age_hours": Param(
            24, type="number", exclusiveMinimum=0, title="Oldest cluster of a run under way, or of a person, in hours"
        ),
        "regions": Param([config.DEFAULT_REGION], type="array", items={"type": "string"}, title="Regions"),
    },
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "on_failure_callback": notifications.on_failure(notifications.JANITOR_FAILED),
    },
    tags=["emr"],
)
def fruit_features_janitor() -> None:
    """Wire the tasks."""
    found = find_leftovers()
    chain(found, end_clusters(found))


fruit_features_janitor()
