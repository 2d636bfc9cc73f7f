"""What a company demands of its clusters, merged into a RunJobFlow request last."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import botocore.session
from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator

from fruit_features import tags
from fruit_features.instance_types import mixture
from fruit_features.settings import ConfigError

# What the DAG relies on, and why it is not to be overridden.
REFUSED = {
    "Name": "a retry finds the run's cluster by it",
    "Steps": "each step is a task of the DAG",
    "ReleaseLabel": "it is the release_label param",
    "Instances.KeepJobFlowAliveWhenNoSteps": "the cluster waits between two steps",
    "Instances.TerminationProtected": "the run ends its cluster itself",
}
OWN_TAGS = {tags.APPLICATION, tags.DEPLOYMENT, tags.RUN, tags.RUN_NAME, tags.STEP_TIMEOUT, tags.INTERACTIVE}
# Lists that grow, and the field that tells their items apart; every other list is replaced.
KEYED_LISTS = {"Tags": "Key", "Configurations": "Classification", "BootstrapActions": "Name"}
# Fields of `Instances` that say the same in different ways, of which EMR takes one.
TYPES_AND_COUNT = frozenset({"MasterInstanceType", "SlaveInstanceType", "InstanceCount"})
NODES = (frozenset({"InstanceGroups"}), frozenset({"InstanceFleets"}), TYPES_AND_COUNT)
ALTERNATIVES = (NODES, (frozenset({"Ec2SubnetId"}), frozenset({"Ec2SubnetIds"})))


def merge(request: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with the overrides in it: objects are merged, lists replaced, but for the `KEYED_LISTS`, which grow.

    Where the overrides name one of `ALTERNATIVES`, the request's own goes.

    Args:
        request: RunJobFlow's.
        overrides: the param `job_flow_overrides`.

    Raises:
        ConfigError: naming what may not be overridden, what EMR does not know, or does not take together.
    """
    for path, why in REFUSED.items():
        if _has(overrides, path):
            raise ConfigError(f"job_flow_overrides: {path} cannot be set, as {why}")
    merged = _merged(request, overrides)
    _check(merged)
    if own := sorted(OWN_TAGS & {tag["Key"] for tag in overrides.get("Tags", []) if "Key" in tag}):
        raise ConfigError(f"job_flow_overrides: the tag {own[0]!r} cannot be set, as the cluster is known by it")
    return merged


def _has(overrides: Mapping[str, Any], path: str) -> bool:
    first, _, rest = path.partition(".")
    value = overrides.get(first)
    return _has(value, rest) if rest and isinstance(value, Mapping) else first in overrides and not rest


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    replaced = _replaced_by(over.keys())
    merged = {name: value for name, value in base.items() if name not in replaced}
    for name, value in over.items():
        before = merged.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[name] = _merged(before, value)
        elif name in KEYED_LISTS and isinstance(before, list) and _are_objects(value):
            merged[name] = _merged_lists(before, value, KEYED_LISTS[name])
        else:
            merged[name] = value
    return merged


def _replaced_by(names: AbstractSet[str]) -> set[str]:
    """Return the fields whose place those of these names take."""
    ways_named = (ways for ways in ALTERNATIVES if any(way & names for way in ways))
    return {name for ways in ways_named for way in ways if not way & names for name in way}


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _merged_lists(before: list[dict[str, Any]], after: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    items = {str(item.get(key)): item for item in before}
    for item in after:
        name = str(item.get(key))
        items[name] = _merged(items.get(name, {}), item)
    return list(items.values())


def _check(request: dict[str, Any]) -> None:
    shape = botocore.session.get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise ConfigError(f"job_flow_overrides: {ParamValidationError(report=report.generate_report())}")
    _check_alternatives(request["Instances"].keys())
    if mixed := mixture(_instance_types(request["Instances"])):
        raise ConfigError(
            f"job_flow_overrides: {mixed}, but all nodes of a cluster must have one architecture, as their packages do"
        )


def _check_alternatives(names: AbstractSet[str]) -> None:
    for ways in ALTERNATIVES:
        named = sorted(min(way & names) for way in ways if way & names)
        if len(named) > 1:
            raise ConfigError(f"job_flow_overrides: EMR takes one of {' and '.join(named)}, not both")
    if missing := sorted(TYPES_AND_COUNT - names) if TYPES_AND_COUNT & names else []:
        raise ConfigError(
            f"job_flow_overrides: Instances lacks {', '.join(missing)}: name all three, or InstanceGroups"
        )


def _instance_types(instances: dict[str, Any]) -> Iterator[str]:
    """Yield the type of every node that is asked for, in whichever of EMR's ways."""
    fleets = instances.get("InstanceFleets", [])
    alternatives = [one for fleet in fleets for one in fleet.get("InstanceTypeConfigs", [])]
    for group in [*instances.get("InstanceGroups", []), *alternatives]:
        yield group["InstanceType"]
    yield from (instances[name] for name in ("MasterInstanceType", "SlaveInstanceType") if name in instances)
