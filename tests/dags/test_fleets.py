"""Instance fleets, Spot and managed scaling: what is asked of EMR, and what is refused before."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from fruit_features import executors
from fruit_features.cluster import job_flow_request
from fruit_features.instance_types import architecture, vcpus
from fruit_features.run import Run
from fruit_features.settings import PARAMS, ConfigError
from tests.dags.test_requests import ARTIFACTS, valid

Build = Callable[..., Run]
FAMILIES = ["m5.xlarge", "m5a.xlarge", "m6i.xlarge", "m6a.xlarge", "m5.2xlarge"]


def request(run: Run) -> dict[str, Any]:
    return valid("RunJobFlow", job_flow_request(run, ARTIFACTS))


def fleets(run: Run) -> dict[str, dict[str, Any]]:
    return {fleet["InstanceFleetType"]: fleet for fleet in request(run)["Instances"]["InstanceFleets"]}


def test_primary_and_core_are_on_demand_and_task_nodes_on_spot(make_run: Build) -> None:
    found = fleets(make_run(fleet_instance_types=FAMILIES, core_instance_count=3, task_instance_count=5))

    capacities = {
        role: (fleet.get("TargetOnDemandCapacity", 0), fleet.get("TargetSpotCapacity", 0))
        for role, fleet in found.items()
    }
    assert capacities == {"MASTER": (1, 0), "CORE": (3, 0), "TASK": (0, 5)}
    assert found["TASK"]["LaunchSpecifications"]["SpotSpecification"] == {
        "AllocationStrategy": "price-capacity-optimized",
        "TimeoutDurationMinutes": 10,
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
    }
    for role in ("CORE", "TASK"):
        assert [config["InstanceType"] for config in found[role]["InstanceTypeConfigs"]] == FAMILIES


def test_a_larger_type_weighs_as_many_of_the_smallest_as_it_has_room_for(make_run: Build) -> None:
    types = ["c7g.4xlarge", "c7g.2xlarge", "m7g.2xlarge"]
    run = make_run(
        primary_instance_type="m7g.xlarge", fleet_instance_types=types, core_instance_count=4, task_instance_count=2
    )
    configs = {config["InstanceType"]: config for config in fleets(run)["TASK"]["InstanceTypeConfigs"]}

    assert {name: config["WeightedCapacity"] for name, config in configs.items()} == {
        "c7g.2xlarge": 1,
        "m7g.2xlarge": 1,
        "c7g.4xlarge": 2,
    }
    classified = {one["Classification"]: one["Properties"] for one in request(run)["Configurations"]}
    slots = int(classified["spark-defaults"]["spark.dynamicAllocation.minExecutors"]) * executors.EXECUTOR_CORES
    assert slots == 6 * vcpus("c7g.2xlarge"), "whichever types EC2 gives"
    # YARN offers the vcores of the smallest type, and on a larger one those of that type.
    assert classified["yarn-site"] == executors.yarn_site("c7g.2xlarge")
    (larger,) = configs["c7g.4xlarge"]["Configurations"]
    assert larger == {"Classification": "yarn-site", "Properties": executors.yarn_site("c7g.4xlarge")}
    assert "Configurations" not in configs["m7g.2xlarge"]


def test_one_type_makes_a_fleet_where_there_are_task_nodes(make_run: Build) -> None:
    found = fleets(make_run(primary_instance_type="m6g.xlarge", core_instance_type="m6g.xlarge", task_instance_count=1))
    assert [config["InstanceType"] for config in found["TASK"]["InstanceTypeConfigs"]] == ["m6g.xlarge"]
    assert "InstanceFleets" not in request(make_run())["Instances"], "the default cluster has groups, as the original"


def test_a_fleet_looks_for_room_in_a_list_of_subnets(make_run: Build) -> None:
    instances = request(make_run(task_instance_count=1, ec2_subnet_id="subnet-0a1b"))["Instances"]
    assert instances["Ec2SubnetIds"] == ["subnet-0a1b"]
    assert "Ec2SubnetId" not in instances


def test_managed_scaling_adds_task_nodes_on_spot_only(make_run: Build) -> None:
    asked = request(make_run(core_instance_count=2, task_instance_count=1, max_nodes=12))
    assert asked["ManagedScalingPolicy"]["ComputeLimits"] == {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 2,
        "MaximumCapacityUnits": 12,
        "MaximumCoreCapacityUnits": 2,
        "MaximumOnDemandCapacityUnits": 2,
    }
    assert "ManagedScalingPolicy" not in request(make_run(task_instance_count=1))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"fleet_instance_types": ["m6g.xlarge", "m5.xlarge"]},
            r"^fleet_instance_types is .*: m6g.xlarge is Graviton and m5.xlarge is not: a fleet must have types of one architecture",
        ),
        (
            {"core_instance_type": "m6g.xlarge"},
            r"^primary_instance_type and core_instance_type differ: m6g.xlarge is Graviton and m5.xlarge is not, .*: set both$",
        ),
        (
            {"primary_instance_type": "c7g.xlarge", "fleet_instance_types": ["m5.xlarge"]},
            r"^primary_instance_type and fleet_instance_types differ: c7g.xlarge is Graviton and m5.xlarge is not, ",
        ),
        ({"fleet_instance_types": ["m5.xlarge", "m5.xlarge"]}, "a type is listed twice"),
        ({"fleet_instance_types": ["m5.large"]}, r"^fleet_instance_types is 'm5.large': "),
        ({"max_nodes": 8}, r"^max_nodes is set, but task_instance_count is 0: "),
        ({"max_nodes": 3, "task_instance_count": 2}, r"^max_nodes is 3: it must be at least 4, "),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(make_run: Build, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_run(**params)


@pytest.mark.parametrize(
    ("param", "value"),
    [("fleet_instance_types", ["m5.large"]), ("spot_timeout_minutes", 4), ("spot_timeout_action", "WAIT")],
)
def test_the_form_refuses_what_cannot_work(param: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        PARAMS[param].resolve(value)


@pytest.mark.parametrize("instance_type", ["m6g.xlarge", "c7gn.2xlarge", "im4gn.xlarge", "is4gen.xlarge", "a1.xlarge"])
def test_graviton_is_told_by_the_name(instance_type: str) -> None:
    assert architecture(instance_type) == "aarch64"


@pytest.mark.parametrize("instance_type", ["m5.xlarge", "g4dn.xlarge", "m7i-flex.xlarge", "r5dn.xlarge", "z1d.xlarge"])
def test_whatever_else_is_x86(instance_type: str) -> None:
    assert architecture(instance_type) == "x86_64"
