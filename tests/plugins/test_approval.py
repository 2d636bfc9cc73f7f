"""A person is asked only where there is something to ask, and only a yes lets a run go on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from approval import OptionalApprovalOperator


def ask(body: str | None = "about $14") -> OptionalApprovalOperator:
    return OptionalApprovalOperator(
        task_id="approve_cost", subject="May it?", body=body, response_timeout=timedelta(hours=24)
    )


def answer(option: str) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "Ada"},
        "timedout": False,
    }


@pytest.mark.parametrize("body", ["", None])
def test_nobody_is_asked_where_there_is_nothing_to_approve(body: str | None, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException):
        ask(body).execute(context)


def test_a_yes_lets_the_run_go_on(context: dict[str, Any]) -> None:
    assert ask().execute_complete(context, answer("Approve"))["chosen_options"] == ["Approve"]


def test_a_no_fails_for_good_and_says_who_and_what(context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match=r"^Ada has rejected the run: nothing was created. .*about \$14"):
        ask().execute_complete(context, answer("Reject"))


def test_no_answer_in_time_is_no_yes(context: dict[str, Any]) -> None:
    # What Airflow's scheduler sends when the time has passed.
    event = {"error": "The Human-in-the-loop response timeout has passed without a response.", "error_type": "timeout"}
    with pytest.raises(AirflowFailException, match=r"^nobody has answered within 1 day, 0:00:00: nothing was created"):
        ask().execute_complete(context, event)
