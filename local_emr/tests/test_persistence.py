"""What is in the file of `--data-dir`, and when."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emr_client import GROUPS, Emr, client, job_flow, step

from local_emr import LocalEmr
from local_emr.pytest_plugin import QUICK

DATES = ("created", "ready", "started", "ended")
LIMITS = {"UnitType": "Instances", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 5}


class Kept:
    """An endpoint with a data directory, and a cluster of it."""

    def __init__(self, aws: LocalEmr, folder: Path) -> None:
        self.client = client(aws, "emr")
        self.api = Emr(self.client)
        self._folder = folder
        self.cluster = self.api.create(Steps=[step("sleep", "60"), step("true")])
        self.api.until(self.cluster, "RUNNING")
        self.core = self.client.list_instance_groups(ClusterId=self.cluster)["InstanceGroups"][1]["Id"]

    @property
    def record(self) -> dict[str, Any]:
        """The cluster's, as a restart would find it now."""
        database = sqlite3.connect(self._folder / "local_emr.sqlite")
        try:
            (text,) = database.execute("SELECT record FROM clusters WHERE id = ?", (self.cluster,)).fetchone()
        finally:
            database.close()
        return json.loads(text)

    @property
    def core_request(self) -> dict[str, Any]:
        return next(found["request"] for found in self.record["collections"] if found["id"] == self.core)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch, LocalEmr(timing=QUICK, data_dir=folder) as aws:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        yield Kept(aws, folder)


def test_settings_are_kept_before_they_are_answered(kept: Kept) -> None:
    emr, this, these = kept.client, {"ClusterId": kept.cluster}, {"JobFlowIds": [kept.cluster]}
    emr.modify_cluster(**this, StepConcurrencyLevel=1)
    assert kept.record["step_concurrency"] == 1
    emr.set_keep_job_flow_alive_when_no_steps(**these, KeepJobFlowAliveWhenNoSteps=False)
    assert kept.record["keep_alive"] is False
    emr.set_unhealthy_node_replacement(**these, UnhealthyNodeReplacement=True)
    assert kept.record["unhealthy_node_replacement"] is True
    emr.set_visible_to_all_users(**these, VisibleToAllUsers=False)
    assert kept.record["request"]["VisibleToAllUsers"] is False


def test_policies_are_kept_before_they_are_answered(kept: Kept) -> None:
    emr, this = kept.client, {"ClusterId": kept.cluster}
    emr.put_auto_termination_policy(**this, AutoTerminationPolicy={"IdleTimeout": 604800})
    assert kept.record["auto_termination"] == {"IdleTimeout": 604800}
    emr.remove_auto_termination_policy(**this)
    assert kept.record["auto_termination"] is None
    emr.put_managed_scaling_policy(**this, ManagedScalingPolicy={"ComputeLimits": LIMITS})
    assert kept.record["managed_scaling"] == {"ComputeLimits": LIMITS}
    emr.remove_managed_scaling_policy(**this)
    assert kept.record["managed_scaling"] is None
    alarm = {"ComparisonOperator": "GREATER_THAN", "MetricName": "x", "Period": 300, "Threshold": 1.0}
    rule = {
        "Name": "grow",
        "Action": {"SimpleScalingPolicyConfiguration": {"ScalingAdjustment": 1}},
        "Trigger": {"CloudWatchAlarmDefinition": alarm},
    }
    policy = {"Constraints": {"MinCapacity": 1, "MaxCapacity": 3}, "Rules": [rule]}
    emr.put_auto_scaling_policy(**this, InstanceGroupId=kept.core, AutoScalingPolicy=policy)
    assert kept.core_request["AutoScalingPolicy"] == policy
    emr.remove_auto_scaling_policy(**this, InstanceGroupId=kept.core)
    assert "AutoScalingPolicy" not in kept.core_request


def test_instances_and_steps_are_kept_before_they_are_answered(kept: Kept) -> None:
    emr = kept.client
    emr.modify_instance_groups(InstanceGroups=[{"InstanceGroupId": kept.core, "InstanceCount": 1}])
    assert kept.core_request["InstanceCount"] == 1
    task = {"InstanceRole": "TASK", "InstanceType": "m5.large", "InstanceCount": 2}
    (added,) = emr.add_instance_groups(JobFlowId=kept.cluster, InstanceGroups=[task])["InstanceGroupIds"]
    assert added in [found["id"] for found in kept.record["collections"]]
    pending, _ = (found["Id"] for found in emr.list_steps(ClusterId=kept.cluster)["Steps"])
    emr.cancel_steps(ClusterId=kept.cluster, StepIds=[pending])
    assert [found["state"] for found in kept.record["steps"]] == ["RUNNING", "CANCELLED"]


def test_fleets_are_kept_before_they_are_answered(kept: Kept) -> None:
    emr, first = kept.client, kept.cluster
    fleets = [{"InstanceFleetType": role, "TargetOnDemandCapacity": 1} for role in ("MASTER", "CORE")]
    kept.cluster = kept.api.create(Instances={"InstanceGroups": [], "InstanceFleets": fleets})
    try:
        task = {"InstanceFleetType": "TASK", "TargetOnDemandCapacity": 1}
        fleet = emr.add_instance_fleet(ClusterId=kept.cluster, InstanceFleet=task)["InstanceFleetId"]
        change = {"InstanceFleetId": fleet, "TargetOnDemandCapacity": 3}
        emr.modify_instance_fleet(ClusterId=kept.cluster, InstanceFleet=change)
        asked = {found["id"]: found["request"] for found in kept.record["collections"]}
        assert asked[fleet]["TargetOnDemandCapacity"] == 3
    finally:
        kept.cluster = first


def test_what_people_call_like_a_date_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [{"Key": name, "Value": "soon"} for name in DATES]
    properties = dict.fromkeys(DATES, "later")
    request = job_flow(
        Tags=tags,
        Configurations=[{"Classification": "spark-defaults", "Properties": properties}],
        Instances={"InstanceGroups": GROUPS, "KeepJobFlowAliveWhenNoSteps": True},
    )
    request["Steps"] = [step("true")]
    request["Steps"][0]["HadoopJarStep"]["Properties"] = [{"Key": name, "Value": "never"} for name in DATES]

    def shown(aws: LocalEmr, cluster: str) -> dict[str, Any]:
        return client(aws, "emr").describe_cluster(ClusterId=cluster)["Cluster"]

    with LocalEmr(timing=QUICK, data_dir=tmp_path) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        cluster = client(aws, "emr").run_job_flow(**request)["JobFlowId"]
        Emr(client(aws, "emr")).until(cluster, "WAITING")
    with LocalEmr(timing=QUICK, data_dir=tmp_path) as aws:
        found = shown(aws, cluster)
        (kept_step,) = client(aws, "emr").list_steps(ClusterId=cluster)["Steps"]
    assert found["Tags"] == tags
    assert found["Configurations"][0]["Properties"] == properties
    timeline = found["Status"]["Timeline"]
    assert timeline["CreationDateTime"] < timeline["ReadyDateTime"] < timeline["EndDateTime"]
    assert kept_step["Config"]["Properties"] == dict.fromkeys(DATES, "never")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "local_emr.sqlite").write_text("a letter to grandmother, of more than sixteen bytes" * 30)
    with pytest.raises(OSError, match="file is not a database") as raised:
        LocalEmr(data_dir=tmp_path).start()
    assert raised.value.filename == str(tmp_path / "local_emr.sqlite")
