"""One connection of Airflow is told of failed and late runs, over real HTTP. (A live Airflow: test_live_airflow.py.)"""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.triggers.callback import CallbackTrigger

from fruit_features import config, notifications
from tests.conftest import PROJECT
from tests.webhook import Messages


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messages]:
    with Messages() as messages:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "http", "host": messages.url}))
        monkeypatch.setattr(config, "NOTIFY_CONN", "chat")
        monkeypatch.setattr(config, "DEADLINE_HOURS", 2.0)
        yield messages


def test_without_a_connection_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "NOTIFY_CONN", None)
    monkeypatch.setattr(config, "DEADLINE_HOURS", 2.0)
    assert notifications.on_failure() == []
    assert notifications.deadline() is None


def test_a_failed_run_is_told_of_with_the_cause_and_a_link(told: Messages) -> None:
    (notifier,) = notifications.on_failure()
    context: Any = {
        "run_id": "manual__1",
        "exception": ValueError("the run has failed in extract_features: step s-1 is FAILED: ValueError: no"),
        "ti": SimpleNamespace(log_url="http://airflow/dags/fruit_features/runs/manual__1/tasks/conclude_run"),
    }
    notifier(context)

    (text,) = told.texts
    first, cause, advice, link = text.splitlines()
    assert first == "Fruit features: run manual__1 has failed"
    assert cause == "the run has failed in extract_features: step s-1 is FAILED: ValueError: no"
    assert advice.startswith("What to do: ")
    assert link == context["ti"].log_url


def test_a_janitor_that_fails_is_told_of(told: Messages) -> None:
    janitor = DagBag(PROJECT / "dags").dags["fruit_features_janitor"].get_task("end_clusters")
    (notifier,) = janitor.on_failure_callback
    ti = SimpleNamespace(task_id="end_clusters", log_url="http://airflow/log")
    notifier({"run_id": "scheduled__1", "exception": ValueError("1 of 2 clusters could not be ended"), "ti": ti})

    (text,) = told.texts
    first, cause, advice, link = text.splitlines()
    assert first == "Fruit features: end_clusters of the janitor's run scheduled__1 has failed"
    assert cause == "1 of 2 clusters could not be ended"
    assert advice.startswith("What to do: ")
    assert link == ti.log_url


@pytest.mark.parametrize("text", [notifications.FAILED, notifications.JANITOR_FAILED])
def test_the_loss_of_a_worker_in_the_last_try_is_told_of(told: Messages, text: str) -> None:
    """The DAG processor calls back then, which knows of no exception."""
    (notifier,) = notifications.on_failure(text)
    ti = SimpleNamespace(task_id="conclude_run", log_url="http://airflow/log")
    notifier({"run_id": "manual__1", "ti": ti, "dag": DAG("fruits", schedule=None)})

    (said,) = told.texts
    assert said.splitlines()[1] == "the worker of conclude_run was lost, or never started it"


def test_a_callback_in_the_dag_processor_pushes_nothing() -> None:
    """That does not answer a push: the callback would hang, and all others behind it."""
    ti = MagicMock(name="task instance")
    notifications.remember_failure({"ti": ti})  # type: ignore[typeddict-item]
    ti.xcom_push.assert_not_called()


def test_a_late_run_is_told_of_by_the_triggerer(told: Messages) -> None:
    alerts = notifications.deadline()
    assert alerts
    assert alerts[0].interval == timedelta(hours=2)
    callback = alerts[0].callback
    context = {"dag_run": {"dag_run_id": "scheduled__2026-11-22T03:00:00+00:00"}, "deadline": {}}

    async def run() -> list[Any]:
        trigger = CallbackTrigger(callback.path, {**callback.kwargs, "context": context})
        return [event.payload["state"] async for event in trigger.run()]

    assert asyncio.run(run())[-1] == "success"
    (text,) = told.texts
    assert text.startswith(
        "Fruit features: run scheduled__2026-11-22T03:00:00+00:00 has not finished after 2 h\nWhat to do: "
    )
    assert text.endswith("/dags/fruit_features/runs/scheduled__2026-11-22T03%3A00%3A00%2B00%3A00")


def test_no_deadline_without_hours(told: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEADLINE_HOURS", 0)
    assert notifications.on_failure()
    assert notifications.deadline() is None


@pytest.mark.parametrize(
    ("exception", "kept"), [(ValueError("first\nsecond"), "first"), (KeyError(), "KeyError"), (None, "no exception")]
)
def test_the_first_line_of_an_error_is_kept_for_the_task_that_judges_the_run(exception: Any, kept: str) -> None:
    ti = MagicMock(name="task instance")
    notifications.remember_failure({"ti": ti, "exception": exception})  # type: ignore[typeddict-item]
    ti.xcom_push.assert_called_once_with(key="failure", value=kept)
