"""What EMR refuses of instance fleets, from InstanceFleetConfig of the API reference and "Configure instance fleets"."""

from collections import Counter
from typing import Any

from local_emr.emr.errors import ValidationError

MAX_TYPES = 5
MAX_TYPES_WITH_STRATEGY = 30
SPOT_TIMEOUT_MINUTES = range(5, 1440 + 1)


def check_fleets(fleets: list[dict[str, Any]]) -> None:
    """Check the InstanceFleets of RunJobFlow: one of each type at most, and each by itself."""
    for role, count in Counter(fleet["InstanceFleetType"] for fleet in fleets).items():
        if count > 1:
            raise ValidationError(f"A cluster can have only one instance fleet of type {role}.")
    for fleet in fleets:
        check_fleet(fleet)


def check_fleet(fleet: dict[str, Any]) -> None:
    """Check an InstanceFleetConfig of RunJobFlow or AddInstanceFleet.

    Raises:
        ValidationError: EMR would not make it.
    """
    role, configs = fleet["InstanceFleetType"], fleet.get("InstanceTypeConfigs", [])
    if not fleet.get("TargetOnDemandCapacity", 0) + fleet.get("TargetSpotCapacity", 0):
        raise ValidationError(
            f"At least one of TargetSpotCapacity and TargetOnDemandCapacity of the {role} fleet should be greater than 0."
        )
    most = MAX_TYPES_WITH_STRATEGY if _has_strategy(fleet) else MAX_TYPES
    if len(configs) > most:
        raise ValidationError(f"The {role} fleet has {len(configs)} instance types, more than {most}.")
    types = [config["InstanceType"] for config in configs]
    if len(set(types)) < len(types):
        raise ValidationError(f"The {role} fleet names an instance type twice.")
    if any(config.get("WeightedCapacity", 1) < 1 for config in configs):
        raise ValidationError(f"WeightedCapacity in the {role} fleet must be 1 or greater.")
    _check_launch(fleet.get("LaunchSpecifications", {}))


def _has_strategy(fleet: dict[str, Any]) -> bool:
    return any("AllocationStrategy" in part for part in fleet.get("LaunchSpecifications", {}).values())


def _check_launch(specifications: dict[str, Any]) -> None:
    minutes = specifications.get("SpotSpecification", {}).get("TimeoutDurationMinutes", SPOT_TIMEOUT_MINUTES[0])
    if minutes not in SPOT_TIMEOUT_MINUTES:
        least, most = SPOT_TIMEOUT_MINUTES[0], SPOT_TIMEOUT_MINUTES[-1]
        raise ValidationError(f"TimeoutDurationMinutes must be from {least} to {most}, not {minutes}.")
