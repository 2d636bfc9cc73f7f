"""A cluster as DescribeCluster and ListClusters show it. Call with the cluster's lock held."""

from typing import Any

from local_emr.emr import releases
from local_emr.emr.cluster import Cluster

# Members of the Cluster that RunJobFlow's request has under the same name.
REQUEST_MEMBERS = (
    *("AutoScalingRole", "CustomAmiId", "EbsRootVolumeIops", "EbsRootVolumeSize", "EbsRootVolumeThroughput"),
    *("KerberosAttributes", "LogEncryptionKmsKeyId", "OSReleaseLabel", "ReleaseLabel", "RepoUpgradeOnBoot"),
    *("SecurityConfiguration", "ServiceRole"),
)


def summarize(cluster: Cluster) -> dict[str, Any]:
    """Return the ClusterSummary of ListClusters."""
    return {
        "Id": cluster.id,
        "Name": cluster.name,
        "Status": {
            "State": cluster.state,
            "StateChangeReason": cluster.reason,
            "Timeline": {
                "CreationDateTime": cluster.created,
                "ReadyDateTime": cluster.ready,
                "EndDateTime": cluster.ended,
            },
            "ErrorDetails": cluster.error_details or None,
        },
        "NormalizedInstanceHours": 0,
        "ClusterArn": cluster.arn,
    }


def describe(cluster: Cluster) -> dict[str, Any]:
    """Return the Cluster of DescribeCluster."""
    request = cluster.request
    log_uri = request.get("LogUri")
    return (
        summarize(cluster)
        | {name: request.get(name) for name in REQUEST_MEMBERS}
        | {
            "Ec2InstanceAttributes": _ec2_instance_attributes(cluster),
            "InstanceCollectionType": "INSTANCE_FLEET" if cluster.is_fleet else "INSTANCE_GROUP",
            # EMR answers with the scheme of its first file system, and a slash.
            "LogUri": "s3n://" + log_uri.split("://", 1)[1].rstrip("/") + "/" if log_uri else None,
            "AutoTerminate": not cluster.keep_alive,
            "TerminationProtected": cluster.protected,
            "UnhealthyNodeReplacement": cluster.unhealthy_node_replacement,
            "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
            "Applications": releases.applications(request.get("ReleaseLabel", ""), request.get("Applications", [])),
            "Tags": [{"Key": key, "Value": value} for key, value in cluster.tags.items()],
            "MasterPublicDnsName": cluster.primary.private_dns_name(cluster.region) if cluster.primary else None,
            "Configurations": request.get("Configurations", []),
            "ScaleDownBehavior": request.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
            "StepConcurrencyLevel": cluster.step_concurrency,
            "PlacementGroups": request.get("PlacementGroupConfigs", []),
        }
    )


def _ec2_instance_attributes(cluster: Cluster) -> dict[str, Any]:
    instances = cluster.request["Instances"]
    subnets = instances.get("Ec2SubnetIds") or []
    return {
        "Ec2KeyName": instances.get("Ec2KeyName"),
        "Ec2SubnetId": instances.get("Ec2SubnetId") or (subnets[0] if subnets else None),
        "RequestedEc2SubnetIds": subnets or [instances[key] for key in ("Ec2SubnetId",) if key in instances],
        "Ec2AvailabilityZone": cluster.availability_zone,
        "RequestedEc2AvailabilityZones": instances.get("Placement", {}).get("AvailabilityZones") or [],
        "IamInstanceProfile": cluster.request.get("JobFlowRole"),
        "EmrManagedMasterSecurityGroup": instances.get("EmrManagedMasterSecurityGroup", "sg-primary"),
        "EmrManagedSlaveSecurityGroup": instances.get("EmrManagedSlaveSecurityGroup", "sg-core"),
        "ServiceAccessSecurityGroup": instances.get("ServiceAccessSecurityGroup"),
        "AdditionalMasterSecurityGroups": instances.get("AdditionalMasterSecurityGroups", []),
        "AdditionalSlaveSecurityGroups": instances.get("AdditionalSlaveSecurityGroups", []),
    }
