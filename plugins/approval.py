"""A person's word before something costs money."""

from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException


class OptionalApprovalOperator(ApprovalOperator):
    """Ask for an approval if there is something to ask, else skip; go on only with a yes.

    The task waits without a worker and without a trigger. Without a yes it fails, for good: asking again would not help, and a
    run that was refused must not look like one that has succeeded.

    Args:
        body: what the person reads, in Markdown; nothing skips the task (templated).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)

    def execute(self, context: Context) -> Any:
        """Ask, or skip."""
        if not self.body:
            raise AirflowSkipException("there is nothing to approve")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on, or fail with the answer.

        Raises:
            AirflowFailException: the answer is no, or there was none in time.
        """
        try:
            return super().execute_complete(context, event)
        except HITLRejectException:
            who = (event.get("responded_by_user") or {}).get("name") or "somebody"
            raise AirflowFailException(
                f"{who} has rejected the run: nothing was created. The request was: {self.body}"
            ) from None
        except HITLTimeoutError:
            raise AirflowFailException(
                f"nobody has answered within {self.response_timeout}: nothing was created. Trigger the DAG again, and approve it "
                "under Required Actions"
            ) from None
