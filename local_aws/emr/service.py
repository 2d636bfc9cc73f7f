"""The operations of the EMR API: plain requests in, plain answers out.

Each method is an operation by its snake_case name; it takes the request as a dict, already checked against botocore's
own model of the API, and the caller's region.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from local_aws.emr import releases, rules
from local_aws.emr.capacity import Collection
from local_aws.emr.clusters import CLOSING_STATES, Cluster, Surroundings
from local_aws.emr.errors import InvalidRequestError, ThrottlingError, ValidationError
from local_aws.emr.steps import Step
from local_aws.objects import ACCOUNT_ID

Request = dict[str, Any]
Answer = dict[str, Any]

PAGE_SIZE = 50
INSTANCE_PAGE_SIZE = 2000


class EmrService:
    """The clusters of every region."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._lock = threading.Lock()
        self._clusters: dict[str, Cluster] = {}
        self._security_configurations: dict[tuple[str, str], Answer] = {}

    def all(self) -> list[Cluster]:
        """Every cluster, oldest first."""
        with self._lock:
            return list(self._clusters.values())

    def find(self, cluster_id: str) -> Cluster | None:
        """The cluster of that id, in whichever region."""
        with self._lock:
            return self._clusters.get(cluster_id)

    def adopt(self, cluster: Cluster) -> None:
        """Takes in a cluster of an earlier life of this server."""
        with self._lock:
            self._clusters[cluster.id] = cluster

    def stop(self) -> None:
        """Ends every cluster at once and removes its files."""
        clusters = self.all()
        for cluster in clusters:
            cluster.terminate(abruptly=True)
        for cluster in clusters:
            cluster.join()
            cluster.discard()

    def reset(self) -> None:
        """Ends and forgets everything."""
        self.stop()
        with self._lock:
            self._clusters.clear()
            self._security_configurations.clear()

    # ------------------------------------------------------------------ clusters

    def run_job_flow(self, request: Request, region: str) -> Answer:
        """Creates a cluster."""
        rules.check_job_flow(request)
        name = request.get("SecurityConfiguration")
        if name and (region, name) not in self._security_configurations:
            raise ValidationError(f"Security configuration with name '{name}' does not exist.")
        cluster = Cluster.from_request(request, region, ACCOUNT_ID, self._surroundings)
        self.adopt(cluster)
        self._surroundings.changed(cluster)
        cluster.start()
        return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}

    def describe_cluster(self, request: Request, region: str) -> Answer:
        """One cluster."""
        cluster = self._cluster(request["ClusterId"], region)
        with cluster.lock:
            return {"Cluster": cluster.description()}

    def list_clusters(self, request: Request, region: str) -> Answer:
        """Clusters, newest first."""
        states = set(request.get("ClusterStates", []))
        after, before = request.get("CreatedAfter"), request.get("CreatedBefore")
        found = []
        for cluster in reversed(self.all()):
            with cluster.lock:
                if (
                    cluster.region == region
                    and (not states or cluster.state in states)
                    and (after is None or cluster.created >= after)
                    and (before is None or cluster.created <= before)
                ):
                    found.append(cluster.summary())
        return _page("Clusters", found, request)

    def terminate_job_flows(self, request: Request, region: str) -> Answer:
        """Ends clusters, unless one in the same Availability Zone is protected."""
        if len(request["JobFlowIds"]) > rules.MAX_JOB_FLOWS_TO_TERMINATE:
            raise ValidationError(f"At most {rules.MAX_JOB_FLOWS_TO_TERMINATE} job flows can be terminated at once.")
        clusters = self._job_flows(request, region)
        alive = [cluster for cluster in clusters if cluster.state not in CLOSING_STATES]
        protected_zones = {_zone(cluster) for cluster in alive if cluster.protected}
        for cluster in alive:
            if _zone(cluster) not in protected_zones:
                cluster.terminate()
        if protected_zones:
            raise ValidationError("Could not shut down one or more job flows since they are termination protected.")
        return {}

    def set_termination_protection(self, request: Request, region: str) -> Answer:
        """Locks clusters against termination, or unlocks them."""
        for cluster in self._job_flows(request, region):
            with cluster.lock:
                _refuse_if_closing(cluster)
                cluster.protected = request["TerminationProtected"]
                self._surroundings.changed(cluster)
        return {}

    def set_keep_job_flow_alive_when_no_steps(self, request: Request, region: str) -> Answer:
        """Says whether clusters wait for more steps."""
        for cluster in self._job_flows(request, region):
            with cluster.lock:
                _refuse_if_closing(cluster)
                cluster.keep_alive = request["KeepJobFlowAliveWhenNoSteps"]
                cluster.wake()
        return {}

    def set_unhealthy_node_replacement(self, request: Request, region: str) -> Answer:
        """Recorded; no node here falls ill by itself."""
        for cluster in self._job_flows(request, region):
            with cluster.lock:
                cluster.unhealthy_node_replacement = request["UnhealthyNodeReplacement"]
        return {}

    def set_visible_to_all_users(self, request: Request, region: str) -> Answer:
        """Recorded; there is one user."""
        for cluster in self._job_flows(request, region):
            with cluster.lock:
                cluster.request["VisibleToAllUsers"] = request["VisibleToAllUsers"]
        return {}

    def modify_cluster(self, request: Request, region: str) -> Answer:
        """Sets how many steps run at once."""
        cluster = self._cluster(request["ClusterId"], region)
        level = request.get("StepConcurrencyLevel")
        with cluster.lock:
            if level is not None:
                rules.check_concurrency(level, InvalidRequestError)
                cluster.step_concurrency = level
                cluster.wake()
            return {"StepConcurrencyLevel": cluster.step_concurrency}

    # ------------------------------------------------------------------ steps

    def add_job_flow_steps(self, request: Request, region: str) -> Answer:
        """Adds steps to a cluster that is not closing."""
        cluster = self._job_flow(request["JobFlowId"], region)
        with cluster.lock:
            _refuse_if_closing(cluster)
            rules.check_steps(request["Steps"], cluster.step_concurrency)
            rules.check_active_steps(sum(not step.is_final for step in cluster.steps) + len(request["Steps"]))
            steps = [Step.from_request(step, request.get("ExecutionRoleArn")) for step in request["Steps"]]
            cluster.steps += steps
            cluster.wake()
        self._surroundings.changed(cluster)
        return {"StepIds": [step.id for step in steps]}

    def describe_step(self, request: Request, region: str) -> Answer:
        """One step."""
        cluster = self._cluster(request["ClusterId"], region)
        with cluster.lock:
            step = cluster.step(request["StepId"])
            if step is None:
                raise InvalidRequestError(f"Step id '{request['StepId']}' is not valid.")
            return {"Step": step.description()}

    def list_steps(self, request: Request, region: str) -> Answer:
        """Steps, latest first."""
        cluster = self._cluster(request["ClusterId"], region)
        ids, states = request.get("StepIds", []), set(request.get("StepStates", []))
        rules.check_step_filter(ids, states)
        with cluster.lock:
            for step_id in ids:
                if cluster.step(step_id) is None:
                    raise InvalidRequestError(f"Step id '{step_id}' is not valid.")
            found = [
                step.summary()
                for step in reversed(cluster.steps)
                if (not ids or step.id in ids) and (not states or step.state in states)
            ]
        return _page("Steps", found, request)

    def cancel_steps(self, request: Request, region: str) -> Answer:
        """Cancels pending and running steps."""
        cluster = self._cluster(request["ClusterId"], region)
        gently = request.get("StepCancellationOption", "SEND_INTERRUPT") == "SEND_INTERRUPT"
        answers = []
        with cluster.lock:
            if cluster.state in CLOSING_STATES:
                raise InvalidRequestError("Cannot cancel steps of a cluster that is shutting down or terminated.")
            for step_id in request["StepIds"]:
                if cluster.step(step_id) is None:
                    raise InvalidRequestError(f"Step id '{step_id}' is not valid.")
            for step_id in request["StepIds"]:
                step = cluster.step(step_id)
                assert step
                problem = cluster.cancel(step, gently=gently)
                answers.append({"StepId": step_id, "Status": "FAILED" if problem else "SUBMITTED", "Reason": problem})
        return {"CancelStepsInfoList": answers}

    # ------------------------------------------------------------------ policies

    def put_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """Sets the idle time after which the cluster ends."""
        cluster = self._cluster(request["ClusterId"], region)
        policy = request.get("AutoTerminationPolicy", {})
        rules.check_auto_termination(policy)
        with cluster.lock:
            cluster.auto_termination = policy
            cluster.wake()
        return {}

    def get_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """The idle time after which the cluster ends."""
        cluster = self._cluster(request["ClusterId"], region)
        policy = cluster.auto_termination
        return {} if policy is None else {"AutoTerminationPolicy": rules.with_default_idle_time(policy)}

    def remove_auto_termination_policy(self, request: Request, region: str) -> Answer:
        """Lets the cluster idle forever."""
        cluster = self._cluster(request["ClusterId"], region)
        with cluster.lock:
            cluster.auto_termination = None
        return {}

    def put_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """Recorded; nothing scales by itself here."""
        cluster = self._cluster(request["ClusterId"], region)
        rules.check_managed_scaling(request["ManagedScalingPolicy"], fleet=any(c.fleet for c in cluster.collections))
        cluster.managed_scaling = request["ManagedScalingPolicy"]
        return {}

    def get_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """The recorded policy."""
        policy = self._cluster(request["ClusterId"], region).managed_scaling
        return {} if policy is None else {"ManagedScalingPolicy": policy}

    def remove_managed_scaling_policy(self, request: Request, region: str) -> Answer:
        """Forgets the policy."""
        self._cluster(request["ClusterId"], region).managed_scaling = None
        return {}

    # ------------------------------------------------------------------ what a cluster is made of

    def list_bootstrap_actions(self, request: Request, region: str) -> Answer:
        """The bootstrap actions, in order."""
        cluster = self._cluster(request["ClusterId"], region)
        found = [
            {
                "Name": action["Name"],
                "ScriptPath": action["ScriptBootstrapAction"]["Path"],
                "Args": action["ScriptBootstrapAction"].get("Args", []),
            }
            for action in cluster.request.get("BootstrapActions", [])
        ]
        return _page("BootstrapActions", found, request)

    def list_instance_groups(self, request: Request, region: str) -> Answer:
        """The instance groups."""
        return self._collections("InstanceGroups", request, region, fleet=False)

    def list_instance_fleets(self, request: Request, region: str) -> Answer:
        """The instance fleets."""
        return self._collections("InstanceFleets", request, region, fleet=True)

    def list_instances(self, request: Request, region: str) -> Answer:
        """The instances, by group, fleet or state."""
        cluster = self._cluster(request["ClusterId"], region)
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
        return _page("Instances", found, request, INSTANCE_PAGE_SIZE)

    def add_instance_groups(self, request: Request, region: str) -> Answer:
        """Adds groups to a running cluster."""
        cluster = self._job_flow(request["JobFlowId"], region)
        groups = self._add(cluster, request["InstanceGroups"], fleet=False)
        return {
            "JobFlowId": cluster.id,
            "InstanceGroupIds": [group.id for group in groups],
            "ClusterArn": cluster.arn,
        }

    def add_instance_fleet(self, request: Request, region: str) -> Answer:
        """Adds a fleet to a running cluster."""
        cluster = self._cluster(request["ClusterId"], region)
        (fleet,) = self._add(cluster, [request["InstanceFleet"]], fleet=True)
        return {"ClusterId": cluster.id, "InstanceFleetId": fleet.id, "ClusterArn": cluster.arn}

    def modify_instance_groups(self, request: Request, region: str) -> Answer:
        """Resizes groups."""
        for change in request.get("InstanceGroups", []):
            cluster, group = self._collection(change["InstanceGroupId"], region)
            with cluster.lock:
                if cluster.state not in {"RUNNING", "WAITING"}:
                    raise ValidationError(
                        "An instance group may only be modified when the cluster is running or waiting"
                    )
                if "InstanceCount" in change:
                    group.request["InstanceCount"] = change["InstanceCount"]
                cluster.wake()
        return {}

    def modify_instance_fleet(self, request: Request, region: str) -> Answer:
        """Changes the target capacities of a fleet."""
        cluster, fleet = self._collection(request["InstanceFleet"]["InstanceFleetId"], region)
        with cluster.lock:
            for name in ("TargetOnDemandCapacity", "TargetSpotCapacity"):
                if name in request["InstanceFleet"]:
                    fleet.request[name] = request["InstanceFleet"][name]
            cluster.wake()
        return {}

    # ------------------------------------------------------------------ tags, releases, security configurations

    def add_tags(self, request: Request, region: str) -> Answer:
        """Adds or overwrites tags."""
        cluster = self._cluster(request["ResourceId"], region)
        rules.check_tags(request["Tags"])
        with cluster.lock:
            cluster.tags |= {tag["Key"]: tag.get("Value", "") for tag in request["Tags"]}
        self._surroundings.changed(cluster)
        return {}

    def remove_tags(self, request: Request, region: str) -> Answer:
        """Removes tags; those it does not have are no error."""
        cluster = self._cluster(request["ResourceId"], region)
        with cluster.lock:
            for key in request["TagKeys"]:
                cluster.tags.pop(key, None)
        self._surroundings.changed(cluster)
        return {}

    def describe_release_label(self, request: Request, region: str) -> Answer:
        """The applications of a release."""
        label = request.get("ReleaseLabel", "")
        found = releases.RELEASES.get(label)
        if found is None:
            raise InvalidRequestError(f"The release label {label!r} is not valid, or local_aws does not know it.")
        return {
            "ReleaseLabel": label,
            "Applications": [{"Name": name, "Version": version} for name, version in found.items()],
            "AvailableOSReleases": [{"Label": releases.OS_RELEASES[label[:5]]}],
        }

    def list_release_labels(self, request: Request, region: str) -> Answer:
        """Labels, newest first."""
        filters = request.get("Filters", {})
        prefix = filters.get("Prefix", "")
        application = filters.get("Application", "").partition("@")
        labels = [
            label
            for label, versions in releases.RELEASES.items()
            if label.startswith(prefix)
            and (not application[0] or application[0].lower() in map(str.lower, versions))
            and (not application[2] or application[2] in versions.values())
        ]
        return {"ReleaseLabels": labels}

    def create_security_configuration(self, request: Request, region: str) -> Answer:
        """Stores a security configuration; nothing is encrypted here."""
        key = (region, request["Name"])
        if key in self._security_configurations:
            raise InvalidRequestError(f"SecurityConfiguration with name '{request['Name']}' already exists.")
        created = datetime.now().astimezone()
        self._security_configurations[key] = {
            "Name": request["Name"],
            "SecurityConfiguration": request["SecurityConfiguration"],
            "CreationDateTime": created,
        }
        return {"Name": request["Name"], "CreationDateTime": created}

    def describe_security_configuration(self, request: Request, region: str) -> Answer:
        """The stored text."""
        found = self._security_configurations.get((region, request["Name"]))
        if found is None:
            raise InvalidRequestError(f"Security configuration with name '{request['Name']}' does not exist.")
        return found

    def list_security_configurations(self, request: Request, region: str) -> Answer:
        """Names and dates."""
        found = [
            {"Name": answer["Name"], "CreationDateTime": answer["CreationDateTime"]}
            for (where, _), answer in self._security_configurations.items()
            if where == region
        ]
        return _page("SecurityConfigurations", found, request)

    def delete_security_configuration(self, request: Request, region: str) -> Answer:
        """Forgets the stored text."""
        if self._security_configurations.pop((region, request["Name"]), None) is None:
            raise InvalidRequestError(f"Security configuration with name '{request['Name']}' does not exist.")
        return {}

    # ------------------------------------------------------------------ finding things

    def throttle(self, operation: str) -> None:
        """Refuses the request if a fault says so."""
        if self._surroundings.faults.hit("throttle", {"operation": operation}):
            raise ThrottlingError("Rate exceeded")

    def _cluster(self, cluster_id: str, region: str) -> Cluster:
        cluster = self.find(cluster_id)
        if cluster is None or cluster.region != region:
            raise InvalidRequestError(f"Cluster id '{cluster_id}' is not valid.")
        return cluster

    def _job_flow(self, cluster_id: str, region: str) -> Cluster:
        cluster = self.find(cluster_id)
        if cluster is None or cluster.region != region:
            raise ValidationError("Specified job flow ID does not exist.")
        return cluster

    def _job_flows(self, request: Request, region: str) -> list[Cluster]:
        return [self._job_flow(cluster_id, region) for cluster_id in request["JobFlowIds"]]

    def _collection(self, collection_id: str, region: str) -> tuple[Cluster, Collection]:
        for cluster, collection in self._all_collections(region):
            if collection.id == collection_id:
                return cluster, collection
        raise InvalidRequestError(f"Instance group or fleet id '{collection_id}' is not valid.")

    def _all_collections(self, region: str) -> Iterator[tuple[Cluster, Collection]]:
        for cluster in self.all():
            if cluster.region == region:
                for collection in cluster.collections:
                    yield cluster, collection

    def _collections(self, key: str, request: Request, region: str, *, fleet: bool) -> Answer:
        cluster = self._cluster(request["ClusterId"], region)
        with cluster.lock:
            if any(collection.fleet != fleet for collection in cluster.collections):
                kinds = ("instance groups", "instance fleets") if fleet else ("instance fleets", "instance groups")
                raise InvalidRequestError(f"The cluster uses {kinds[0]}, not {kinds[1]}.")
            return _page(key, [collection.description() for collection in cluster.collections], request)

    def _add(self, cluster: Cluster, requests: Iterable[Request], *, fleet: bool) -> list[Collection]:
        with cluster.lock:
            _refuse_if_closing(cluster)
            if any(collection.fleet != fleet for collection in cluster.collections):
                raise ValidationError("A cluster has instance groups or instance fleets, not both.")
            added = [Collection(request, fleet=fleet, state="RUNNING") for request in requests]
            cluster.collections += added
            cluster.wake()
        return added


def _refuse_if_closing(cluster: Cluster) -> None:
    if cluster.state in CLOSING_STATES:
        raise ValidationError("A job flow that is shutting down, terminated, or finished may not be modified.")


def _zone(cluster: Cluster) -> str:
    return cluster.description()["Ec2InstanceAttributes"]["Ec2AvailabilityZone"]


def _page(key: str, items: list[Answer], request: Request, size: int = PAGE_SIZE) -> Answer:
    """The page after the request's Marker; the Marker of the next one, if there is one."""
    start = 0
    if marker := request.get("Marker"):
        try:
            start = int(base64.urlsafe_b64decode(marker).decode().removeprefix("from:"))
        except ValueError:
            raise InvalidRequestError(f"Marker '{marker}' is not valid.") from None
    answer: Answer = {key: items[start : start + size]}
    if start + size < len(items):
        answer["Marker"] = base64.urlsafe_b64encode(f"from:{start + size}".encode()).decode()
    return answer
