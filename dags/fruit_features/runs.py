"""What Airflow knows of the DAG's runs, asked from within a task."""

from collections.abc import Callable
from typing import Any

DAG_ID = "fruit_features"
ACTIVE = ["queued", "running"]


def state_of(ti: Any) -> Callable[[str], str | None]:
    """Return a function from run_id to "active" or "finished"; None for a run that does not exist.

    Args:
        ti: the task instance that asks.
    """

    def state(run_id: str) -> str | None:
        if not run_id or not ti.get_dr_count(dag_id=DAG_ID, run_ids=[run_id]):
            return None
        return "active" if ti.get_dr_count(dag_id=DAG_ID, run_ids=[run_id], states=ACTIVE) else "finished"

    return state
