"""What EMR refuses, beyond what its model says of types.

Each check raises the error of the API. Limits are from the API reference of each operation.
"""

import unicodedata
from collections.abc import Collection
from typing import Any

from local_emr.emr import auto_scaling, instance_fleets, primary_nodes, releases
from local_emr.emr.errors import EmrError, InvalidRequestError, NotEmulatedError, ValidationError

MAX_ACTIVE_STEPS = 256
MAX_STEP_TEXT = 10240
MAX_STEP_CONCURRENCY = 256
MAX_JOB_FLOWS_TO_TERMINATE = 10
MAX_STEP_IDS = 10
MAX_TAG_KEY, MAX_TAG_VALUE = 128, 256
TAG_SYMBOLS = "_.:/=+-@"
IDLE_SECONDS = range(60, 604_800 + 1)
DEFAULT_IDLE_SECONDS = 3600
RUNNABLE_JARS = ("command-runner.jar", "script-runner.jar")


def check_job_flow(request: dict[str, Any]) -> None:
    """Check a RunJobFlow request."""
    instances = request["Instances"]
    _check_release(request)
    ways = [way for way in ("InstanceGroups", "InstanceFleets", "MasterInstanceType") if instances.get(way)]
    if not ways:
        raise ValidationError("Instances must have instance groups, instance fleets or a master instance type.")
    if len(ways) > 1:
        raise ValidationError(f"Please specify only one of {' and '.join(ways)}.")
    primary_nodes.check(instances, request["ReleaseLabel"])
    instance_fleets.check_fleets(instances.get("InstanceFleets") or [])
    for group in instances.get("InstanceGroups") or []:
        check_instance_group(group)
    check_tags(request.get("Tags", []))
    level = request.get("StepConcurrencyLevel", 1)
    check_concurrency(level, ValidationError)
    check_steps(request.get("Steps", []), level)
    check_active_steps(len(request.get("Steps", [])))
    if "AutoTerminationPolicy" in request:
        check_auto_termination(request["AutoTerminationPolicy"], ValidationError)
    if "ManagedScalingPolicy" in request:
        check_managed_scaling(request["ManagedScalingPolicy"], fleet=ways == ["InstanceFleets"])
    for configuration in request.get("Configurations", []):
        if not configuration.get("Classification"):
            raise ValidationError("A configuration needs a Classification.")


def _check_release(request: dict[str, Any]) -> None:
    label = request.get("ReleaseLabel")
    if label is None:
        raise ValidationError("Must specify a release label: local_emr does not emulate AMI versions.")
    if not label.startswith("emr-"):
        raise ValidationError(f"The supplied release label is invalid: {label}.")
    for name in ("EbsRootVolumeIops", "EbsRootVolumeThroughput"):
        if name in request and not releases.at_least(label, "6.15.0"):
            raise ValidationError(f"{name} needs emr-6.15.0 or later, not {label}.")


def check_instance_group(group: dict[str, Any]) -> None:
    """Check an InstanceGroupConfig of RunJobFlow or AddInstanceGroups."""
    if "AutoScalingPolicy" in group:
        auto_scaling.check_policy(group["InstanceRole"], group["AutoScalingPolicy"])


def check_tags(tags: list[dict[str, Any]], error: type[EmrError] = ValidationError) -> None:
    """Check the tags of RunJobFlow or AddTags, as "Tag restrictions" of the Amazon EMR Management Guide has it."""
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if not key:
            raise error("A tag needs a Key.")
        for text, most in ((key, MAX_TAG_KEY), (value, MAX_TAG_VALUE)):
            if len(text) > most:
                raise error(
                    f"The key of a tag has at most {MAX_TAG_KEY} characters, its value {MAX_TAG_VALUE}: '{key}'."
                )
            if text.lower().startswith("aws:"):
                raise error(f"Keys and values of tags cannot begin with aws:, which is reserved: '{text}'.")
            if not all(letter in TAG_SYMBOLS or unicodedata.category(letter)[0] in "LNZ" for letter in text):
                raise error(f"A tag takes letters, digits, white space and {' '.join(TAG_SYMBOLS)} only: '{text}'.")


def check_concurrency(level: int, error: type[EmrError]) -> None:
    """Check a StepConcurrencyLevel."""
    if not 1 <= level <= MAX_STEP_CONCURRENCY:
        raise error(f"Step concurrency level must be from 1 to {MAX_STEP_CONCURRENCY}, not {level}.")


def check_steps(steps: list[dict[str, Any]], concurrency: int) -> None:
    """Check StepConfigs for a cluster of that step concurrency."""
    for step in steps:
        jar_step = step["HadoopJarStep"]
        jar = jar_step["Jar"].rsplit("/", 1)[-1]
        if jar not in RUNNABLE_JARS:
            raise NotEmulatedError(f"steps of other jars than {' and '.join(RUNNABLE_JARS)} ({jar_step['Jar']})")
        if not jar_step.get("Args"):
            raise ValidationError(f"The step '{step['Name']}' of {jar} has no arguments: there is nothing to run.")
        text = [jar_step["Jar"], jar_step.get("MainClass", ""), *jar_step["Args"]]
        text += [word for pair in jar_step.get("Properties", []) for word in pair.values()]
        if sum(map(len, text)) > MAX_STEP_TEXT:
            raise ValidationError(f"The size of the step '{step['Name']}' exceeds {MAX_STEP_TEXT} characters.")
        action = step.get("ActionOnFailure", "CONTINUE")
        if concurrency > 1 and action != "CONTINUE":
            raise ValidationError(f"ActionOnFailure {action} is not valid when the step concurrency level is above 1.")


def check_active_steps(number: int) -> None:
    """Check how many steps would be pending or running."""
    if number > MAX_ACTIVE_STEPS:
        raise ValidationError(f"Maximum number of active steps ({MAX_ACTIVE_STEPS}) for the cluster exceeded.")


def check_step_filter(ids: Collection[str], states: Collection[str]) -> None:
    """Check the filters of ListSteps."""
    if len(ids) > MAX_STEP_IDS:
        raise InvalidRequestError(f"At most {MAX_STEP_IDS} step ids can be given.")
    if ids and states:
        raise InvalidRequestError("Cannot specify both StepIds and StepStates.")


def check_auto_termination(policy: dict[str, Any], error: type[EmrError] = InvalidRequestError) -> None:
    """Check an AutoTerminationPolicy."""
    seconds = policy.get("IdleTimeout", DEFAULT_IDLE_SECONDS)
    if seconds not in IDLE_SECONDS:
        raise error(f"IdleTimeout must be from {IDLE_SECONDS[0]} to {IDLE_SECONDS[-1]} seconds, not {seconds}.")


def with_default_idle_time(policy: dict[str, Any]) -> dict[str, Any]:
    """Return the policy as EMR shows it."""
    return {"IdleTimeout": DEFAULT_IDLE_SECONDS} | policy


def check_managed_scaling(policy: dict[str, Any], *, fleet: bool) -> None:
    """Check a ManagedScalingPolicy for groups or for fleets."""
    limits = policy.get("ComputeLimits", {})
    unit = limits.get("UnitType")
    allowed = {"InstanceFleetUnits"} if fleet else {"Instances", "VCPU"}
    if unit not in allowed:
        raise ValidationError(f"UnitType must be {' or '.join(sorted(allowed))} for this cluster, not {unit}.")
    least, most = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    if not 1 <= least <= most:
        raise ValidationError(f"Capacity units must satisfy 1 <= minimum <= maximum, not {least} and {most}.")
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        if name in limits and not 0 <= limits[name] <= most:
            raise ValidationError(f"{name} must be from 0 to MaximumCapacityUnits.")
