"""The note of each run of `fruit_features`: what its task `conclude_run` says of it, shown on the run's page.

A task cannot write the note of its run: Airflow's Task SDK has no such request. A listener can; the scheduler calls it when the
run ends.
"""

import re
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

REFERENCE = re.compile(r"\w+://\S+")  # what an XCom backend leaves in the database of what it keeps elsewhere
DAG_ID, TASK_ID, KEY = "fruit_features", "conclude_run", "note"


class RunNotes:
    """Writes the note of a run that has ended, unless a person has written one."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Write the note."""
        write_note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any) -> None:
        """Write the note."""
        write_note(dag_run)


def write_note(dag_run: Any) -> None:
    """Take the note from the XCom of `conclude_run`; `dag_run` belongs to the session that the scheduler commits."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if dag_run.dag_id != DAG_ID or session is None:
        return
    said = select(XComModel).where(XComModel.dag_id == DAG_ID, XComModel.run_id == dag_run.run_id)
    found = session.scalar(said.where(XComModel.task_id == TASK_ID, XComModel.key == KEY))
    if found is None:
        return
    note = XComModel.deserialize_value(found)
    if not isinstance(note, str) or REFERENCE.fullmatch(note):
        return
    if dag_run.dag_run_note is None:
        dag_run.note = note
    elif dag_run.dag_run_note.user_id is None:  # ours, of the time before the run was cleared
        dag_run.dag_run_note.content = note


class RunNotePlugin(AirflowPlugin):
    """Has Airflow call `RunNotes`."""

    name = "fruit_run_notes"
    listeners = [RunNotes()]  # noqa: RUF012
