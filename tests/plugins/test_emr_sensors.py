"""The sensor waits until a cluster accepts steps, and fails for good when it never will."""

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from emr_sensors import EmrClusterReadySensor
from local_emr import LocalEmr, Timing


def sensor(cluster_id: str) -> EmrClusterReadySensor:
    return EmrClusterReadySensor(task_id="wait_for_cluster", job_flow_id=cluster_id, region_name="eu-west-3")


@pytest.mark.parametrize("timing", [Timing(starting=3, bootstrapping=0.05, terminating=0.05)])
def test_a_cluster_is_ready_when_it_waits_for_steps(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    assert not sensor(cluster_id).poke(context)

    emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert sensor(cluster_id).poke(context)


def test_a_cluster_that_never_starts_is_not_waited_for_again(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    aws.faults.add(fault="no-capacity", times=1)
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    with pytest.raises(Exception, match="Waiter ClusterRunning failed"):
        emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    with pytest.raises(AirflowFailException, match=rf"^cluster {cluster_id} is TERMINATED_WITH_ERRORS for code: "):
        sensor(cluster_id).poke(context)
