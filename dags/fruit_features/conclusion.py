"""The end of a run: what it has cost, and whether it may be shown as a success."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import IN_PLACE_OF, LOOKBACK, IdempotentEmrHook
from fruit_features import costs
from fruit_features.run import Run


def cost_so_far(hook: IdempotentEmrHook, run: Run, cluster_id: str, new: int) -> dict[str, Any] | None:
    """Return what the run's clusters have cost until now; None, and say so, without EMR's answer.

    A run has more than one if one was lost, or a task of it was cleared.

    Args:
        hook: for the clusters' region.
        run: of the DAG.
        cluster_id: of the cluster that the run has created last.
        new: images that the run had to extract.
    """
    now = datetime.now(UTC)
    try:
        created = hook.describe(cluster_id)
        since = created["Status"]["Timeline"]["CreationDateTime"] - LOOKBACK
        newest, *others = hook.find_clusters(created["Name"].partition(IN_PLACE_OF)[0], since=since)
        figures = [costs.figures(run, newest, _instances(hook, newest["Id"]), now, new=new)]
        figures += [costs.figures(run, other, _instances(hook, other["Id"]), now) for other in others]
    except (BotoCoreError, ClientError) as error:
        hook.log.warning("What cluster %s has cost is unknown: %s", cluster_id, error)
        return None
    return costs.total(figures, new)


def _instances(hook: IdempotentEmrHook, cluster_id: str) -> list[dict[str, Any]]:
    pages = hook.conn.get_paginator("list_instances").paginate(ClusterId=cluster_id)
    return [instance for page in pages for instance in page["Instances"]]


def push_figures(hook: IdempotentEmrHook, run: Run, cluster_id: str, ti: Any, new: int = 0) -> None:
    """Log what the run's clusters have cost, and push it as the XCom `figures`; without EMR's answer, say so.

    Args:
        hook: for the clusters' region.
        run: of the DAG.
        cluster_id: of the cluster that the run has created last.
        ti: the task instance that pushes.
        new: images that the run had to extract.
    """
    if (figures := cost_so_far(hook, run, cluster_id, new)) is None:
        return
    cost = "no price known" if figures["cost_usd"] is None else f"about ${figures['cost_usd']:.2f}"
    each = f", ${figures['cost_usd_per_1000']:.4f} per 1,000 new images" if figures["cost_usd_per_1000"] else ""
    hook.log.info("%s lived %.2f h: %s%s", ", ".join(figures["clusters"]), figures["hours"], cost, each)
    ti.xcom_push(key="figures", value=figures)


def check_conclusion(
    states: Mapping[str, str | None],
    *,
    has_work: bool,
    leaves_images: bool = False,
    error_of: Callable[[str], str | None] = lambda _: None,
) -> None:
    """Let a run pass that has published, that leaves it to a later one, or that had nothing to do.

    Airflow judges a run by its last tasks alone. Marked as failed, a run gets its pending tasks skipped, ends with a good
    teardown, and would be shown as a success.

    Args:
        states: of the run's tasks, by task_id.
        has_work: whether find_new_images has found something to do.
        leaves_images: whether publish has said that it leaves publishing to a later run.
        error_of: returns the first line of a failed task's error, if it is known.

    Raises:
        AirflowFailException: naming the tasks that have failed, or that nothing was published.
    """
    failed = [task_id for task_id, state in states.items() if state == "failed"]
    if failed:
        errors = [f"{task_id}: {error_of(task_id) or 'its log says why'}" for task_id in failed]
        raise AirflowFailException(f"the run has failed in {'; in '.join(errors)}")
    nothing_to_do = states.get("find_new_images") == "success" and not has_work
    if states.get("publish") != "success" and not (nothing_to_do or leaves_images):
        raise AirflowFailException("the run has published nothing: it was marked by hand, or a task of it was skipped")
