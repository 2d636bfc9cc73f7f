"""The sensor waits until a cluster accepts steps, and fails for good when it never will."""

import time
from datetime import timedelta
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException

import emr_bootstrap_log
from emr_sensors import EmrClusterReadySensor
from local_emr import LocalEmr, Timing
from local_emr.emr.bootstrap import can_isolate


def sensor(cluster_id: str) -> EmrClusterReadySensor:
    return EmrClusterReadySensor(task_id="wait_for_cluster", job_flow_id=cluster_id, region_name="eu-west-3")


@pytest.mark.parametrize("timing", [Timing(starting=3, bootstrapping=0.05, terminating=0.05)])
def test_a_cluster_is_ready_when_it_waits_for_steps(emr: Any, job_flow: dict[str, Any], context: Any) -> None:
    waiting = sensor("j-LATER")
    assert waiting.hook.conn  # making a client takes seconds on a busy machine, in which the cluster would be up
    cluster_id = waiting.job_flow_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    assert not waiting.poke(context)

    emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert sensor(cluster_id).poke(context)


def test_a_cluster_that_never_starts_is_not_waited_for_again(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    aws.faults.add(fault="no-capacity", times=1)
    cluster_id = emr.run_job_flow(**job_flow)["JobFlowId"]
    with pytest.raises(Exception, match="Waiter ClusterRunning failed"):
        emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    with pytest.raises(
        AirflowFailException, match=rf"^cluster {cluster_id} is TERMINATED_WITH_ERRORS, INTERNAL_ERROR: "
    ):
        sensor(cluster_id).poke(context)


def broken_cluster(emr: Any, job_flow: dict[str, Any]) -> str:
    """A cluster whose bootstrap script fails; return its id when it has ended."""
    script = "#!/bin/bash\necho 'Collecting tensorflow' >&2\necho 'ERROR: No matching distribution found for tensorflow' >&2\nexit 1\n"
    boto3.client("s3").put_object(Bucket="orchard", Key="bootstrap.sh", Body=script.encode())
    action = {"Name": "install", "ScriptBootstrapAction": {"Path": "s3://orchard/bootstrap.sh"}}
    cluster_id = emr.run_job_flow(**job_flow, BootstrapActions=[action])["JobFlowId"]
    with pytest.raises(Exception, match="Waiter ClusterRunning failed"):
        emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    deadline = time.monotonic() + 60
    while "EndDateTime" not in emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["Timeline"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return cluster_id


@pytest.mark.skipif(not can_isolate(), reason="no user namespaces on this system: bootstrap scripts are not run")
def test_a_node_that_cannot_be_set_up_is_quoted_once_its_log_is_there(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any
) -> None:
    cluster_id = broken_cluster(emr, job_flow)
    late = aws.faults.add(fault="s3-error", status=404, method="HEAD", key="logs/*", times=1)  # EMR copies it later
    assert not sensor(cluster_id).poke(context), "neither a worker nor the cluster waits with it"
    assert late.hits == 1

    with pytest.raises(AirflowFailException) as failure:
        sensor(cluster_id).poke(context)
    first, says, log = str(failure.value).splitlines()
    assert first.startswith(f"cluster {cluster_id} is TERMINATED_WITH_ERRORS, BOOTSTRAP_FAILURE: ")
    assert says == "  the node says: ERROR: No matching distribution found for tensorflow"
    assert log.startswith(f"  log: s3://orchard/logs/{cluster_id}/node/i-")


@pytest.mark.skipif(not can_isolate(), reason="no user namespaces on this system: bootstrap scripts are not run")
def test_a_nodes_log_that_never_comes_is_not_waited_for_for_ever(
    aws: LocalEmr, emr: Any, job_flow: dict[str, Any], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster_id = broken_cluster(emr, job_flow)
    aws.faults.add(fault="s3-error", status=404, method="HEAD", key="logs/*")
    assert not sensor(cluster_id).poke(context)
    monkeypatch.setattr(emr_bootstrap_log, "COPY_TIMEOUT", timedelta())

    with pytest.raises(AirflowFailException, match=r"the node says: no log at s3://orchard/logs/"):
        sensor(cluster_id).poke(context)
