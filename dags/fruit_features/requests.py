"""Everything that a run asks of EMR, built in one place and shown as an XCom."""

from typing import Any

from fruit_features.cluster import job_flow_request
from fruit_features.interactive import reason_to_keep
from fruit_features.run import Plan, Run
from fruit_features.steps import step_requests


def emr_requests(run: Run, plan: Plan, artifacts: dict[str, str]) -> dict[str, Any]:
    """Return the requests by the name of the task that sends them, and what else they need of the run.

    Args:
        run: of the DAG.
        plan: what it has to do.
        artifacts: s3:// URI of each deployed file, by name.
    """
    markers = run.layout.extraction_markers if plan.unfinished else run.layout.success_markers
    create_cluster = job_flow_request(run, artifacts)
    return {
        "create_cluster": create_cluster,
        "log_uri": create_cluster.get("LogUri"),
        **step_requests(run, artifacts, plan),
        "reason_to_keep": reason_to_keep(run),
        "progress_uri": run.layout.progress.uri,
        "outputs": [marker.uri for marker in markers],
    }
