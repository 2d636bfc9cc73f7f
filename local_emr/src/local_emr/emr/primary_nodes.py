"""The primary nodes of a cluster: one, or three for high availability.

From "Plan and configure primary nodes" and "Launch an Amazon EMR cluster with multiple primary nodes" of the Amazon EMR
Management Guide.
"""

from typing import Any

from local_emr.emr import releases
from local_emr.emr.errors import ValidationError

HIGH_AVAILABILITY = 3
MINIMUM_RELEASE_OF_GROUPS = "5.23.0"
# Each minor release that has it got it in a patch release; all of them from 6.12.0 on.
RELEASES_OF_FLEETS = ("5.36.1", "6.8.1", "6.9.1", "6.10.1", "6.11.1")
MINIMUM_RELEASE_OF_FLEETS = "6.12.0"


def check(instances: dict[str, Any], release: str) -> None:
    """Check the primary nodes of RunJobFlow's Instances.

    Raises:
        ValidationError: EMR would not make them.
    """
    if instances.get("InstanceGroups"):
        groups = [group for group in instances["InstanceGroups"] if group["InstanceRole"] == "MASTER"]
        if len(groups) != 1 or groups[0]["InstanceCount"] not in {1, HIGH_AVAILABILITY}:
            raise ValidationError("A cluster needs exactly one master instance group, of 1 or 3 instances.")
        if groups[0]["InstanceCount"] == HIGH_AVAILABILITY:
            _check_group(groups[0], release)
    if instances.get("InstanceFleets"):
        fleets = [fleet for fleet in instances["InstanceFleets"] if fleet["InstanceFleetType"] == "MASTER"]
        if len(fleets) != 1:
            raise ValidationError("A cluster needs exactly one master instance fleet.")
        on_demand, spot = (fleets[0].get(f"Target{market}Capacity", 0) for market in ("OnDemand", "Spot"))
        if on_demand + spot not in {1, HIGH_AVAILABILITY}:
            raise ValidationError("The target capacity of the master instance fleet must be 1 or 3.")
        if on_demand + spot == HIGH_AVAILABILITY:
            _check_fleet(fleets[0], release)


def are_three(instances: dict[str, Any]) -> bool:
    """Return whether checked Instances ask for three primary nodes."""
    groups = [group for group in instances.get("InstanceGroups") or [] if group["InstanceRole"] == "MASTER"]
    fleets = [fleet for fleet in instances.get("InstanceFleets") or [] if fleet["InstanceFleetType"] == "MASTER"]
    counts = [group["InstanceCount"] for group in groups] + [fleet.get("TargetOnDemandCapacity", 0) for fleet in fleets]
    return HIGH_AVAILABILITY in counts


def _check_group(group: dict[str, Any], release: str) -> None:
    if group.get("Market", "ON_DEMAND") != "ON_DEMAND":
        raise ValidationError("Three primary nodes must be On-Demand Instances.")
    if not releases.at_least(release, MINIMUM_RELEASE_OF_GROUPS):
        raise ValidationError(f"Three primary nodes need emr-{MINIMUM_RELEASE_OF_GROUPS} or later, not {release}.")


def _check_fleet(fleet: dict[str, Any], release: str) -> None:
    if fleet.get("TargetSpotCapacity", 0):
        raise ValidationError("Three primary nodes must be On-Demand Instances.")
    if any(config.get("WeightedCapacity", 1) != 1 for config in fleet.get("InstanceTypeConfigs", [])):
        raise ValidationError("The instance types of three primary nodes must have a WeightedCapacity of 1.")
    has_patch = any(
        release.rpartition(".")[0] == f"emr-{patch}".rpartition(".")[0] and releases.at_least(release, patch)
        for patch in RELEASES_OF_FLEETS
    )
    if not has_patch and not releases.at_least(release, MINIMUM_RELEASE_OF_FLEETS):
        raise ValidationError(
            f"Three primary nodes in instance fleets need emr-{MINIMUM_RELEASE_OF_FLEETS} or later, not {release}."
        )
