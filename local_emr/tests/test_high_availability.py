"""Clusters with three primary nodes."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from emr_client import GROUPS, Emr, error

PRIMARIES = GROUPS[0] | {"InstanceCount": 3}
FLEET = {
    "InstanceFleetType": "MASTER",
    "TargetOnDemandCapacity": 3,
    "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}],
}


def test_three_primary_nodes_are_protected_and_stay(cluster_api: Emr) -> None:
    instances = {"InstanceGroups": [PRIMARIES, GROUPS[1]], "KeepJobFlowAliveWhenNoSteps": False}
    cluster = cluster_api.create(Instances=instances, AutoTerminationPolicy={"IdleTimeout": 60})
    cluster_api.until(cluster, "WAITING")

    found = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]
    primaries = cluster_api.client.list_instances(ClusterId=cluster, InstanceGroupTypes=["MASTER"])["Instances"]

    assert (found["TerminationProtected"], found["AutoTerminate"]) == (True, False)
    assert len(primaries) == 3
    assert found["MasterPublicDnsName"] == primaries[0]["PrivateDnsName"]
    assert "AutoTerminationPolicy" not in cluster_api.client.get_auto_termination_policy(ClusterId=cluster)
    with pytest.raises(ClientError) as raised:
        cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    assert "termination protected" in error(raised)[1]
    cluster_api.client.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=False)
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATED")


def test_three_primary_nodes_in_a_fleet(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Instances={"InstanceGroups": [], "InstanceFleets": [FLEET]})
    cluster_api.until(cluster, "WAITING")
    assert len(cluster_api.client.list_instances(ClusterId=cluster, InstanceFleetType="MASTER")["Instances"]) == 3
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]["TerminationProtected"] is True


@pytest.mark.parametrize(
    ("release", "instances", "message"),
    [
        ("emr-7.13.0", {"InstanceGroups": [GROUPS[0] | {"InstanceCount": 2}]}, "1 or 3"),
        ("emr-7.13.0", {"InstanceGroups": [PRIMARIES | {"Market": "SPOT"}]}, "On-Demand"),
        ("emr-5.22.0", {"InstanceGroups": [PRIMARIES]}, "emr-5.23.0"),
        ("emr-6.11.0", {"InstanceFleets": [FLEET]}, "instance fleets"),
        ("emr-7.13.0", {"InstanceFleets": [FLEET | {"TargetOnDemandCapacity": 2}]}, "1 or 3"),
        (
            "emr-7.13.0",
            {"InstanceFleets": [FLEET | {"TargetOnDemandCapacity": 2, "TargetSpotCapacity": 1}]},
            "On-Demand",
        ),
        (
            "emr-7.13.0",
            {
                "InstanceFleets": [
                    FLEET | {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 3}]}
                ]
            },
            "WeightedCapacity",
        ),
    ],
)
def test_primary_nodes_that_make_no_cluster(
    cluster_api: Emr, release: str, instances: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.create(ReleaseLabel=release, Instances={"InstanceGroups": []} | instances)
    code, text = error(raised)
    assert code == "ValidationException"
    assert message in text


def test_a_running_cluster_keeps_its_number_of_primary_nodes(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    cluster_api.until(cluster, "WAITING")
    primary = cluster_api.client.list_instance_groups(ClusterId=cluster)["InstanceGroups"][0]["Id"]
    with pytest.raises(ClientError) as raised:
        cluster_api.client.modify_instance_groups(InstanceGroups=[{"InstanceGroupId": primary, "InstanceCount": 3}])
    assert error(raised) == ("ValidationException", "The number of primary nodes cannot be changed.")
    with pytest.raises(ClientError) as raised:
        cluster_api.client.add_instance_groups(JobFlowId=cluster, InstanceGroups=[PRIMARIES])
    assert error(raised)[0] == "ValidationException"


def test_a_running_fleet_keeps_its_number_of_primary_nodes(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Instances={"InstanceGroups": [], "InstanceFleets": [FLEET]})
    (fleet,) = cluster_api.client.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    change = {"InstanceFleetId": fleet["Id"], "TargetOnDemandCapacity": 3}
    cluster_api.client.modify_instance_fleet(ClusterId=cluster, InstanceFleet=change)
    with pytest.raises(ClientError) as raised:
        cluster_api.client.modify_instance_fleet(
            ClusterId=cluster, InstanceFleet=change | {"TargetOnDemandCapacity": 1}
        )
    assert error(raised)[0] == "ValidationException"
