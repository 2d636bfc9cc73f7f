"""The pointer to the latest good results, `results/latest.json`: moved last, in one PUT."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, objects
from fruit_features.run import Run


def latest_results(hook: S3Hook, run: Run) -> dict[str, Any]:
    """Return what `publish` wrote last; empty before anything was published."""
    return objects.read_json(hook, run.layout.latest) if objects.exists(hook, run.layout.latest) else {}


def fingerprint(run: Run, inventory: pa.Table, model_id: str | None) -> str:
    """Return a hash of all that the results depend on: the same fingerprint, the same results."""
    digest = hashlib.sha256(json.dumps([model_id, run.settings.variance, run.settings.refit]).encode())
    for path, etag in datasets.identity_keys(inventory):
        digest.update(f"\n{path}\t{etag}".encode())
    return digest.hexdigest()


def publish(hook: S3Hook, run: Run, results: dict[str, Any]) -> None:
    """Move `latest.json` to this run's results, in one PUT: readers see the old ones or the new ones, never a mixture."""
    published = datetime.now(UTC).isoformat(timespec="seconds")
    objects.put_json(hook, run.layout.latest, {**results, "published": published})
    hook.log.info("published %s", run.layout.latest)
