"""Operations on steps."""

from local_emr.emr import validation
from local_emr.emr.cluster import CLOSING_STATES, Cluster
from local_emr.emr.errors import InvalidRequestError
from local_emr.emr.registry import Answer, Registry, Request, page
from local_emr.emr.step import Step


class StepOperations:
    """Operations on steps."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def add_job_flow_steps(self, request: Request, region: str) -> Answer:
        """Add steps to a cluster that is not closing."""
        cluster = self._registry.job_flow(request["JobFlowId"], region).cluster
        with self._registry.changing(cluster):
            validation.check_steps(request["Steps"], cluster.step_concurrency)
            validation.check_active_steps(sum(not step.is_final for step in cluster.steps) + len(request["Steps"]))
            steps = [Step.from_request(step, request.get("ExecutionRoleArn")) for step in request["Steps"]]
            cluster.steps += steps
            cluster.wake()
        return {"StepIds": [step.id for step in steps]}

    def describe_step(self, request: Request, region: str) -> Answer:
        """Show one step."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        with cluster.lock:
            return {"Step": _step(cluster, request["StepId"]).description()}

    def list_steps(self, request: Request, region: str) -> Answer:
        """List steps, latest first."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        ids, states = request.get("StepIds", []), set(request.get("StepStates", []))
        validation.check_step_filter(ids, states)
        with cluster.lock:
            for step_id in ids:
                _step(cluster, step_id)
            found = [
                step.summary()
                for step in reversed(cluster.steps)
                if (not ids or step.id in ids) and (not states or step.state in states)
            ]
        return page("Steps", found, request)

    def cancel_steps(self, request: Request, region: str) -> Answer:
        """Cancel pending and running steps."""
        lifecycle = self._registry.lifecycle(request["ClusterId"], region)
        cluster = lifecycle.cluster
        graceful = request.get("StepCancellationOption", "SEND_INTERRUPT") == "SEND_INTERRUPT"
        answers = []
        with cluster.lock:
            if cluster.state in CLOSING_STATES:
                raise InvalidRequestError("Cannot cancel steps of a cluster that is shutting down or terminated.")
            for step in [_step(cluster, step_id) for step_id in request["StepIds"]]:
                problem = lifecycle.steps.cancel(step, graceful=graceful)
                answers.append({"StepId": step.id, "Status": "FAILED" if problem else "SUBMITTED", "Reason": problem})
            self._registry.context.save(cluster)
        return {"CancelStepsInfoList": answers}


def _step(cluster: Cluster, step_id: str) -> Step:
    """Return the step of that id.

    Raises:
        InvalidRequestError: there is none.
    """
    step = cluster.step(step_id)
    if step is None:
        raise InvalidRequestError(f"Step id '{step_id}' is not valid.")
    return step
