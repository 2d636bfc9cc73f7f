"""Operations on clusters and their tags."""

from moto.emr.models import emr_backends

from local_emr.emr import validation
from local_emr.emr.cluster import CLOSING_STATES, Cluster
from local_emr.emr.cluster_description import describe, summarize
from local_emr.emr.errors import InvalidRequestError, ValidationError
from local_emr.emr.job_flow_description import describe_job_flow, job_flow_state
from local_emr.emr.registry import Answer, Registry, Request, page
from local_emr.emr.s3_access import ACCOUNT_ID

MAX_JOB_FLOWS = 512  # of one DescribeJobFlows


class ClusterOperations:
    """Operations on clusters and their tags."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def run_job_flow(self, request: Request, region: str) -> Answer:
        """Create a cluster."""
        validation.check_job_flow(request)
        name = request.get("SecurityConfiguration")
        # Those of a CloudFormation stack are moto's.
        others = emr_backends[ACCOUNT_ID][region].security_configurations
        if name and (region, name) not in self._registry.security_configurations and name not in others:
            raise ValidationError(f"Security configuration with name '{name}' does not exist.")
        cluster = Cluster.from_request(request, region, ACCOUNT_ID)
        self._registry.launch(cluster)
        return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}

    def describe_cluster(self, request: Request, region: str) -> Answer:
        """Show one cluster."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        with cluster.lock:
            return {"Cluster": describe(cluster)}

    def list_clusters(self, request: Request, region: str) -> Answer:
        """List clusters, newest first."""
        states = set(request.get("ClusterStates", []))
        found = []
        for cluster in reversed(self._registry.clusters(region)):
            with cluster.lock:
                if (not states or cluster.state in states) and _created_within(cluster, request):
                    found.append(summarize(cluster))
        return page("Clusters", found, request)

    def describe_job_flows(self, request: Request, region: str) -> Answer:
        """Show clusters with their steps and groups, newest first: the oldest operation for it, superseded by others."""
        states = set(request.get("JobFlowStates", []))
        if request.get("JobFlowIds"):
            clusters = [job_flow.cluster for job_flow in self._registry.job_flows(request, region)]
        else:
            clusters = self._registry.clusters(region)[::-1]
        found = []
        for cluster in clusters:
            with cluster.lock:
                if (not states or job_flow_state(cluster) in states) and _created_within(cluster, request):
                    found.append(describe_job_flow(cluster))
        return {"JobFlows": found[:MAX_JOB_FLOWS]}

    def terminate_job_flows(self, request: Request, region: str) -> Answer:
        """End clusters, unless one in the same Availability Zone is protected."""
        if len(request["JobFlowIds"]) > validation.MAX_JOB_FLOWS_TO_TERMINATE:
            most = validation.MAX_JOB_FLOWS_TO_TERMINATE
            raise ValidationError(f"At most {most} job flows can be terminated at once.")
        job_flows = self._registry.job_flows(request, region)
        alive = [job_flow for job_flow in job_flows if job_flow.cluster.state not in CLOSING_STATES]
        protected_zones = {job.cluster.availability_zone for job in alive if job.cluster.protected}
        for job_flow in alive:
            if job_flow.cluster.availability_zone not in protected_zones:
                job_flow.terminate()
        if protected_zones:
            raise ValidationError("Could not shut down one or more job flows since they are termination protected.")
        return {}

    def set_termination_protection(self, request: Request, region: str) -> Answer:
        """Lock clusters against termination, or unlock them."""
        for job_flow in self._registry.job_flows(request, region):
            cluster = job_flow.cluster
            with self._registry.changing(cluster):
                cluster.protected = request["TerminationProtected"]
        return {}

    def set_keep_job_flow_alive_when_no_steps(self, request: Request, region: str) -> Answer:
        """Say whether clusters wait for more steps."""
        for job_flow in self._registry.job_flows(request, region):
            cluster = job_flow.cluster
            with self._registry.changing(cluster):
                cluster.keep_alive = request["KeepJobFlowAliveWhenNoSteps"]
                cluster.wake()
        return {}

    def set_unhealthy_node_replacement(self, request: Request, region: str) -> Answer:
        """Record the setting; no node here falls ill by itself."""
        for job_flow in self._registry.job_flows(request, region):
            with self._registry.changing(job_flow.cluster):
                job_flow.cluster.unhealthy_node_replacement = request["UnhealthyNodeReplacement"]
        return {}

    def set_visible_to_all_users(self, request: Request, region: str) -> Answer:
        """Record the setting; there is one user."""
        for job_flow in self._registry.job_flows(request, region):
            with self._registry.changing(job_flow.cluster):
                job_flow.cluster.request["VisibleToAllUsers"] = request["VisibleToAllUsers"]
        return {}

    def modify_cluster(self, request: Request, region: str) -> Answer:
        """Set how many steps run at once."""
        cluster = self._registry.cluster(request["ClusterId"], region)
        level = request.get("StepConcurrencyLevel")
        if level is not None:
            with self._registry.changing(cluster, InvalidRequestError):
                validation.check_concurrency(level, InvalidRequestError)
                cluster.step_concurrency = level
                cluster.wake()
        return {"StepConcurrencyLevel": cluster.step_concurrency}

    def add_tags(self, request: Request, region: str) -> Answer:
        """Add or overwrite tags."""
        cluster = self._registry.cluster(request["ResourceId"], region)
        validation.check_tags(request["Tags"], InvalidRequestError)
        with self._registry.changing(cluster, InvalidRequestError):
            cluster.tags |= {tag["Key"]: tag.get("Value", "") for tag in request["Tags"]}
        return {}

    def remove_tags(self, request: Request, region: str) -> Answer:
        """Remove tags; those it does not have are no error."""
        cluster = self._registry.cluster(request["ResourceId"], region)
        with self._registry.changing(cluster, InvalidRequestError):
            for key in request["TagKeys"]:
                cluster.tags.pop(key, None)
        return {}


def _created_within(cluster: Cluster, request: Request) -> bool:
    """Return whether the cluster was created between the request's CreatedAfter and CreatedBefore."""
    after, before = request.get("CreatedAfter"), request.get("CreatedBefore")
    return (after is None or cluster.created >= after) and (before is None or cluster.created <= before)
