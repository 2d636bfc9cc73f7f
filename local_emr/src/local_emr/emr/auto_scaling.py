"""Auto-scaling policies of instance groups: checked, completed with their defaults, kept and shown. Nothing scales."""

from typing import Any

from local_emr.emr.capacity import InstanceCollection
from local_emr.emr.cluster import Cluster
from local_emr.emr.errors import ValidationError

# Defaults of a CloudWatchAlarmDefinition, from the API reference; EMR puts the cluster's id in the dimension's place.
CLUSTER_ID = "${emr.clusterId}"
ALARM_DEFAULTS = {
    "EvaluationPeriods": 1,
    "Namespace": "AWS/ElasticMapReduce",
    "Statistic": "AVERAGE",
    "Dimensions": [{"Key": "JobFlowId", "Value": CLUSTER_ID}],
}


def check_policy(role: str, policy: dict[str, Any]) -> None:
    """Check an AutoScalingPolicy for an instance group of that role.

    Raises:
        ValidationError: the policy, or such a policy for this group, makes no sense.
    """
    if role == "MASTER":
        raise ValidationError("An automatic scaling policy cannot be attached to the master instance group.")
    least, most = policy["Constraints"]["MinCapacity"], policy["Constraints"]["MaxCapacity"]
    if not 0 <= least <= most:
        raise ValidationError(f"Constraints must satisfy 0 <= MinCapacity <= MaxCapacity, not {least} and {most}.")
    if not policy["Rules"]:
        raise ValidationError("An automatic scaling policy needs at least one rule.")
    names = [rule["Name"] for rule in policy["Rules"]]
    if len(set(names)) < len(names):
        raise ValidationError("The rules of an automatic scaling policy must have different names.")


def describe_policy(cluster: Cluster, group: InstanceCollection) -> dict[str, Any] | None:
    """Return the AutoScalingPolicyDescription of a group, or None where it has no policy."""
    policy = group.request.get("AutoScalingPolicy")
    if policy is None:
        return None
    state = {"RUNNING": "ATTACHED", "TERMINATED": "DETACHED"}.get(group.state, "PENDING")
    return {
        "Status": {"State": state, "StateChangeReason": {"Code": "USER_REQUEST", "Message": ""}},
        "Constraints": policy["Constraints"],
        "Rules": [rule | {"Trigger": _describe_trigger(rule["Trigger"], cluster)} for rule in policy["Rules"]],
    }


def _describe_trigger(trigger: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    alarm = ALARM_DEFAULTS | trigger["CloudWatchAlarmDefinition"]
    dimensions = [
        pair | ({"Value": cluster.id} if pair.get("Value") == CLUSTER_ID else {}) for pair in alarm["Dimensions"]
    ]
    return {"CloudWatchAlarmDefinition": alarm | {"Dimensions": dimensions}}
