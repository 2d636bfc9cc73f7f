"""What the plugins keep in Airflow's own database, and read there: the note of a run, its duration and cost."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import results_plugin
from run_note_plugin import RunNotes

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN_ID = "manual__2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def _database() -> None:
    subprocess.run([Path(sys.executable).with_name("airflow"), "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def session(_database: None) -> Iterator[Any]:
    """A session with a run of the DAG that took 90 s."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as made:
        made.execute(text("PRAGMA foreign_keys = OFF"))  # the run's tasks do not matter here
        run = DagRun("fruit_features", RUN_ID, run_after=START, start_date=START, run_type="manual", state="success")
        run.end_date = START + timedelta(seconds=90)
        run.triggered_by = "REST_API"
        made.add(run)
        made.flush()
        yield made
        made.rollback()


def push(session: Any, key: str, value: Any, task_id: str = "conclude_run") -> None:
    from airflow.models.xcom import XComModel

    XComModel.set(key, value, dag_id="fruit_features", task_id=task_id, run_id=RUN_ID, session=session)


def a_run(session: Any) -> Any:
    from airflow.models.dagrun import DagRun

    session.flush()
    session.expire_all()
    return session.query(DagRun).filter_by(run_id=RUN_ID).one()


def test_the_note_is_what_the_run_says_and_follows_it_when_it_is_cleared(session: Any) -> None:
    for said in ("failed in extract_features: no memory", "350 new images of 354"):
        push(session, "note", said)
        RunNotes().on_dag_run_success(a_run(session))

        assert a_run(session).note == said


def test_the_note_of_a_person_stays(session: Any) -> None:
    from airflow.models.dagrun import DagRunNote

    a_run(session).dag_run_note = DagRunNote("for the annual report", user_id="7")
    push(session, "note", "350 new images of 354")
    RunNotes().on_dag_run_failed(a_run(session))

    assert a_run(session).note == "for the annual report"


@pytest.mark.parametrize("reference", ["s3://xcoms/fruit_features/1/conclude_run/4f.gz", ["s3", "xcoms"]])
def test_what_an_xcom_backend_keeps_elsewhere_is_no_note(session: Any, reference: Any) -> None:
    push(session, "note", reference)
    RunNotes().on_dag_run_success(a_run(session))

    assert not a_run(session).note


def test_other_runs_have_no_note_of_ours(session: Any) -> None:
    RunNotes().on_dag_run_success(a_run(session))  # nothing was said
    assert not a_run(session).note


@pytest.mark.parametrize(
    ("figures", "estimate", "known"),
    [
        (
            {"cluster": "j-1", "hours": 0.5, "cost_usd": 0.41, "cost_usd_per_1000": 0.0123},
            {"usd": 0.2, "words": "$0.20 (0.2 h of 3 x m5.xlarge)"},
            {"cost_usd": 0.41, "cost_usd_per_1000": 0.0123, "estimate": "$0.20 (0.2 h of 3 x m5.xlarge)"},
        ),
        (None, None, {"cost_usd": None, "cost_usd_per_1000": None, "estimate": None}),  # a run of an earlier version
        # An XCom backend keeps them elsewhere.
        ("s3://xcoms/a", ["s3://xcoms/b"], {"cost_usd": None, "cost_usd_per_1000": None, "estimate": None}),
    ],
)
def test_the_results_page_knows_duration_cost_and_estimate(
    session: Any, monkeypatch: pytest.MonkeyPatch, figures: Any, estimate: Any, known: dict[str, Any]
) -> None:
    if figures:
        push(session, "figures", figures)
        push(session, "estimate", estimate, "find_new_images")

    monkeypatch.setattr("airflow.utils.session.create_session", lambda: contextlib.nullcontext(session))
    name = "manual__2026-01-01T00-00-00-00-00"
    assert results_plugin.records([name, "another"]) == {name: {"seconds": 90.0, **known}}


def test_what_other_runs_have_said_is_not_read(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.xcom import XComModel

    push(session, "figures", {"cost_usd": 0.41})
    monkeypatch.setattr("airflow.utils.session.create_session", lambda: contextlib.nullcontext(session))
    monkeypatch.setattr(XComModel, "deserialize_value", lambda _: pytest.fail("an XCom was read"))

    assert results_plugin.records(["another"]) == {}
