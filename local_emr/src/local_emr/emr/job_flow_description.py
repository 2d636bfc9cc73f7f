"""A cluster as DescribeJobFlows shows it, the oldest of the API's views. Call with the cluster's lock held."""

from typing import Any

from local_emr.emr import releases
from local_emr.emr.capacity import InstanceCollection
from local_emr.emr.cluster import Cluster
from local_emr.emr.step import Step


def job_flow_state(cluster: Cluster) -> str:
    """Return the JobFlowExecutionState, which has other names for a cluster's end."""
    if cluster.state == "TERMINATED":
        return "COMPLETED" if cluster.reason.get("Code") == "ALL_STEPS_COMPLETED" else "TERMINATED"
    return {"TERMINATING": "SHUTTING_DOWN", "TERMINATED_WITH_ERRORS": "FAILED"}.get(cluster.state, cluster.state)


def describe_job_flow(cluster: Cluster) -> dict[str, Any]:
    """Return the JobFlowDetail of DescribeJobFlows."""
    request = cluster.request
    return {
        "JobFlowId": cluster.id,
        "Name": cluster.name,
        "LogUri": request.get("LogUri"),
        "LogEncryptionKmsKeyId": request.get("LogEncryptionKmsKeyId"),
        "ExecutionStatusDetail": {
            "State": job_flow_state(cluster),
            "CreationDateTime": cluster.created,
            "StartDateTime": cluster.ready,
            "ReadyDateTime": cluster.ready,
            "EndDateTime": cluster.ended,
            "LastStateChangeReason": cluster.reason.get("Message"),
        },
        "Instances": _instances(cluster),
        "Steps": [_step(step) for step in cluster.steps],
        "BootstrapActions": [{"BootstrapActionConfig": action} for action in request.get("BootstrapActions", [])],
        "SupportedProducts": request.get("SupportedProducts", []),
        "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
        "JobFlowRole": request.get("JobFlowRole"),
        "ServiceRole": request.get("ServiceRole"),
        "AutoScalingRole": request.get("AutoScalingRole"),
        "ScaleDownBehavior": request.get("ScaleDownBehavior"),
    }


def _instances(cluster: Cluster) -> dict[str, Any]:
    instances, primary = cluster.request["Instances"], cluster.primary
    types = {collection.role: wanted[0][0] for collection in cluster.collections if (wanted := collection.wanted())}
    return {
        "MasterInstanceType": types["MASTER"],
        "MasterPublicDnsName": primary.private_dns_name(cluster.region) if primary else None,
        "MasterInstanceId": primary.ec2_id if primary else None,
        "SlaveInstanceType": types.get("CORE", types["MASTER"]),
        "InstanceCount": sum(len(collection.wanted()) for collection in cluster.collections),
        "InstanceGroups": [_instance_group(group) for group in cluster.collections if not group.fleet],
        "NormalizedInstanceHours": 0,
        "Ec2KeyName": instances.get("Ec2KeyName"),
        "Ec2SubnetId": instances.get("Ec2SubnetId"),
        "Placement": {"AvailabilityZone": cluster.availability_zone},
        "KeepJobFlowAliveWhenNoSteps": cluster.keep_alive,
        "TerminationProtected": cluster.protected,
        "UnhealthyNodeReplacement": cluster.unhealthy_node_replacement,
        "HadoopVersion": releases.RELEASES.get(cluster.request["ReleaseLabel"], {}).get("Hadoop"),
    }


def _instance_group(group: InstanceCollection) -> dict[str, Any]:
    described = group.description()
    return {
        "InstanceGroupId": group.id,
        "Name": described["Name"],
        "Market": described["Market"],
        "InstanceRole": group.role,
        "BidPrice": described["BidPrice"],
        "InstanceType": described["InstanceType"],
        "InstanceRequestCount": described["RequestedInstanceCount"],
        "InstanceRunningCount": described["RunningInstanceCount"],
        "State": group.state,
        "LastStateChangeReason": group.reason.get("Message"),
        "CreationDateTime": group.created,
        "StartDateTime": group.ready,
        "ReadyDateTime": group.ready,
        "EndDateTime": group.ended,
        "CustomAmiId": described["CustomAmiId"],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "StepConfig": {
            "Name": step.name,
            "ActionOnFailure": step.action_on_failure,
            "HadoopJarStep": {
                "Jar": step.jar,
                "MainClass": step.main_class,
                "Args": step.arguments,
                "Properties": [{"Key": key, "Value": value} for key, value in step.properties.items()],
            },
        },
        "ExecutionStatusDetail": {
            # CANCEL_PENDING is newer than this view.
            "State": "RUNNING" if step.state == "CANCEL_PENDING" else step.state,
            "CreationDateTime": step.created,
            "StartDateTime": step.started,
            "EndDateTime": step.ended,
            "LastStateChangeReason": step.reason,
        },
    }
