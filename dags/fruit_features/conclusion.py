"""The end of a run: its clusters are gone, what it has done and cost is said, and only a success is shown as one."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from emr_hook import IN_PLACE_OF, LOOKBACK, IdempotentEmrHook
from fruit_features import costs
from fruit_features.cluster import cluster_name
from fruit_features.run import Run
from fruit_features.xcoms import FAILURE, FIGURES, LEFT, NOTE

NOTE_LENGTH = 1000  # Airflow keeps no more

log = logging.getLogger(__name__)


def conclude(params: Mapping[str, Any], ti: Any, run_id: str) -> None:
    """End what no task of the run has ended, say what it has done and cost, and judge it.

    Args:
        params: of the run.
        ti: the task instance that pulls and pushes.
        run_id: of the DAG run.

    Raises:
        AirflowFailException: the run has failed, or has published nothing although there was something to do.
        BotoCoreError, ClientError: EMR has not answered whether there is a cluster to end, and there is another try.
    """
    plan, cluster_id = ti.xcom_pull(task_ids="find_new_images"), ti.xcom_pull(task_ids="create_cluster")
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id])[run_id]
    # Nobody knows whether a person is at work on an interactive cluster, perhaps since before the run was cleared: EMR does.
    unknown, failed = cluster_id_unknown(states, has_work=bool(plan)), bool(cluster_id) and teardown_failed(states)
    ends = not params["interactive"] and (unknown or failed)
    if cluster_id or ends:  # no run is made of params that find_new_images has refused: there is no cluster either
        run = Run.from_params(params, run_id)
        hook = IdempotentEmrHook(region_name=run.settings.region)
        if ends:
            end_what_is_left(hook, run, is_last_try=ti.try_number > ti.max_tries)
        if cluster_id:  # perhaps of an earlier attempt at a run that was cleared, and has no plan now
            push_figures(hook, run, cluster_id, ti, plan["new"] if plan else 0)
    push_note(states, ti)
    check_conclusion(
        states,
        has_work=bool(plan),
        leaves_images=bool(ti.xcom_pull(task_ids="publish", key=LEFT)),
        error_of=lambda task_id: ti.xcom_pull(task_ids=task_id, key=FAILURE),
    )


def cost_so_far(hook: IdempotentEmrHook, run: Run, cluster_id: str, new: int) -> dict[str, Any] | None:
    """Return what the run's clusters have cost until now; best effort: None, and say so, where that cannot be known.

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
        hook.log.warning("The cost of cluster %s is unknown: %s", cluster_id, error)
    except Exception:  # must not fail what is published
        hook.log.exception("The cost of cluster %s cannot be computed", cluster_id)
    else:
        return costs.total(figures, new)
    return None


def _instances(hook: IdempotentEmrHook, cluster_id: str) -> list[dict[str, Any]]:
    pages = hook.conn.get_paginator("list_instances").paginate(ClusterId=cluster_id)
    return [instance for page in pages for instance in page["Instances"]]


def push_figures(hook: IdempotentEmrHook, run: Run, cluster_id: str, ti: Any, new: int = 0) -> None:
    """Log what the run's clusters have cost, and push it as the XCom `FIGURES`; without EMR's answer, say so.

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
    ti.xcom_push(key=FIGURES, value=figures)


def cluster_id_unknown(states: Mapping[str, str | None], *, has_work: bool) -> bool:
    """Say whether there may be a cluster of the run whose id create_cluster has told nobody.

    It has failed: its worker was lost in its last try, or EMR's answers were. Or it was skipped, and its teardown with it, as
    somebody has marked the run as failed between two tries of it.

    Args:
        states: of the run's tasks, by task_id.
        has_work: whether find_new_images has found something to do, and so a cluster to ask for.
    """
    created = states.get("create_cluster")
    return created == "failed" or (created == "skipped" and has_work)


def teardown_failed(states: Mapping[str, str | None]) -> bool:
    """Say whether the teardown has failed, or was not reached, as somebody has marked the good create_cluster as failed.

    Args:
        states: of the run's tasks, by task_id.
    """
    return states.get("terminate_cluster") in {"failed", "upstream_failed"}


def end_what_is_left(hook: IdempotentEmrHook, run: Run, *, is_last_try: bool) -> None:
    """End the run's clusters, found by their name. Without EMR's answer in the last try, the idle timeout ends them.

    Args:
        hook: for the clusters' region.
        run: of the DAG.
        is_last_try: whether nobody will try this again.

    Raises:
        BotoCoreError, ClientError: EMR has not answered, or refuses, and there is another try.
    """
    name = cluster_name(run)
    try:
        hook.end_clusters(name, "the run is over, and no task of it has ended this cluster")
    except (BotoCoreError, ClientError) as error:
        if not is_last_try:
            raise
        hook.log.warning("Whether there is a cluster called %r is unknown: %s", name, error)


def push_note(states: Mapping[str, str | None], ti: Any) -> None:
    """Log what the run has done, and push it as the XCom `NOTE`, which a plugin makes the run's note; best effort.

    Args:
        states: of the run's tasks, by task_id.
        ti: the task instance that pulls and pushes.
    """
    try:
        said = note(states, ti)
    except Exception:
        log.exception("The note of the run cannot be written")  # which must not make a failure of a good run
        return
    log.info(said)
    ti.xcom_push(key=NOTE, value=said[:NOTE_LENGTH])


def note(states: Mapping[str, str | None], ti: Any) -> str:
    """Return what the run has done, in one line, from what its tasks have pushed; arguments are those of `push_note`."""
    figures = ti.xcom_pull(task_ids=ti.task_id, key=FIGURES) or {}
    cost = figures.get("cost_usd")
    spent = [] if cost is None else [f"about ${cost:,.2f}" if cost >= 0.01 else "less than $0.01"]
    failed = [task_id for task_id, state in states.items() if state == "failed" and task_id != ti.task_id]
    if failed:
        reason = ti.xcom_pull(task_ids=failed[0], key=FAILURE)
        return "; ".join([f"failed in {', '.join(failed)}: {reason or 'its log says why'}", *spent])
    if left := ti.xcom_pull(task_ids="publish", key=LEFT):
        return ", ".join([f"{left:,} images are left to the next runs, the last of which publishes", *spent])
    if states.get("publish") == "success":
        plan, results = (ti.xcom_pull(task_ids=task_id) for task_id in ("find_new_images", "check_outputs"))
        return ", ".join([summary(plan, results), *spent])
    return ti.xcom_pull(task_ids="find_new_images", key=NOTE) or "nothing was published"


def summary(plan: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return what a run has published, in one line.

    Args:
        plan: what it had to do.
        results: its figures, as `publish` writes them.
    """
    reasons = results["rejects_by_reason"].items()
    why = ", ".join(
        f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(reasons, key=lambda pair: -pair[1])
    )
    share = results["explained_variance"]
    parts = [
        f"{plan['new']:,} new images of {results['images']:,}: {results['features']:,} features",
        f"{results['rejects']:,} reject{'' if results['rejects'] == 1 else 's'}" + (f" ({why})" if why else ""),
        f"{results['components']} components" + ("" if share is None else f" = {share:.1%}"),
    ]
    if plan.get("left"):
        parts.insert(0, f"{plan['left']:,} images are left to the next runs")
    return ", ".join(parts)


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
