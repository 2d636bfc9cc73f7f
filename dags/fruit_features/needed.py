"""Which features and rejects must stay: the kept runs' own inventories say it, and networks that are not published yet."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, history, objects, publishing
from fruit_features.layout import Location, RunLayout
from fruit_features.workspace import Workspace, workspace

# The images of kept runs, with the network whose features they show; without one, any network's count.
NEEDED = pa.schema([(name, pa.string()) for name in (*datasets.KEY, "model_id")])
IN_USE = """
    SELECT list(DISTINCT outcomes.folder) FROM outcomes JOIN needed USING (path, etag)
    WHERE outcomes.reason IS NOT NULL OR needed.model_id IS NULL OR needed.model_id = outcomes.model_id
"""
UNPUBLISHED = """
    SELECT list(DISTINCT folder) FROM outcomes
    WHERE model_id IS NOT NULL AND NOT list_contains(getvariable('published'), model_id)
"""

log = logging.getLogger(__name__)


def needed_folders(
    hook: S3Hook,
    layout: RunLayout,
    judged: set[Location],
    kept: Collection[str],
    published: Mapping[str, dict[str, Any]],
) -> set[Location]:
    """Return which folders must stay, or cannot be judged.

    Args:
        hook: for the bucket.
        layout: of any run.
        judged: folders of features and of rejects.
        kept: runs that are kept.
        published: what each published run has published; `model_id` is its network.
    """
    if not judged:
        return set()
    with workspace() as work:
        if gone := _collect_needed(hook, layout, work, kept, published):
            log.warning(
                "no features and no rejects can go: the inventory of %s is gone, so that nobody knows what such kept results show. "
                "Publish newer ones, or keep fewer (keep_runs)",
                ", ".join(gone),
            )
            return judged
        foreign = history.collect_outcomes(hook, layout, work, None)
        in_use = set(work.row(IN_USE)[0] or ())
        work.set(published=sorted({str(one.get("model_id")) for one in published.values()}))
        unpublished = set(work.row(UNPUBLISHED)[0] or ()) - in_use
    stay = {where for where in judged if where.uri in in_use} | (foreign & judged)
    for where in sorted(judged - stay, key=str):
        # A new network's slices wait for the last one (docs/decisions/0016), for weeks if nobody is in a hurry.
        if where.uri in unpublished:
            log.info("not judged: %s, of a network that no run has published. If none will, delete it by hand", where)
            stay |= {where, layout.rejects / where.key.rpartition("/")[2]}
    return stay & judged


def _collect_needed(
    hook: S3Hook, layout: RunLayout, work: Workspace, kept: Collection[str], published: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Make the table `needed` of the kept runs' inventories; return the published ones whose inventory is gone."""
    files, gone = datasets.filesystem(hook), []
    with work.collect("needed", NEEDED) as rows:
        for run in sorted(kept):
            inventory = publishing.find_inventory(hook, layout, run)
            if inventory is None:
                if run in published:
                    gone.append(run)
                continue  # a run that has ended before it wrote one
            model_id = published[run].get("model_id") if run in published else _model_id(hook, layout, run)
            for batch in datasets.stream(files, inventory, datasets.KEY):
                model = pa.array([model_id] * len(batch), pa.string())
                rows.add(pa.table([batch["path"], batch["etag"], model], NEEDED))
    return gone


def _model_id(hook: S3Hook, layout: RunLayout, run: str) -> str | None:
    pointer = layout.runs / run / "model.json"
    return objects.read_json(hook, pointer, "model_id")["model_id"] if objects.exists(hook, pointer) else None
