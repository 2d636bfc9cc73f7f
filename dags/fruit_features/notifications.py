"""Who is told when a run fails or takes too long: one HTTP connection of Airflow, which any chat or pager can be.

Airflow's own notifier sends, so that address and credentials are a connection's. Nothing is sent without FRUITS_NOTIFY_CONN.
"""

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import Context
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from fruit_features import config
from fruit_features.runs import DAG_ID
from fruit_features.xcoms import FAILURE

if TYPE_CHECKING:
    from airflow.providers.http.notifications.http import HttpNotifier

log = logging.getLogger(__name__)

FAILED = """\
Fruit features: run {{ run_id }} has failed
{{ exception | default('the worker of ' ~ ti.task_id ~ ' was lost, or never started it', true) }}
What to do: fix what the failed task's log names, then clear that task, or trigger the DAG again. Extracted features are kept, \
and results/latest.json still names the previous run.
{{ ti.log_url }}"""
JANITOR_FAILED = """\
Fruit features: {{ ti.task_id }} of the janitor's run {{ run_id }} has failed
{{ exception | default('the worker of ' ~ ti.task_id ~ ' was lost, or never started it', true) }}
What to do: see its log. Until the janitor works again, look for leftover clusters in EMR's own list.
{{ ti.log_url }}"""
LATE = """\
Fruit features: run {{ dag_run.dag_run_id }} has not finished after {{ hours }} h
What to do: see which task is running. A paused DAG continues, and ends its cluster, only after it is unpaused; a hung step is \
stopped after step_timeout_hours; marking the run as failed stops everything.
{{ url }}/{{ dag_run.dag_run_id | urlencode }}"""


def on_failure(text: str = FAILED) -> "list[HttpNotifier]":
    """Return what tells of a failed run, as callbacks of the task that judges it.

    Args:
        text: a template.
    """
    return [_notifier()(http_conn_id=config.NOTIFY_CONN, json={"text": text})] if config.NOTIFY_CONN else []


def deadline() -> list[DeadlineAlert] | None:
    """Return what tells of a run that is not over in time, counted from when it was queued."""
    if not config.NOTIFY_CONN or not config.DEADLINE_HOURS:
        return None
    text = LATE.replace("{{ hours }}", f"{config.DEADLINE_HOURS:g}").replace("{{ url }}", _runs_url())
    return [
        DeadlineAlert(
            name="late",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(hours=config.DEADLINE_HOURS),
            callback=AsyncCallback(_notifier(), {"http_conn_id": config.NOTIFY_CONN, "json": {"text": text}}),
        )
    ]


def remember_failure(context: Context) -> None:
    """Say why a task has failed, below Airflow's traceback, and keep it for the task that judges the run.

    The logs of other tasks are out of that one's reach. Of a task whose worker was lost nothing is kept: the DAG processor calls
    back, knows no exception, and does not answer who pushes.
    """
    if "exception" not in context:
        log.error("its worker was lost, or never started it")
        return
    exception: Any = context["exception"]
    lines = str(exception or "no exception").strip().splitlines()
    log.error("%s", exception)
    context["ti"].xcom_push(key=FAILURE, value=lines[0] if lines else type(exception).__name__)


def _runs_url() -> str:
    return f"{conf.get('api', 'base_url', fallback='http://localhost:8080').rstrip('/')}/dags/{DAG_ID}/runs"


def _notifier() -> "type[HttpNotifier]":
    from airflow.providers.http.notifications.http import HttpNotifier  # aiohttp: only where it is used

    return HttpNotifier
