"""Settings -> instance fleets and managed scaling of a RunJobFlow request.

Primary and core nodes are On-Demand: losing them ends the cluster, or costs it its data. Spot is for task nodes, whose work
Spark does again elsewhere. Capacities count nodes of the fleet's smallest type; a larger one weighs as many as its vCPUs.
"""

from typing import TYPE_CHECKING

from fruit_features import executors
from fruit_features.cluster_settings import ClusterSettings
from fruit_features.instance_types import vcpus

if TYPE_CHECKING:
    from mypy_boto3_emr.type_defs import (
        InstanceFleetConfigTypeDef,
        InstanceTypeConfigTypeDef,
        ManagedScalingPolicyTypeDef,
    )


def instance_fleets(settings: ClusterSettings) -> "list[InstanceFleetConfigTypeDef]":
    """Return the fleets: primary, core and, if there are any, task nodes."""
    fleets: list[InstanceFleetConfigTypeDef] = [
        {
            "Name": "Primary",
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [{"InstanceType": settings.primary_instance_type}],
        },
        {
            "Name": "Core",
            "InstanceFleetType": "CORE",
            "TargetOnDemandCapacity": settings.core_instance_count,
            "InstanceTypeConfigs": _types(settings),
            "LaunchSpecifications": {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}},
        },
    ]
    if settings.task_instance_count:
        fleets.append(_spot_fleet(settings))
    return fleets


def managed_scaling(settings: ClusterSettings) -> "ManagedScalingPolicyTypeDef":
    """Return the policy that lets EMR add task nodes on Spot: the core nodes stay as they are."""
    assert settings.max_nodes is not None
    return {
        "ComputeLimits": {
            "UnitType": "InstanceFleetUnits",
            "MinimumCapacityUnits": settings.core_instance_count,
            "MaximumCapacityUnits": settings.max_nodes,
            "MaximumCoreCapacityUnits": settings.core_instance_count,
            "MaximumOnDemandCapacityUnits": settings.core_instance_count,
        }
    }


def _spot_fleet(settings: ClusterSettings) -> "InstanceFleetConfigTypeDef":
    return {
        "Name": "Task",
        "InstanceFleetType": "TASK",
        "TargetSpotCapacity": settings.task_instance_count,
        "InstanceTypeConfigs": _types(settings),
        "LaunchSpecifications": {
            "SpotSpecification": {
                "AllocationStrategy": "price-capacity-optimized",
                "TimeoutDurationMinutes": settings.spot_timeout_minutes,
                "TimeoutAction": settings.spot_timeout_action,
            }
        },
    }


def _types(settings: ClusterSettings) -> "list[InstanceTypeConfigTypeDef]":
    """Return each type with its weight, and YARN's vcores where they are more than the smallest type's."""
    unit = vcpus(settings.smallest_worker)
    types: list[InstanceTypeConfigTypeDef] = []
    for each in sorted(settings.worker_types, key=vcpus):
        config: InstanceTypeConfigTypeDef = {"InstanceType": each, "WeightedCapacity": vcpus(each) // unit}
        if vcpus(each) > unit:
            config["Configurations"] = [{"Classification": "yarn-site", "Properties": executors.yarn_site(each)}]
        types.append(config)
    return types
