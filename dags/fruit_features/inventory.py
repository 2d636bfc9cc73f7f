"""What is in S3, and what of it is new.

An image is known by its path and its ETag; it is new until a run has its features, made by the network that this run uses, or has
rejected it for good.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import budget, datasets, history, images, model, publishing
from fruit_features.layout import Location
from fruit_features.run import Plan, Run
from fruit_features.workspace import Workspace, workspace

log = logging.getLogger(__name__)

NEW_IMAGES = "CREATE VIEW new_images AS SELECT listed.* FROM listed ANTI JOIN known USING (path, etag)"
# The oldest: an image that waits is never overtaken for ever by others whose names come first.
OLDEST = "SELECT * FROM (FROM new_images ORDER BY last_modified, path LIMIT {}) ORDER BY path"


def find_new(hook: S3Hook, run: Run) -> Plan:
    """List the images, write the run's inventory and manifest, and say what there is to do.

    Raises:
        AirflowFailException: naming what is missing, closed or contradictory.
    """
    listed = images.reach_buckets(hook, run)
    latest = publishing.check_unpublished(hook, run)
    with workspace() as work:
        listed = images.collect_images(hook, run, work) or listed
        _check_age(run, latest, listed)
        images.check_reading(hook, run, work)
        model_id = model.model_id(hook, run)
        _check_space(run, latest, model_id)
        collect_known(hook, run, work, model_id)
        count, new, fingerprint = _count_and_write(hook, run, work, model_id)
        left = work.row("SELECT count(*) FROM new_images")[0] - new if run.settings.max_images_per_run else 0
    model_exported = False
    if not run.settings.dry_run:
        model_exported = model.point_to(hook, run, model_id)

    log.info("%d images under %s/, %d of them new%s", count, run.layout.images, new + left, _share(new, left))
    has_work = bool(new) or latest.get("fingerprint") != fingerprint
    return Plan(
        listed=listed,
        images=count,
        new=new,
        left=left,
        unfinished=bool(left) and latest.get("model_id", model_id) != model_id,
        model_id=model_id,
        model_exported=model_exported,
        pca_model=None if run.settings.refit else latest.get("pca_model"),
        previous=latest["report"].rpartition("/")[0] if latest.get("report") else None,
        needs_cluster=has_work and not run.settings.dry_run,
        would_need_cluster=has_work and run.settings.dry_run,
    )


def collect_known(hook: S3Hook, run: Run, work: Workspace, model_id: str | None) -> None:
    """Make the tables `known` of a workspace, path and ETag of the images that need not be extracted, and `new_images`.

    What this very run wrote before it was cleared or retried does not count: it will be overwritten.
    """
    layout = run.layout
    history.collect_outcomes(hook, layout, work, model_id, exclude=(layout.run_features, layout.run_rejects))
    counts = "false" if run.settings.full_refresh else "true"
    rejects_count = "false" if run.settings.retry_rejects else counts
    work.run(f"CREATE VIEW known AS FROM extracted WHERE {counts} UNION ALL FROM rejected WHERE {rejects_count}")
    work.run(NEW_IMAGES)


def _count_and_write(hook: S3Hook, run: Run, work: Workspace, model_id: str | None) -> tuple[int, int, str]:
    """Write inventory and manifest, but in a dry run; return their rows and the fingerprint of the results to come."""
    fingerprint = publishing.Fingerprint(run, model_id)
    files = datasets.filesystem(hook)

    def write(name: str, sql: str, where: Location, see: Callable[[pa.RecordBatch], None]) -> int:
        rows = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in work.stream(name, sql, datasets.INVENTORY, datasets.ROWS_PER_GROUP):
                rows += len(batch)
                see(batch)
                yield batch

        if run.settings.dry_run:
            deque(batches(), maxlen=0)
        else:
            datasets.write_stream(files, where, datasets.INVENTORY, batches())
        return rows

    count = write("inventory", "SELECT * FROM listed ORDER BY path", run.layout.inventory, fingerprint.add)
    most = run.settings.max_images_per_run
    taken = OLDEST.format(most) if most else "FROM new_images ORDER BY path"
    new = write("manifest", taken, run.layout.manifest, lambda _: None)
    return count, new, fingerprint.hexdigest()


def _share(new: int, left: int) -> str:
    """Say which of the new images the run takes."""
    return f": this run takes the {new} oldest and leaves {left} for later ones (max_images_per_run)" if left else ""


def _outlook(run: Run, plan: Plan) -> str:
    """Say what a run would do and cost, and whether somebody or something would stop it."""
    if not plan.would_need_cluster:
        return "a run would stop here, as the published results already show these images"
    then = f"reduce the features of {plan.images:,}"
    if plan.unfinished:
        then = f"leave {plan.left:,} to later runs, which publish"
    work = f"a run would create a cluster, extract {plan.new:,} images and {then}"
    return "; ".join([f"{work}: about {budget.estimate(run, plan).words}", *budget.obstacles(run, plan)])


def _check_age(run: Run, latest: dict[str, Any], listed: str) -> None:
    """Refuse an inventory that is older than the published results, which could not be published in their place."""
    if run.settings.inventory_source and latest.get("listed", "") > listed:
        raise AirflowFailException(
            f"inventory_source {run.settings.inventory_source} is of {listed}, the published results are of {latest['listed']}: wait "
            "for the next report, or leave inventory_source out"
        )


def why_nothing(run: Run, plan: Plan) -> str:
    """Say why a run ends without a cluster, and what would give it something to do."""
    if run.settings.dry_run:
        new = plan.new + plan.left
        return f"dry run: {new:,} of {plan.images:,} images are new; {_outlook(run, plan)}; nothing is written"
    return (
        f"nothing to do: the published results show all {plan.images:,} images below {run.layout.images_prefix or run.settings.bucket}. "
        "Add, replace or delete images, or trigger with another variance, other weights, retry_rejects or full_refresh"
    )


def _check_space(run: Run, latest: dict[str, Any], model_id: str | None) -> None:
    if not run.settings.refit and model_id and latest.get("model_id", model_id) != model_id:
        raise AirflowFailException(
            f"refit is off, but the published components are of the network {latest['model_id']}, and these weights give {model_id}: "
            "vectors of two networks cannot be compared; switch refit on, or use the earlier weights"
        )
