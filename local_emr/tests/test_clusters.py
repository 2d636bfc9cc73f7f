"""The life of a cluster, as DescribeCluster and its siblings tell it."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from emr_client import GROUPS, REGION, Emr, client, error, job_flow, step, until_exists, wait_for

from local_emr import LocalEmr
from local_emr.emr.lifecycle import Lifecycle
from local_emr.emr.protocol import service_model
from local_emr.emr.step_runner import StepRunner
from local_emr.pytest_plugin import QUICK

# Leaves the trace on its node that a SparkContext leaves while it is up, see test_spark_steps.py for a real one; says when it
# comes and, in seconds since 1970, when it goes.
APPLICATION = """
blocks=$TMPDIR/spark-$EMR_STEP_ID/blockmgr-1; mkdir -p $blocks; touch '{folder}/up'
{until_gate}
date +%s.%N > '{folder}/ending'; rmdir $blocks
"""


@pytest.fixture
def may_leave(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The states that clusters may leave; they stay in those between until a test adds them."""
    passed: set[str] = set()
    pause, stop = Lifecycle._pause, StepRunner.stop

    def held_pause(lifecycle: Lifecycle, seconds: float) -> Any:
        wait_for(lambda: lifecycle.cluster.state in passed)
        return pause(lifecycle, seconds)

    def held_stop(steps: StepRunner, *, graceful: bool) -> None:
        wait_for(lambda: "TERMINATING" in passed)
        stop(steps, graceful=graceful)

    monkeypatch.setattr(Lifecycle, "_pause", held_pause)
    monkeypatch.setattr(StepRunner, "stop", held_stop)
    yield passed
    passed |= {"STARTING", "BOOTSTRAPPING", "TERMINATING"}


def test_states_in_order(cluster_api: Emr, may_leave: set[str], tmp_path: Path) -> None:
    cluster = cluster_api.create()
    gate = tmp_path / "gate"
    seen: list[str] = []

    def reached(last: str) -> bool:
        state = cluster_api.state(cluster)
        if seen[-1:] != [state]:
            seen.append(state)
        return state == last

    def follow(last: str) -> None:
        wait_for(lambda: reached(last))

    for state in ("STARTING", "BOOTSTRAPPING"):
        follow(state)
        may_leave.add(state)
    follow("WAITING")
    cluster_api.add(cluster, step("bash", "-c", until_exists(gate)))
    follow("RUNNING")
    gate.touch()
    follow("WAITING")
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    follow("TERMINATING")
    may_leave.add("TERMINATING")
    follow("TERMINATED")
    status = cluster_api.status(cluster)

    assert seen == ["STARTING", "BOOTSTRAPPING", "WAITING", "RUNNING", "WAITING", "TERMINATING", "TERMINATED"]
    assert status["StateChangeReason"] == {"Code": "USER_REQUEST", "Message": "Terminated by user request"}
    timeline = status["Timeline"]
    assert timeline["CreationDateTime"] < timeline["ReadyDateTime"] < timeline["EndDateTime"] <= datetime.now(UTC)


def test_describe_cluster_tells_what_was_asked_for(cluster_api: Emr) -> None:
    configurations = [
        {
            "Classification": "spark-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": {"PYSPARK_PYTHON": "/opt/venv/bin/python"}}],
        }
    ]
    cluster = cluster_api.create(
        Applications=[{"Name": "Spark"}, {"Name": "Hadoop"}],
        Configurations=configurations,
        StepConcurrencyLevel=3,
        Tags=[{"Key": "run", "Value": "a"}],
        Instances={"Ec2SubnetId": "subnet-1", "Ec2KeyName": "key", "TerminationProtected": False},
    )
    cluster_api.until(cluster, "WAITING")

    found = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]

    assert re.fullmatch(r"j-[A-Z0-9]{13}", cluster)
    assert found["ClusterArn"] == f"arn:aws:elasticmapreduce:eu-west-3:123456789012:cluster/{cluster}"
    assert found["Applications"] == [{"Name": "Spark", "Version": "3.5.6"}, {"Name": "Hadoop", "Version": "3.4.2"}]
    assert found["Configurations"] == configurations
    assert found["Tags"] == [{"Key": "run", "Value": "a"}]
    assert found["LogUri"] == "s3n://data/logs/"
    assert re.fullmatch(r"ip-10-0-\d+-\d+\.eu-west-3\.compute\.internal", found["MasterPublicDnsName"])
    assert found["Ec2InstanceAttributes"]["Ec2SubnetId"] == "subnet-1"
    assert found["Ec2InstanceAttributes"]["Ec2AvailabilityZone"] == "eu-west-3a"
    assert found["Ec2InstanceAttributes"]["IamInstanceProfile"] == "EMR_EC2_DefaultRole"
    assert (found["AutoTerminate"], found["TerminationProtected"], found["VisibleToAllUsers"]) == (False, False, True)
    assert (found["StepConcurrencyLevel"], found["InstanceCollectionType"]) == (3, "INSTANCE_GROUP")
    assert (found["ServiceRole"], found["ReleaseLabel"]) == ("EMR_DefaultRole", "emr-7.13.0")


def test_a_cluster_without_keep_alive_ends_after_its_steps(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Steps=[step("true"), step("false")], Instances={"KeepJobFlowAliveWhenNoSteps": False})
    status = cluster_api.until(cluster, "TERMINATED", "TERMINATED_WITH_ERRORS")

    assert status["State"] == "TERMINATED"
    reason = {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed with errors"}
    assert status["StateChangeReason"] == reason
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]["AutoTerminate"] is True


def test_steps_given_at_creation_run_in_order(cluster_api: Emr, s3: Any) -> None:
    def append(word: str) -> dict[str, Any]:
        return step("bash", "-c", f"echo {word} >> ~/order; cat ~/order", name=word)

    cluster = cluster_api.create(Steps=[append("one"), append("two")])
    found = cluster_api.client.list_steps(ClusterId=cluster)["Steps"]
    assert [item["Name"] for item in found] == ["two", "one"]
    assert cluster_api.ended(cluster, [item["Id"] for item in found]) == ["COMPLETED", "COMPLETED"]
    times = [cluster_api.step_status(cluster, item["Id"])["Timeline"] for item in found]
    assert times[1]["EndDateTime"] <= times[0]["StartDateTime"]


# ---------------------------------------------------------------------- listing


def test_list_clusters_filters_by_state_and_date(cluster_api: Emr) -> None:
    first = cluster_api.create(Name="first")
    cluster_api.until(first, "WAITING")
    second = cluster_api.create(Name="second", Instances={"KeepJobFlowAliveWhenNoSteps": False})
    cluster_api.until(second, "TERMINATED")

    def listed(**filters: Any) -> list[str]:
        return [found["Id"] for found in cluster_api.client.list_clusters(**filters)["Clusters"]]

    now = datetime.now(UTC)
    assert listed() == [second, first]
    assert listed(ClusterStates=["WAITING"]) == [first]
    assert listed(ClusterStates=["TERMINATED", "WAITING"]) == [second, first]
    assert listed(CreatedAfter=now - timedelta(hours=1)) == [second, first]
    assert listed(CreatedAfter=now) == []
    assert listed(CreatedBefore=now - timedelta(hours=1)) == []
    with pytest.raises(ClientError) as raised:
        listed(ClusterStates=["WAITING", "TERMINATE"])
    assert error(raised) == ("InvalidRequestException", "Cluster states [TERMINATE] are not valid.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Name": "n" * 257}, "Name must have at most 256 characters, not 257."),
        ({"Name": "a\x01b"}, "Name has a character that EMR does not take: '\\x01'."),
        ({"ScaleDownBehavior": "NEVER"}, "ScaleDownBehavior must be TERMINATE_AT_INSTANCE_HOUR or"),
        ({"Steps": [step("true", on_failure="RETRY")]}, "ActionOnFailure must be TERMINATE_JOB_FLOW or"),
        ({"Instances": {"InstanceGroups": [GROUPS[0] | {"Market": "CHEAP"}]}}, "Market must be ON_DEMAND or SPOT"),
    ],
)
def test_values_that_the_model_refuses(cluster_api: Emr, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.create(**changes)
    code, text = error(raised)
    assert code == "ValidationException"
    assert text.startswith(message)


def test_list_clusters_pages_by_fifty(cluster_api: Emr) -> None:
    created = [cluster_api.create() for _ in range(52)]

    page = cluster_api.client.list_clusters()
    rest = cluster_api.client.list_clusters(Marker=page["Marker"])

    assert len(page["Clusters"]) == 50
    assert [found["Id"] for found in page["Clusters"] + rest["Clusters"]] == created[::-1]
    assert "Marker" not in rest
    paginated = cluster_api.client.get_paginator("list_clusters").paginate().build_full_result()
    assert len(paginated["Clusters"]) == 52
    with pytest.raises(ClientError) as raised:
        cluster_api.client.list_clusters(Marker="nonsense")
    assert error(raised)[0] == "InvalidRequestException"


def test_regions_are_apart(local_emr: LocalEmr, cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    elsewhere = client(local_emr, "emr", "us-east-1")

    assert elsewhere.list_clusters()["Clusters"] == []
    with pytest.raises(ClientError) as raised:
        elsewhere.describe_cluster(ClusterId=cluster)
    assert error(raised) == ("InvalidRequestException", f"Cluster id '{cluster}' is not valid.")
    there = elsewhere.run_job_flow(**job_flow())
    assert there["ClusterArn"].startswith("arn:aws:elasticmapreduce:us-east-1:")
    Emr(elsewhere).until(there["JobFlowId"], "WAITING")
    name = elsewhere.describe_cluster(ClusterId=there["JobFlowId"])["Cluster"]["MasterPublicDnsName"]
    assert name.endswith(".ec2.internal")


# ---------------------------------------------------------------------- termination


def test_termination_protection(cluster_api: Emr) -> None:
    locked = cluster_api.create(Instances={"TerminationProtected": True})
    free = cluster_api.create()
    elsewhere = cluster_api.create(Instances={"Placement": {"AvailabilityZone": "eu-west-3b"}})
    cluster_api.until(locked, "WAITING")

    with pytest.raises(ClientError) as raised:
        cluster_api.client.terminate_job_flows(JobFlowIds=[locked, free, elsewhere])
    assert error(raised) == (
        "ValidationException",
        "Could not shut down one or more job flows since they are termination protected.",
    )
    cluster_api.until(elsewhere, "TERMINATED")
    assert cluster_api.state(locked) == "WAITING"
    assert cluster_api.state(free) in {"STARTING", "BOOTSTRAPPING", "WAITING"}

    cluster_api.client.set_termination_protection(JobFlowIds=[locked], TerminationProtected=False)
    cluster_api.client.terminate_job_flows(JobFlowIds=[locked])
    cluster_api.until(locked, "TERMINATED")


def test_termination_while_starting(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Steps=[step("true")])
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    status = cluster_api.until(cluster, "TERMINATED")

    assert "ReadyDateTime" not in status["Timeline"]
    (found,) = cluster_api.client.list_steps(ClusterId=cluster)["Steps"]
    assert (found["Status"]["State"], found["Status"]["StateChangeReason"]["Message"]) == (
        "CANCELLED",
        "Job terminated",
    )


def test_terminating_twice_is_no_error_and_what_has_ended_takes_no_changes(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATED")
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])

    refused = ("ValidationException", "A job flow that is shutting down, terminated, or finished may not be modified.")
    for request in (
        lambda: cluster_api.add(cluster, step("true")),
        lambda: cluster_api.client.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True),
    ):
        with pytest.raises(ClientError) as raised:
            request()
        assert error(raised) == refused


LIMITS = {"UnitType": "Instances", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 5}


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("add_tags", {"Tags": [{"Key": "late", "Value": "1"}]}, "InvalidRequestException"),
        ("remove_tags", {"TagKeys": ["a"]}, "InvalidRequestException"),
        ("modify_cluster", {"StepConcurrencyLevel": 2}, "InvalidRequestException"),
        ("put_auto_termination_policy", {"AutoTerminationPolicy": {"IdleTimeout": 60}}, "ValidationException"),
        ("remove_auto_termination_policy", {}, "ValidationException"),
        ("put_managed_scaling_policy", {"ManagedScalingPolicy": {"ComputeLimits": LIMITS}}, "ValidationException"),
        ("remove_managed_scaling_policy", {}, "ValidationException"),
        ("set_unhealthy_node_replacement", {"UnhealthyNodeReplacement": True}, "ValidationException"),
        ("set_visible_to_all_users", {"VisibleToAllUsers": False}, "ValidationException"),
        ("set_keep_job_flow_alive_when_no_steps", {"KeepJobFlowAliveWhenNoSteps": False}, "ValidationException"),
    ],
)
def test_what_has_ended_keeps_its_tags_and_settings(
    cluster_api: Emr, operation: str, arguments: dict[str, Any], code: str
) -> None:
    cluster = cluster_api.create(Tags=[{"Key": "a", "Value": "1"}])
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATING", "TERMINATED")
    before = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]
    which = {"ResourceId": cluster} if "tags" in operation else {"ClusterId": cluster}
    which = {"JobFlowIds": [cluster]} if operation.startswith("set_") else which

    with pytest.raises(ClientError) as raised:
        getattr(cluster_api.client, operation)(**which, **arguments)
    assert error(raised)[0] == code
    after = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]
    assert {name: after.get(name) for name in before if name != "Status"} == {
        name: before[name] for name in before if name != "Status"
    }


def test_at_most_ten_clusters_are_terminated_at_once(cluster_api: Emr) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.client.terminate_job_flows(JobFlowIds=["j-1"] * 11)
    assert error(raised)[0] == "ValidationException"


def test_unknown_ids(cluster_api: Emr) -> None:
    for request in (
        lambda: cluster_api.client.terminate_job_flows(JobFlowIds=["j-NONE"]),
        lambda: cluster_api.add("j-NONE", step("true")),
    ):
        with pytest.raises(ClientError) as raised:
            request()
        assert error(raised) == ("ValidationException", "Specified job flow ID does not exist.")
    with pytest.raises(ClientError) as raised:
        cluster_api.client.list_steps(ClusterId="j-NONE")
    assert error(raised) == ("InvalidRequestException", "Cluster id 'j-NONE' is not valid.")


def test_invalid_requests_have_an_error_code(cluster_api: Emr) -> None:
    fleets = [{"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1}]
    cluster = cluster_api.create(Instances={"InstanceGroups": [], "InstanceFleets": fleets})
    for request, code in (
        (lambda: cluster_api.client.describe_cluster(ClusterId="j-NONE"), "NoSuchCluster"),
        (
            lambda: cluster_api.client.list_instance_groups(ClusterId=cluster),
            "API_DOES_NOT_SUPPORT_INSTANCE_FLEET_CLUSTERS",
        ),
    ):
        with pytest.raises(ClientError) as raised:
            request()
        assert error(raised)[0] == "InvalidRequestException"
        assert raised.value.response["ErrorCode"] == code


def test_the_primary_nodes_name_is_known_from_its_provisioning_on(local_emr: LocalEmr, cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    found = wait_for(
        lambda: (
            (shown := cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]).get("MasterPublicDnsName")
            and shown
        )
    )
    assert found["Status"]["State"] == "STARTING"
    local_emr.faults.add(fault="no-capacity", cluster="unlucky")
    unlucky = cluster_api.create(Name="unlucky")
    cluster_api.until(unlucky, "TERMINATED_WITH_ERRORS")
    assert "MasterPublicDnsName" not in cluster_api.client.describe_cluster(ClusterId=unlucky)["Cluster"]


def test_the_root_volume(cluster_api: Emr) -> None:
    volume = {"EbsRootVolumeSize": 30, "EbsRootVolumeIops": 3500, "EbsRootVolumeThroughput": 200}
    cluster = cluster_api.create(**volume)
    found = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]
    assert {name: found[name] for name in volume} == volume
    for name in ("EbsRootVolumeIops", "EbsRootVolumeThroughput"):
        with pytest.raises(ClientError) as raised:
            cluster_api.create(ReleaseLabel="emr-6.14.0", **{name: 3500})
        assert error(raised) == ("ValidationException", f"{name} needs emr-6.15.0 or later, not emr-6.14.0.")


# ---------------------------------------------------------------------- policies


SOON = {"IdleTimeout": 100}  # 1 s here, see pytest_plugin.QUICK


def test_idle_clusters_terminate_by_themselves(local_emr: LocalEmr, cluster_api: Emr, tmp_path: Path) -> None:
    cluster = cluster_api.create()
    gate = tmp_path / "gate"
    application = APPLICATION.format(folder=tmp_path, until_gate=until_exists(gate))
    busy = cluster_api.add(cluster, step("bash", "-c", application))
    wait_for((tmp_path / "up").exists)
    timers = local_emr.emr.registry.lifecycle(cluster, REGION)._timers
    wait_for(lambda: timers._idle_since is None)  # the cluster has seen the application
    cluster_api.client.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy=SOON)
    time.sleep(2)
    assert cluster_api.state(cluster) == "RUNNING"

    gate.touch()
    status = cluster_api.until(cluster, "TERMINATED")

    assert cluster_api.states(cluster, busy) == ["COMPLETED"]
    assert "auto-termination policy" in status["StateChangeReason"]["Message"]
    ending = datetime.fromtimestamp(float((tmp_path / "ending").read_text()), UTC)
    idle = status["Timeline"]["EndDateTime"] - ending
    assert idle > timedelta(seconds=1 + QUICK.terminating - 0.01)  # EMR's times are in milliseconds


def test_a_step_without_a_yarn_application_is_idle(cluster_api: Emr) -> None:
    cluster = cluster_api.create(AutoTerminationPolicy=SOON, Steps=[step("sleep", "60")])
    steps = [found["Id"] for found in cluster_api.client.list_steps(ClusterId=cluster)["Steps"]]
    status = cluster_api.until(cluster, "TERMINATED")
    assert "auto-termination policy" in status["StateChangeReason"]["Message"]
    assert cluster_api.states(cluster, steps) == ["CANCELLED"]


def test_a_pending_step_keeps_a_cluster(cluster_api: Emr, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = step("bash", "-c", until_exists(gate))
    cluster = cluster_api.create(AutoTerminationPolicy=SOON, Steps=[waiting, step("true")])
    cluster_api.until(cluster, "RUNNING")
    time.sleep(2)
    assert cluster_api.state(cluster) == "RUNNING"
    # The second step has no application: a slow machine's would be idle too long.
    cluster_api.client.remove_auto_termination_policy(ClusterId=cluster)
    gate.touch()
    steps = [found["Id"] for found in cluster_api.client.list_steps(ClusterId=cluster)["Steps"]]
    assert cluster_api.ended(cluster, steps) == ["COMPLETED", "COMPLETED"]


def test_auto_termination_policy_is_put_got_and_removed(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    api = cluster_api.client
    assert "AutoTerminationPolicy" not in api.get_auto_termination_policy(ClusterId=cluster)
    api.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy={"IdleTimeout": 604800})
    assert api.get_auto_termination_policy(ClusterId=cluster)["AutoTerminationPolicy"] == {"IdleTimeout": 604800}
    api.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy={})
    assert api.get_auto_termination_policy(ClusterId=cluster)["AutoTerminationPolicy"] == {"IdleTimeout": 3600}
    api.remove_auto_termination_policy(ClusterId=cluster)
    assert "AutoTerminationPolicy" not in api.get_auto_termination_policy(ClusterId=cluster)


@pytest.mark.parametrize("seconds", [59, 604801])
def test_idle_timeout_has_its_limits(cluster_api: Emr, seconds: int) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.create(AutoTerminationPolicy={"IdleTimeout": seconds})
    assert error(raised)[0] == "ValidationException"


def test_managed_scaling_policy_is_put_got_and_removed(cluster_api: Emr) -> None:
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 5}
    cluster = cluster_api.create(ManagedScalingPolicy={"ComputeLimits": limits})
    api = cluster_api.client
    assert api.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"] == {"ComputeLimits": limits}
    limits = limits | {"MaximumCapacityUnits": 9, "MaximumCoreCapacityUnits": 3}
    api.put_managed_scaling_policy(ClusterId=cluster, ManagedScalingPolicy={"ComputeLimits": limits})
    assert api.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"] == {"ComputeLimits": limits}
    api.remove_managed_scaling_policy(ClusterId=cluster)
    assert "ManagedScalingPolicy" not in api.get_managed_scaling_policy(ClusterId=cluster)

    for wrong in ({"UnitType": "InstanceFleetUnits"}, {"MinimumCapacityUnits": 10}, {"MaximumCoreCapacityUnits": 10}):
        with pytest.raises(ClientError) as raised:
            api.put_managed_scaling_policy(ClusterId=cluster, ManagedScalingPolicy={"ComputeLimits": limits | wrong})
        assert error(raised)[0] == "ValidationException"


def test_tags_are_added_and_removed(cluster_api: Emr) -> None:
    cluster = cluster_api.create(Tags=[{"Key": "a", "Value": "1"}])
    cluster_api.client.add_tags(ResourceId=cluster, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    cluster_api.client.remove_tags(ResourceId=cluster, TagKeys=["b", "unknown"])
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]["Tags"] == [{"Key": "a", "Value": "2"}]


@pytest.mark.parametrize("key", ["", "aws:x", "AWS:x", "a#b", "a,b", "a\tb", "k" * 129])
def test_tags_that_are_refused(cluster_api: Emr, key: str) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.create(Tags=[{"Key": key, "Value": "1"}])
    assert error(raised)[0] == "ValidationException"
    cluster = cluster_api.create()
    for tag in ({"Key": key}, {"Key": "a", "Value": key * 2 or "aws:"}):
        with pytest.raises(ClientError) as raised:
            cluster_api.client.add_tags(ResourceId=cluster, Tags=[tag])
        assert error(raised)[0] == "InvalidRequestException"
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"].get("Tags", []) == []


def test_tags_take_letters_of_every_language(cluster_api: Emr) -> None:
    tags = [{"Key": "Verger/Über 果園_.:=+-@9", "Value": ""}, {"Key": "k" * 128, "Value": "v" * 256}]
    cluster = cluster_api.create(Tags=tags)
    assert cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]["Tags"] == tags


def test_security_configurations(cluster_api: Emr) -> None:
    api = cluster_api.client
    with pytest.raises(ClientError) as raised:
        cluster_api.create(SecurityConfiguration="mine")
    assert error(raised)[0] == "ValidationException"
    api.create_security_configuration(Name="mine", SecurityConfiguration="{}")
    cluster = cluster_api.create(SecurityConfiguration="mine")
    assert api.describe_cluster(ClusterId=cluster)["Cluster"]["SecurityConfiguration"] == "mine"
    assert api.describe_security_configuration(Name="mine")["SecurityConfiguration"] == "{}"
    assert [found["Name"] for found in api.list_security_configurations()["SecurityConfigurations"]] == ["mine"]
    api.delete_security_configuration(Name="mine")
    assert api.list_security_configurations()["SecurityConfigurations"] == []


# ---------------------------------------------------------------------- instances


def test_instance_groups_and_their_instances(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    api = cluster_api.client
    cluster_api.until(cluster, "WAITING")

    groups = api.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    instances = api.list_instances(ClusterId=cluster)["Instances"]
    cores = api.list_instances(ClusterId=cluster, InstanceGroupTypes=["CORE"], InstanceStates=["RUNNING"])["Instances"]

    assert [(found["InstanceGroupType"], found["RunningInstanceCount"]) for found in groups] == [
        ("MASTER", 1),
        ("CORE", 2),
    ]
    assert [found["InstanceType"] for found in instances] == ["m5.xlarge", "m5.2xlarge", "m5.2xlarge"]
    assert {found["InstanceGroupId"] for found in cores} == {groups[1]["Id"]}
    assert len({found["Ec2InstanceId"] for found in instances}) == 3
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.until(cluster, "TERMINATED")
    ended = api.list_instances(ClusterId=cluster)["Instances"]
    assert {found["Status"]["State"] for found in ended} == {"TERMINATED"}
    assert {found["Status"]["StateChangeReason"]["Code"] for found in ended} == {"CLUSTER_TERMINATED"}


def test_instance_groups_are_added_and_resized(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    api = cluster_api.client
    core = api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][1]["Id"]
    with pytest.raises(ClientError) as raised:
        api.modify_instance_groups(InstanceGroups=[{"InstanceGroupId": core, "InstanceCount": 3}])
    assert error(raised)[1] == "An instance group may only be modified when the cluster is running or waiting"
    cluster_api.until(cluster, "WAITING")
    api.modify_instance_groups(InstanceGroups=[{"InstanceGroupId": core, "InstanceCount": 1}])
    task = {"InstanceRole": "TASK", "InstanceType": "m5.large", "InstanceCount": 2, "Market": "SPOT"}
    (added,) = api.add_instance_groups(JobFlowId=cluster, InstanceGroups=[task])["InstanceGroupIds"]

    def running(**which: Any) -> list[str]:
        found = api.list_instances(ClusterId=cluster, InstanceStates=["RUNNING"], **which)["Instances"]
        return [instance["Market"] for instance in found]

    wait_for(lambda: running(InstanceGroupId=core) == ["ON_DEMAND"])
    wait_for(lambda: running(InstanceGroupId=added) == ["SPOT", "SPOT"])


def test_instance_fleets(cluster_api: Emr) -> None:
    def fleet(role: str, on_demand: int, spot: int, weight: int = 1) -> dict[str, Any]:
        types = [{"InstanceType": "m5.xlarge", "WeightedCapacity": weight}, {"InstanceType": "m6i.xlarge"}]
        return {
            "InstanceFleetType": role,
            "TargetOnDemandCapacity": on_demand,
            "TargetSpotCapacity": spot,
            "InstanceTypeConfigs": types,
        }

    fleets = [fleet("MASTER", 1, 0), fleet("CORE", 2, 5, weight=2)]
    request = job_flow()
    request["Instances"] = {"InstanceFleets": fleets, "KeepJobFlowAliveWhenNoSteps": True}
    cluster = cluster_api.client.run_job_flow(**request)["JobFlowId"]
    cluster_api.until(cluster, "WAITING")

    found = cluster_api.client.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    instances = cluster_api.client.list_instances(ClusterId=cluster, InstanceFleetType="CORE")["Instances"]

    provisioned = [(item["ProvisionedOnDemandCapacity"], item["ProvisionedSpotCapacity"]) for item in found]
    assert provisioned == [(1, 0), (2, 6)]
    assert [item["Market"] for item in instances] == ["ON_DEMAND", "SPOT", "SPOT", "SPOT"]
    description = cluster_api.client.describe_cluster(ClusterId=cluster)["Cluster"]
    assert description["InstanceCollectionType"] == "INSTANCE_FLEET"
    with pytest.raises(ClientError) as raised:
        cluster_api.client.list_instance_groups(ClusterId=cluster)
    assert error(raised)[0] == "InvalidRequestException"


def fleet(role: str, **fields: Any) -> dict[str, Any]:
    return {"InstanceFleetType": role, "TargetOnDemandCapacity": 1, **fields}


def spot(**fields: Any) -> dict[str, Any]:
    specification = {"TimeoutDurationMinutes": 10, "TimeoutAction": "SWITCH_TO_ON_DEMAND", **fields}
    return {"LaunchSpecifications": {"SpotSpecification": specification}}


def create_of_fleets(cluster_api: Emr, *fleets: dict[str, Any]) -> str:
    return cluster_api.create(Instances={"InstanceGroups": [], "InstanceFleets": [*fleets]})


TYPES = [{"InstanceType": f"m{number}.xlarge"} for number in range(31)]


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"TargetOnDemandCapacity": 0}, "should be greater than 0"),
        ({"InstanceTypeConfigs": TYPES[:6]}, "6 instance types, more than 5"),
        ({"InstanceTypeConfigs": TYPES, **spot(AllocationStrategy="diversified")}, "31 instance types, more than 30"),
        ({"InstanceTypeConfigs": TYPES[:1] * 2}, "twice"),
        ({"InstanceTypeConfigs": [TYPES[0] | {"WeightedCapacity": 0}]}, "WeightedCapacity"),
        (spot(TimeoutDurationMinutes=4), "TimeoutDurationMinutes must be from 5 to 1440"),
        (spot(TimeoutAction="WAIT"), "TimeoutAction must be SWITCH_TO_ON_DEMAND or TERMINATE_CLUSTER"),
        (spot(AllocationStrategy="cheapest"), "AllocationStrategy must be capacity-optimized or"),
    ],
)
def test_fleets_that_make_no_cluster(cluster_api: Emr, core: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create_of_fleets(cluster_api, fleet("MASTER"), fleet("CORE", **core))


def test_a_fleet_of_many_types_needs_an_allocation_strategy(cluster_api: Emr) -> None:
    task = fleet("TASK", InstanceTypeConfigs=TYPES[:30], **spot(AllocationStrategy="price-capacity-optimized"))
    cluster = create_of_fleets(cluster_api, fleet("MASTER"), fleet("CORE"), task)
    with pytest.raises(ClientError, match="one instance fleet of"):
        cluster_api.client.add_instance_fleet(ClusterId=cluster, InstanceFleet=task)
    with pytest.raises(ClientError, match="one instance fleet of"):
        create_of_fleets(cluster_api, fleet("MASTER"), fleet("CORE"), fleet("CORE"))


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ({"InstanceGroups": GROUPS[1:]}, "exactly one master instance group"),
        ({"InstanceGroups": GROUPS, "MasterInstanceType": "m5.xlarge"}, "specify only one of"),
        ({"InstanceGroups": []}, "must have instance groups"),
    ],
)
def test_instances_that_make_no_cluster(cluster_api: Emr, instances: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError) as raised:
        cluster_api.create(Instances=instances)
    code, text = error(raised)
    assert code == "ValidationException"
    assert message in text


def test_short_form_of_instances(cluster_api: Emr) -> None:
    request = job_flow()
    request["Instances"] = {"MasterInstanceType": "m5.large", "SlaveInstanceType": "m5.xlarge", "InstanceCount": 3}
    cluster = cluster_api.client.run_job_flow(**request)["JobFlowId"]
    groups = cluster_api.client.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    found = [(group["InstanceGroupType"], group["InstanceType"], group["RequestedInstanceCount"]) for group in groups]
    assert found == [("MASTER", "m5.large", 1), ("CORE", "m5.xlarge", 2)]


# ---------------------------------------------------------------------- the rest of the API


def test_release_labels(cluster_api: Emr) -> None:
    found = cluster_api.client.describe_release_label(ReleaseLabel="emr-7.13.0")
    assert {"Name": "Spark", "Version": "3.5.6"} in found["Applications"]
    assert {"Name": "TensorFlow", "Version": "2.19.0"} in found["Applications"]
    assert "emr-7.13.0" in cluster_api.client.list_release_labels(Filters={"Prefix": "emr-7"})["ReleaseLabels"]
    with pytest.raises(ClientError) as raised:
        cluster_api.client.describe_release_label(ReleaseLabel="emr-99.0.0")
    assert error(raised)[0] == "InvalidRequestException"


def test_botocore_waiters(cluster_api: Emr) -> None:
    cluster = cluster_api.create()
    quick = {"Delay": 1, "MaxAttempts": 20}
    cluster_api.client.get_waiter("cluster_running").wait(ClusterId=cluster, WaiterConfig=quick)
    good, bad = cluster_api.add(cluster, step("true"), step("false"))
    cluster_api.client.get_waiter("step_complete").wait(ClusterId=cluster, StepId=good, WaiterConfig=quick)
    with pytest.raises(Exception, match="terminal failure state"):
        cluster_api.client.get_waiter("step_complete").wait(ClusterId=cluster, StepId=bad, WaiterConfig=quick)
    cluster_api.client.terminate_job_flows(JobFlowIds=[cluster])
    cluster_api.client.get_waiter("cluster_terminated").wait(ClusterId=cluster, WaiterConfig=quick)


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create_studio_session_mapping", {"StudioId": "s", "IdentityType": "USER", "SessionPolicyArn": "a"}),
        ("start_notebook_execution", {"ExecutionEngine": {"Id": "j-1"}, "ServiceRole": "r"}),
        ("get_block_public_access_configuration", {}),
    ],
)
def test_what_is_not_emulated_says_so(cluster_api: Emr, operation: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as raised:
        getattr(cluster_api.client, operation)(**arguments)
    code, message = error(raised)
    assert code == "InvalidRequestException"
    assert message.startswith("local_emr does not emulate the EMR operation ")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_every_emulated_operation_is_one_of_the_api(local_emr: LocalEmr) -> None:
    emulated = set(local_emr.emr.handlers)
    assert len(emulated) >= 35
    assert emulated <= {xform_name(operation) for operation in service_model().operation_names}
