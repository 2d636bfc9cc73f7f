"""Auto-scaling policies: put, shown in the instance groups, removed."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from emr_client import GROUPS, Emr, error

ALARM = {
    "ComparisonOperator": "LESS_THAN",
    "MetricName": "YARNMemoryAvailablePercentage",
    "Period": 300,
    "Threshold": 15.0,
}
RULE = {
    "Name": "out",
    "Action": {"SimpleScalingPolicyConfiguration": {"ScalingAdjustment": 1, "AdjustmentType": "CHANGE_IN_CAPACITY"}},
    "Trigger": {"CloudWatchAlarmDefinition": ALARM},
}
POLICY = {"Constraints": {"MinCapacity": 1, "MaxCapacity": 4}, "Rules": [RULE]}


def groups(api: Emr, cluster: str) -> list[dict[str, Any]]:
    return api.client.list_instance_groups(ClusterId=cluster)["InstanceGroups"]


def test_a_policy_is_put_shown_and_removed(cluster_api: Emr) -> None:
    cluster = cluster_api.create(AutoScalingRole="EMR_AutoScaling_DefaultRole")
    core = groups(cluster_api, cluster)[1]["Id"]
    which = {"ClusterId": cluster, "InstanceGroupId": core}

    answer = cluster_api.client.put_auto_scaling_policy(**which, AutoScalingPolicy=POLICY)

    assert (answer["ClusterId"], answer["InstanceGroupId"]) == (cluster, core)
    assert answer["ClusterArn"].endswith(f":cluster/{cluster}")
    assert answer["AutoScalingPolicy"]["Status"]["State"] == "PENDING"
    cluster_api.until(cluster, "WAITING")
    primary, group = groups(cluster_api, cluster)
    assert "AutoScalingPolicy" not in primary
    shown = group["AutoScalingPolicy"]
    assert shown["Status"]["State"] == "ATTACHED"
    assert shown["Constraints"] == POLICY["Constraints"]
    defaults = {"EvaluationPeriods": 1, "Namespace": "AWS/ElasticMapReduce", "Statistic": "AVERAGE"}
    dimensions = {"Dimensions": [{"Key": "JobFlowId", "Value": cluster}]}
    (rule,) = shown["Rules"]
    assert rule == RULE | {"Trigger": {"CloudWatchAlarmDefinition": ALARM | defaults | dimensions}}
    cluster_api.client.remove_auto_scaling_policy(**which)
    assert "AutoScalingPolicy" not in groups(cluster_api, cluster)[1]


def test_a_policy_given_with_its_group(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Instances={"InstanceGroups": [GROUPS[0], GROUPS[1] | {"AutoScalingPolicy": POLICY}]})
    assert groups(cluster_api, cluster)[1]["AutoScalingPolicy"]["Constraints"] == POLICY["Constraints"]
    with pytest.raises(ClientError) as raised:
        cluster_api.create(Instances={"InstanceGroups": [GROUPS[0] | {"AutoScalingPolicy": POLICY}]})
    assert "master instance group" in error(raised)[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Constraints": {"MinCapacity": 5, "MaxCapacity": 4}}, "MinCapacity"),
        ({"Rules": []}, "at least one rule"),
        ({"Rules": [RULE, RULE]}, "different names"),
    ],
)
def test_policies_that_make_no_sense(cluster_api: Emr, changes: dict[str, Any], message: str) -> None:
    cluster = cluster_api.create()
    core = groups(cluster_api, cluster)[1]["Id"]
    with pytest.raises(ClientError) as raised:
        cluster_api.client.put_auto_scaling_policy(
            ClusterId=cluster, InstanceGroupId=core, AutoScalingPolicy=POLICY | changes
        )
    code, text = error(raised)
    assert code == "ValidationException"
    assert message in text


def test_a_group_of_another_cluster(cluster_api: Emr) -> None:
    cluster, other = cluster_api.create(), cluster_api.create()
    core = groups(cluster_api, other)[1]["Id"]
    with pytest.raises(ClientError) as raised:
        cluster_api.client.put_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=core, AutoScalingPolicy=POLICY)
    assert error(raised)[0] == "InvalidRequestException"
