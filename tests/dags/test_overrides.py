"""A company's demands reach the cluster; what the DAG relies on does not change."""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
from airflow.sdk.exceptions import AirflowFailException

from fruit_features.budget import check_budget
from fruit_features.cluster import job_flow_request
from fruit_features.run import Run
from fruit_features.settings import ConfigError
from tests.dags.conftest import RUN_ID, task
from tests.dags.test_requests import ARTIFACTS, plan, valid

Build = Callable[..., Run]
FLEET = {
    "InstanceFleetType": "MASTER",
    "TargetOnDemandCapacity": 1,
    "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
}
GRAVITON_FLEET = {**FLEET, "InstanceFleetType": "CORE", "InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge"}]}
GROUP = {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
TYPES = {"MasterInstanceType": "m5.xlarge", "SlaveInstanceType": "m5.xlarge", "InstanceCount": 3}
GRAVITON_GROUP = {"InstanceRole": "CORE", "InstanceType": "m6g.xlarge", "InstanceCount": 1}


def request(make_run: Build, overrides: dict[str, Any]) -> dict[str, Any]:
    return valid("RunJobFlow", job_flow_request(make_run(job_flow_overrides=overrides), ARTIFACTS))


def test_nothing_changes_without_overrides(make_run: Build) -> None:
    assert request(make_run, {}) == job_flow_request(make_run(), ARTIFACTS)


def test_what_a_company_demands_is_added(make_run: Build) -> None:
    plain = job_flow_request(make_run(), ARTIFACTS)
    asked = request(
        make_run,
        {
            "SecurityConfiguration": "tls",
            "EbsRootVolumeSize": 50,
            "Tags": [{"Key": "cost-center", "Value": "7"}],
            "Instances": {"Ec2SubnetIds": ["subnet-1", "subnet-2"], "ServiceAccessSecurityGroup": "sg-1"},
            "Configurations": [
                {"Classification": "spark-defaults", "Properties": {"spark.speculation": "true"}},
                {"Classification": "core-site", "Properties": {"a": "b"}},
            ],
        },
    )

    assert (asked["SecurityConfiguration"], asked["EbsRootVolumeSize"]) == ("tls", 50)
    assert asked["Tags"] == [*plain["Tags"], {"Key": "cost-center", "Value": "7"}]
    assert asked["Instances"] == {
        **plain["Instances"],
        "Ec2SubnetIds": ["subnet-1", "subnet-2"],
        "ServiceAccessSecurityGroup": "sg-1",
    }
    properties = {one["Classification"]: one["Properties"] for one in asked["Configurations"]}
    before = {one["Classification"]: one["Properties"] for one in plain["Configurations"]}
    assert properties == {
        **before,
        "spark-defaults": {**before["spark-defaults"], "spark.speculation": "true"},
        "core-site": {"a": "b"},
    }


def test_fleets_take_the_place_of_groups_and_several_subnets_that_of_one(make_run: Build) -> None:
    overrides = {"Instances": {"InstanceFleets": [FLEET], "Ec2SubnetIds": ["subnet-1", "subnet-2"]}}
    run = make_run(job_flow_overrides=overrides, ec2_subnet_id="subnet-0")
    instances = valid("RunJobFlow", job_flow_request(run, ARTIFACTS))["Instances"]

    assert "InstanceGroups" not in instances
    assert "Ec2SubnetId" not in instances
    assert "no price known" in check_budget(run, plan())


@pytest.mark.parametrize(
    "params",
    [{}, {"task_instance_count": 1}, {"task_instance_count": 1, "max_nodes": 9}],
    ids=["groups", "fleets", "scaled"],
)
@pytest.mark.parametrize("subnet", [{"Ec2SubnetId": "subnet-1"}, {"Ec2SubnetIds": ["subnet-1", "subnet-2"]}])
@pytest.mark.parametrize("nodes", [{"InstanceGroups": [GROUP]}, {"InstanceFleets": [FLEET]}, TYPES])
def test_one_way_to_name_nodes_and_subnets_takes_the_place_of_the_others(
    make_run: Build, params: dict[str, Any], nodes: dict[str, Any], subnet: dict[str, Any]
) -> None:
    run = make_run(job_flow_overrides={"Instances": {**nodes, **subnet}}, ec2_subnet_id="subnet-0", **params)
    instances = valid("RunJobFlow", job_flow_request(run, ARTIFACTS))["Instances"]

    assert instances == {"KeepJobFlowAliveWhenNoSteps": True, "TerminationProtected": False, **nodes, **subnet}
    assert "no price known" in check_budget(run, plan())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"Name": "mine"}, "Name cannot be set, as a retry finds the run's cluster by it"),
        ({"Steps": []}, "Steps cannot be set, as each step is a task"),
        ({"Instances": {"TerminationProtected": True}}, "Instances.TerminationProtected cannot be set"),
        ({"Tags": [{"Key": "deployment", "Value": "x"}]}, "the tag 'deployment' cannot be set"),
        ({"SecurityConfig": "tls"}, 'Unknown parameter in input: "SecurityConfig"'),
        (
            {"Instances": {"InstanceFleets": [FLEET, GRAVITON_FLEET]}},
            "m6g.xlarge is Graviton and m5.xlarge is not, but all",
        ),
        (
            {"Instances": {"InstanceGroups": [GROUP, GRAVITON_GROUP]}},
            "m6g.xlarge is Graviton and m5.xlarge is not, but all",
        ),
        (
            {"Instances": {**TYPES, "SlaveInstanceType": "m6g.xlarge"}},
            "m6g.xlarge is Graviton and m5.xlarge is not, but all",
        ),
        (
            {"Instances": {"InstanceGroups": [GROUP], "InstanceFleets": [FLEET]}},
            "EMR takes one of InstanceFleets and InstanceGroups, not both",
        ),
        (
            {"Instances": {"Ec2SubnetId": "subnet-1", "Ec2SubnetIds": ["subnet-1", "subnet-2"]}},
            "EMR takes one of Ec2SubnetId and Ec2SubnetIds, not both",
        ),
        (
            {"Instances": {"MasterInstanceType": "m5.2xlarge"}},
            "Instances lacks InstanceCount, SlaveInstanceType: name all three, or InstanceGroups",
        ),
        ({"EbsRootVolumeSize": "50"}, "Invalid type for parameter EbsRootVolumeSize"),
        ({"Tags": {"team": "x"}}, "Invalid type for parameter Tags, value: .'team': 'x'., type: <class 'dict'>"),
        ({"Tags": ["x"]}, r"Invalid type for parameter Tags\[0\], value: x"),
        ({"Tags": [{"Key": ["x"], "Value": "y"}]}, r"Invalid type for parameter Tags\[\d\].Key"),
        ({"Tags": None}, "Invalid type for parameter Tags, value: None"),
        ({"Instances": None}, "Invalid type for parameter Instances, value: None"),
        ({"Instances": ["m5.xlarge"]}, "Invalid type for parameter Instances"),
        ({"Instances": {"InstanceGroups": {"MASTER": "m5.xlarge"}}}, "Invalid type for parameter Instances.InstanceGr"),
    ],
)
def test_what_the_dag_relies_on_cannot_be_overridden(make_run: Build, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^job_flow_overrides: (.|\n)*{message}"):
        job_flow_request(make_run(job_flow_overrides=overrides), ARTIFACTS)


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize("overrides", [{"Tags": {"team": "x"}}, {"Instances": None}, {"SecurityConfig": "tls"}])
def test_they_are_checked_before_anything_is_listed(make_run: Build, overrides: dict[str, Any]) -> None:
    params = make_run(bucket="nobodys-bucket", job_flow_overrides=overrides).settings.model_dump()
    with pytest.raises(AirflowFailException, match=r"^job_flow_overrides: "):
        task("find_new_images")(params, RUN_ID, MagicMock(name="task instance"))
