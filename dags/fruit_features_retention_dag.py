"""### Deletes what old runs of `fruit_features` left behind and nobody needs any more. By default it only lists it.

It keeps the newest `keep_runs` published runs, the run that `results/latest.json` names, and every run that has written anything
since the latest results were listed, or in the last `min_age_days`. Of the other runs it deletes:

| folder | deleted |
|---|---|
| `results/run=<run>/`, `runs/<run>/` | always |
| `features/run=<run>/`, `rejects/run=<run>/` | if no image of a kept run has a row of its network in them |

Features of a network that no run has published stay, with the rejects beside them: a new network's images may be taken in slices.
A run that writes again while this deletes keeps what it has.

It deletes files of `results/ledger/` that its `latest.json` does not name once they are a day old.

`delete_unneeded` names each folder in its log, with its size. Trigger it, read that, then trigger it with `dry_run` off. In a
versioned bucket the space is freed when old versions expire (30 days in the stack of `docs/aws.md`); until then everything can be
restored.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from fruit_features.run import Run
from fruit_features.settings import PARAMS
from patient_s3 import PatientS3Hook

OF_RUNS = ("bucket", "output_prefix", "region")  # params that fruit_features has too


@task
def delete_unneeded(params: dict[str, Any], run_id: str) -> str:
    """Say what may go and how much that is; delete it, unless `dry_run` is on."""
    from fruit_features import retention  # importing Arrow would slow down every parse of this file

    run = Run.from_params({name: params[name] for name in OF_RUNS}, run_id)
    hook, min_age = PatientS3Hook(region_name=run.settings.region), timedelta(days=params["min_age_days"])
    unneeded = retention.find_unneeded(
        hook, run.layout, keep_runs=params["keep_runs"], min_age=min_age, now=datetime.now(UTC)
    )
    if params["dry_run"]:
        told = f"dry_run is on: {unneeded} would be deleted"
    else:
        told = f"deleted {retention.delete(hook, run.layout, unneeded)}"
    hook.log.info(told)
    return told


@dag(
    doc_md=__doc__,
    schedule=None,
    params={
        **{name: PARAMS[name] for name in OF_RUNS},
        "keep_runs": Param(10, type="integer", minimum=1, title="Published runs to keep"),
        "min_age_days": Param(7, type="number", minimum=0, title="Keep what was written within this many days"),
        "dry_run": Param(True, type="boolean", title="Only list what would be deleted"),
    },
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["s3"],
)
def fruit_features_retention() -> None:
    """Wire the task."""
    delete_unneeded()


fruit_features_retention()
