"""Operations on what a cluster is made of: instances, groups, fleets, bootstrap actions."""

from collections.abc import Iterable

from local_emr.emr import auto_scaling, instance_fleets, validation
from local_emr.emr.capacity import InstanceCollection
from local_emr.emr.cluster import Cluster
from local_emr.emr.errors import InvalidRequestError, ValidationError
from local_emr.emr.registry import Answer, Registry, Request, page

INSTANCE_PAGE_SIZE = 2000


class InstanceOperations:
    """Operations on what a cluster is made of."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def list_bootstrap_actions(self, request: Request, region: str) -> Answer:
        """List the bootstrap actions, in order."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        found = [
            {
                "Name": action["Name"],
                "ScriptPath": action["ScriptBootstrapAction"]["Path"],
                "Args": action["ScriptBootstrapAction"].get("Args", []),
            }
            for action in cluster.request.get("BootstrapActions", [])
        ]
        return page("BootstrapActions", found, request)

    def list_instance_groups(self, request: Request, region: str) -> Answer:
        """List the instance groups."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        if cluster.is_fleet:
            raise InvalidRequestError(
                "Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request "
                "uses instance fleets. The ListInstanceGroups operation does not support clusters that use instance "
                "fleets. Use the ListInstanceFleets operation instead.",
                "API_DOES_NOT_SUPPORT_INSTANCE_FLEET_CLUSTERS",
            )
        with cluster.lock:
            found = [
                group.description() | {"AutoScalingPolicy": auto_scaling.describe_policy(cluster, group)}
                for group in cluster.collections
            ]
        return page("InstanceGroups", found, request)

    def list_instance_fleets(self, request: Request, region: str) -> Answer:
        """List the instance fleets."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        if not cluster.is_fleet:
            raise InvalidRequestError(
                "Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request "
                "uses instance groups. Use the ListInstanceGroups operation instead."
            )
        with cluster.lock:
            found = [fleet.description() for fleet in cluster.collections]
        return page("InstanceFleets", found, request)

    def list_instances(self, request: Request, region: str) -> Answer:
        """List the instances, by group, fleet or state."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        states = set(request.get("InstanceStates", []))
        roles = set(request.get("InstanceGroupTypes", []))
        if "InstanceFleetType" in request:
            roles.add(request["InstanceFleetType"])
        wanted_id = request.get("InstanceGroupId") or request.get("InstanceFleetId")
        with cluster.lock:
            found = [
                instance.description(region, fleet=collection.fleet)
                for collection in cluster.collections
                if (not roles or collection.role in roles) and (wanted_id is None or collection.id == wanted_id)
                for instance in collection.instances
                if not states or instance.state in states
            ]
        return page("Instances", found, request, INSTANCE_PAGE_SIZE)

    def add_instance_groups(self, request: Request, region: str) -> Answer:
        """Add groups to a running cluster."""
        cluster = self._registry.job_flow(request["JobFlowId"], region).cluster
        for group in request["InstanceGroups"]:
            if group["InstanceRole"] == "MASTER":
                raise ValidationError("A cluster has one master instance group: another cannot be added.")
            validation.check_instance_group(group)
        groups = self._add_collections(cluster, request["InstanceGroups"], fleet=False)
        return {
            "JobFlowId": cluster.id,
            "InstanceGroupIds": [group.id for group in groups],
            "ClusterArn": cluster.arn,
        }

    def add_instance_fleet(self, request: Request, region: str) -> Answer:
        """Add a fleet to a running cluster."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        instance_fleets.check_fleet(request["InstanceFleet"])
        if any(other.role == request["InstanceFleet"]["InstanceFleetType"] for other in cluster.collections):
            raise ValidationError("A cluster can have only one instance fleet of each type.")
        (fleet,) = self._add_collections(cluster, [request["InstanceFleet"]], fleet=True)
        return {"ClusterId": cluster.id, "InstanceFleetId": fleet.id, "ClusterArn": cluster.arn}

    def modify_instance_groups(self, request: Request, region: str) -> Answer:
        """Resize groups."""
        for change in request.get("InstanceGroups", []):
            cluster, group = self._registry.collection(change["InstanceGroupId"], region)
            with cluster.lock:
                if cluster.state not in {"RUNNING", "WAITING"}:
                    raise ValidationError(
                        "An instance group may only be modified when the cluster is running or waiting"
                    )
                if "InstanceCount" in change:
                    if group.role == "MASTER" and change["InstanceCount"] != group.request["InstanceCount"]:
                        raise ValidationError("The number of primary nodes cannot be changed.")
                    group.request["InstanceCount"] = change["InstanceCount"]
                cluster.wake()
                self._registry.context.save(cluster)
        return {}

    def modify_instance_fleet(self, request: Request, region: str) -> Answer:
        """Change the target capacities of a fleet."""
        cluster, fleet = self._registry.collection(request["InstanceFleet"]["InstanceFleetId"], region)
        changes = {
            name: request["InstanceFleet"][name]
            for name in ("TargetOnDemandCapacity", "TargetSpotCapacity")
            if name in request["InstanceFleet"]
        }
        with self._registry.changing(cluster):
            if fleet.role == "MASTER" and any(fleet.request.get(name, 0) != changes[name] for name in changes):
                raise ValidationError("The number of primary nodes cannot be changed.")
            fleet.request |= changes
            cluster.wake()
        return {}

    def _add_collections(
        self, cluster: Cluster, requests: Iterable[Request], *, fleet: bool
    ) -> list[InstanceCollection]:
        with self._registry.changing(cluster):
            if cluster.is_fleet != fleet:
                raise ValidationError("A cluster has instance groups or instance fleets, not both.")
            added = [InstanceCollection(request, fleet=fleet, state="RUNNING") for request in requests]
            cluster.collections += added
            cluster.wake()
        return added
