"""Clusters that nobody ends any more: found by their tags, judged by their DAG run."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from emr_hook import ACTIVE_CLUSTER, IdempotentEmrHook
from fruit_features import tags

STEPS = 3  # of a run, one after the other

RunState = Callable[[str], str | None]  # of a run_id: "active", "finished", or None for a run that does not exist


class Leftover(BaseModel):
    """A cluster that should not be there any more, and why.

    Attributes:
        cluster_id: of EMR.
        region: where it is.
        run_id: of the DAG run that has created it.
        hours: its age.
        reason: why nobody needs it.
    """

    model_config = ConfigDict(frozen=True)

    cluster_id: str
    region: str
    run_id: str
    hours: float
    reason: str


def find_leftovers(
    hook: IdempotentEmrHook, *, region: str, deployment: str, max_age: timedelta, run_state: RunState
) -> list[Leftover]:
    """Return the deployment's clusters whose DAG run is finished, gone or too old; of interactive ones, those that are too old.

    Args:
        hook: for the region.
        region: where to look.
        deployment: whose clusters; those of other deployments in the same account are left alone.
        max_age: of a cluster whose run is under way, or has left it to a person. While the run is under way and its steps may
            take longer, that counts: each ends itself at its own limit.
        run_state: looks a DAG run up.
    """
    leftovers = []
    for cluster in _clusters(hook, deployment):
        run_id = tags.value(cluster, tags.RUN)
        age = datetime.now(UTC) - cluster["Status"]["Timeline"]["CreationDateTime"]
        if reason := _reason(cluster, run_state(run_id) if run_id else "unknown", age, max_age):
            hours = round(age / timedelta(hours=1), 1)
            hook.log.warning("cluster %s of run %s, %.1f h old: %s", cluster["Id"], run_id, hours, reason)
            leftovers.append(
                Leftover(cluster_id=cluster["Id"], region=region, run_id=run_id or "?", hours=hours, reason=reason)
            )
    return leftovers


def _reason(cluster: dict[str, Any], run_state: str | None, age: timedelta, max_age: timedelta) -> str | None:
    if run_state in {"finished", None}:
        if tags.value(cluster, tags.INTERACTIVE) != "true":  # else its run's end is not its own
            return "its DAG run is finished" if run_state else "its DAG run does not exist any more"
    else:
        max_age = max(max_age, STEPS * timedelta(hours=float(tags.value(cluster, tags.STEP_TIMEOUT) or 0)))
    return f"it is older than {max_age / timedelta(hours=1):g} h" if age > max_age else None


def _clusters(hook: IdempotentEmrHook, deployment: str) -> Iterator[dict[str, Any]]:
    """Yield the deployment's active clusters, as DescribeCluster returns them: ListClusters knows no tags."""
    emr = hook.get_conn()
    pages = emr.get_paginator("list_clusters")
    for page in pages.paginate(ClusterStates=ACTIVE_CLUSTER):  # few, however long the account's history
        for summary in page["Clusters"]:
            if not summary["Name"].startswith(tags.APPLICATION_NAME):  # one request less for everybody else's
                continue
            try:
                cluster = emr.describe_cluster(ClusterId=summary["Id"])["Cluster"]
            except ClientError as error:  # infra/template.yaml lets Airflow see clusters with our tag only
                if "AccessDenied" not in error.response["Error"]["Code"]:
                    raise
                continue
            ours = (tags.value(cluster, tags.APPLICATION), tags.value(cluster, tags.DEPLOYMENT))
            if ours == (tags.APPLICATION_NAME, deployment) and cluster["Status"]["State"] in ACTIVE_CLUSTER:
                yield cluster


def end(hook: IdempotentEmrHook, leftovers: list[Leftover]) -> None:
    """Terminate the clusters; one that another janitor has ended meanwhile is no error.

    Raises:
        ExceptionGroup: of what EMR has refused, after all others were ended.
    """
    errors = []
    for leftover in leftovers:
        hook.log.warning("ending cluster %s: %s", leftover.cluster_id, leftover.reason)
        try:
            hook.get_conn().terminate_job_flows(JobFlowIds=[leftover.cluster_id])
        except ClientError as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(leftovers)} clusters could not be ended", errors)
