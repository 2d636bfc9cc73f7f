"""Operations on policies of clusters: auto-termination, managed scaling, auto scaling."""

from local_emr.emr import auto_scaling, validation
from local_emr.emr.capacity import InstanceCollection
from local_emr.emr.cluster import Cluster
from local_emr.emr.errors import InvalidRequestError
from local_emr.emr.registry import Answer, Registry, Request


class PolicyOperations:
    """Operations on policies of clusters."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def put_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """Set the idle time after which the cluster ends."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        policy = request.get("AutoTerminationPolicy", {})
        validation.check_auto_termination(policy)
        with self._registry.changing(cluster):
            cluster.auto_termination = policy
            cluster.wake()
        return {}

    def get_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """Show the idle time after which the cluster ends."""
        policy = self._registry.cluster(request["ClusterId"], region).auto_termination
        return {} if policy is None else {"AutoTerminationPolicy": validation.with_default_idle_time(policy)}

    def remove_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """Let the cluster idle for ever."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        with self._registry.changing(cluster):
            cluster.auto_termination = None
        return {}

    def put_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """Record the policy; nothing scales by itself here."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        validation.check_managed_scaling(request["ManagedScalingPolicy"], fleet=cluster.is_fleet)
        with self._registry.changing(cluster):
            cluster.managed_scaling = request["ManagedScalingPolicy"]
        return {}

    def get_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """Show the recorded policy."""
        policy = self._registry.cluster(request["ClusterId"], region).managed_scaling
        return {} if policy is None else {"ManagedScalingPolicy": policy}

    def remove_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """Forget the policy."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        with self._registry.changing(cluster):
            cluster.managed_scaling = None
        return {}

    def put_auto_scaling_policy(self, request: Request, region: str) -> Answer:
        """Attach a policy to an instance group; nothing scales by itself here."""
        cluster, group = self._group(request, region)
        policy = request["AutoScalingPolicy"]
        auto_scaling.check_policy(group.role, policy)
        with self._registry.changing(cluster):
            group.request["AutoScalingPolicy"] = policy
            described = auto_scaling.describe_policy(cluster, group)
        assert described
        return {
            "ClusterId": cluster.id,
            "InstanceGroupId": group.id,
            # ListInstanceGroups shows it ATTACHED when the group runs.
            "AutoScalingPolicy": described | {"Status": described["Status"] | {"State": "PENDING"}},
            "ClusterArn": cluster.arn,
        }

    def remove_auto_scaling_policy(self, request: Request, region: str) -> Answer:
        """Detach the policy; a group without one is no error."""
        cluster, group = self._group(request, region)
        with self._registry.changing(cluster):
            group.request.pop("AutoScalingPolicy", None)
        return {}

    def _group(self, request: Request, region: str) -> tuple[Cluster, InstanceCollection]:
        """Return the cluster and its instance group that the request names.

        Raises:
            InvalidRequestError: there is no such cluster, or it has no such group.
        """
        cluster = self._registry.cluster(request["ClusterId"], region)
        for collection in cluster.collections:
            if collection.id == request["InstanceGroupId"] and not collection.fleet:
                return cluster, collection
        raise InvalidRequestError(f"Instance group id '{request['InstanceGroupId']}' is not valid.")
