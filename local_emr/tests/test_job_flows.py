"""DescribeJobFlows, the oldest view of clusters."""

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from emr_client import Emr, error, step


def test_describe_job_flows_shows_clusters_with_their_steps_and_groups(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Steps=[step("false")])
    cluster_api.until(cluster, "WAITING")

    (found,) = cluster_api.client.describe_job_flows(JobFlowIds=[cluster])["JobFlows"]

    assert (found["JobFlowId"], found["Name"], found["LogUri"]) == (cluster, "test", "s3://data/logs")
    status = found["ExecutionStatusDetail"]
    assert (status["State"], status["LastStateChangeReason"]) == (
        "WAITING",
        "Cluster ready after last step completed.",
    )
    instances = found["Instances"]
    assert (instances["MasterInstanceType"], instances["SlaveInstanceType"]) == ("m5.xlarge", "m5.2xlarge")
    assert (instances["InstanceCount"], instances["KeepJobFlowAliveWhenNoSteps"]) == (3, True)
    groups = [(group["InstanceRole"], group["InstanceRunningCount"]) for group in instances["InstanceGroups"]]
    assert groups == [("MASTER", 1), ("CORE", 2)]
    (shown,) = found["Steps"]
    assert shown["ExecutionStatusDetail"]["State"] == "FAILED"
    assert shown["StepConfig"]["HadoopJarStep"]["Args"] == ["false"]


def test_describe_job_flows_has_other_names_for_the_end(cluster_api: Emr) -> None:
    terminated = cluster_api.create()
    completed = cluster_api.create(Instances={"KeepJobFlowAliveWhenNoSteps": False}, Steps=[step("true")])
    failed = cluster_api.create(Steps=[step("false", on_failure="TERMINATE_CLUSTER")])
    cluster_api.client.terminate_job_flows(JobFlowIds=[terminated])
    cluster_api.until(terminated, "TERMINATED")
    cluster_api.until(completed, "TERMINATED")
    cluster_api.until(failed, "TERMINATED_WITH_ERRORS")

    found = cluster_api.client.describe_job_flows()["JobFlows"]

    states = {job_flow["JobFlowId"]: job_flow["ExecutionStatusDetail"]["State"] for job_flow in found}
    assert states == {terminated: "TERMINATED", completed: "COMPLETED", failed: "FAILED"}


def test_describe_job_flows_filters_by_state_and_date(cluster_api: Emr) -> None:
    first, second = cluster_api.create(), cluster_api.create()
    cluster_api.until(first, "WAITING")
    cluster_api.client.terminate_job_flows(JobFlowIds=[second])
    cluster_api.until(second, "TERMINATED")
    hour = timedelta(hours=1)

    def ids(**filters) -> list[str]:
        return [found["JobFlowId"] for found in cluster_api.client.describe_job_flows(**filters)["JobFlows"]]

    assert ids(JobFlowStates=["WAITING"]) == [first]
    assert ids(CreatedAfter=datetime.now(UTC) - hour) == [second, first]
    assert ids(CreatedBefore=datetime.now(UTC) - hour) == []
    with pytest.raises(ClientError) as raised:
        ids(JobFlowIds=["j-NONE"])
    assert error(raised) == ("ValidationException", "Specified job flow ID does not exist.")
