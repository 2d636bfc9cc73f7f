"""What can be known before a cluster is paid for is checked then, and each problem names its remedy."""

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import boto3
import pytest
import structlog.testing
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import preflight
from fruit_features.run import Run
from local_emr import LocalEmr
from policies import allows, grants, used_grants
from tests.infra.stack import deploy, recorded_calls

Build = Callable[..., Run]


def test_an_account_with_all_that_is_needed_passes(hook: S3Hook, make_run: Build) -> None:
    preflight.check_writing(hook, make_run())
    preflight.check_account(hook, make_run())

    assert [*boto3.resource("s3").Bucket("fruits").objects.all()] == [], "nothing is written"


def test_what_is_missing_is_named_at_once_with_the_remedies(hook: S3Hook, make_run: Build) -> None:
    run = make_run(
        service_role="no-role",
        instance_profile="no-profile",
        ec2_subnet_id="subnet-0123456789abcdef0",
        core_instance_type="m0.xlarge",
    )
    with pytest.raises(AirflowFailException) as failure:
        preflight.check_account(hook, run)

    message = str(failure.value)
    assert (
        "the service role 'no-role' does not exist: create the stack of docs/aws.md, or set the service_role param"
        in message
    )
    assert "the instance profile 'no-profile' does not exist: " in message
    assert "the subnet subnet-0123456789abcdef0 does not exist in this region: " in message


def test_an_instance_type_that_the_region_does_not_offer(hook: S3Hook, make_run: Build) -> None:
    with pytest.raises(
        AirflowFailException, match=r"m0\.xlarge is not offered in this region: choose another instance type"
    ):
        preflight.check_account(hook, make_run(core_instance_type="m0.xlarge"))


def test_an_instance_type_that_the_zone_of_the_subnet_does_not_offer(hook: S3Hook, make_run: Build) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    def subnet(zone: str, block: str) -> str:
        return ec2.create_subnet(VpcId=vpc, AvailabilityZone=zone, CidrBlock=block)["Subnet"]["SubnetId"]

    in_a, in_b = subnet("eu-west-3a", "10.0.0.0/24"), subnet("eu-west-3b", "10.0.1.0/24")  # c5a is not in eu-west-3b
    preflight.check_account(hook, make_run(core_instance_type="c5a.xlarge", ec2_subnet_id=in_a))
    with pytest.raises(
        AirflowFailException, match=r"c5a\.xlarge is not offered in eu-west-3b: choose .* or a subnet in another zone"
    ):
        preflight.check_account(hook, make_run(core_instance_type="c5a.xlarge", ec2_subnet_id=in_b))

    several = {"Instances": {"Ec2SubnetIds": [in_a, in_b]}}
    fleet = {"fleet_instance_types": ["c5a.xlarge", "c5a.2xlarge"], "job_flow_overrides": several}
    preflight.check_account(hook, make_run(**fleet))


def test_the_policy_of_the_template_allows_every_look(
    tmp_path: Path, make_run: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalEmr(port=0, access_log=tmp_path / "calls") as aws:
        for name, value in {**aws.environment(), "AWS_ACCESS_KEY_ID": "person"}.items():
            monkeypatch.setenv(name, value)
        stack = deploy(boto3.client("cloudformation"), boto3.client("iam"), BucketName="fruits")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "airflow")
        run = make_run(
            service_role=stack.dot_env["FRUITS_SERVICE_ROLE"],
            instance_profile=stack.dot_env["FRUITS_INSTANCE_PROFILE"],
            ec2_subnet_id=stack.dot_env["FRUITS_SUBNET_ID"],
        )
        hook = S3Hook(region_name="eu-west-3")
        preflight.check_writing(hook, run)
        preflight.check_account(hook, run)
    calls = recorded_calls((tmp_path / "calls").read_text(encoding="utf-8"), "airflow")

    assert [str(call) for call in calls if not allows([stack.airflow], call)] == []
    used = {grant.sid for grant in used_grants(stack.airflow, calls)}
    looks = {grant.sid for grant in grants(stack.airflow) if grant.sid.startswith("Find")} - {"FindClusters"}
    assert looks <= used
    assert len(looks) == 4


def test_a_fleet_needs_one_of_its_types(hook: S3Hook, make_run: Build) -> None:
    def overrides(*instance_types: str) -> dict[str, Any]:
        configs = [{"InstanceType": one, "WeightedCapacity": 1} for one in instance_types]
        fleet = {"InstanceFleetType": "CORE", "TargetSpotCapacity": 2, "InstanceTypeConfigs": configs}
        return {"Instances": {"InstanceFleets": [fleet]}}

    preflight.check_account(hook, make_run(job_flow_overrides=overrides("m0.xlarge", "m5.xlarge")))
    with pytest.raises(AirflowFailException, match=r"m0\.xlarge or m0\.2xlarge is not offered in this region"):
        preflight.check_account(hook, make_run(job_flow_overrides=overrides("m0.xlarge", "m0.2xlarge")))


def test_a_subnet_that_is_too_small(hook: S3Hook, make_run: Build) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    small, large = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"] for block in ("10.0.0.0/28", "10.0.1.0/24")
    )
    preflight.check_account(hook, make_run(ec2_subnet_id=large, core_instance_count=20))
    with pytest.raises(AirflowFailException, match=rf"the subnet {small} has 11 free addresses for 21 nodes"):
        preflight.check_account(hook, make_run(ec2_subnet_id=small, core_instance_count=20))


def test_of_several_subnets_one_with_room_is_enough(hook: S3Hook, make_run: Build) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    small, other, large = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        for block in ("10.0.0.0/28", "10.0.0.16/28", "10.0.1.0/24")
    )

    def check(*subnets: str) -> None:
        overrides = {"Instances": {"Ec2SubnetIds": [*subnets]}}
        fleet = {"fleet_instance_types": ["m5.xlarge", "m5.2xlarge"], "core_instance_count": 24}
        preflight.check_account(hook, make_run(job_flow_overrides=overrides, **fleet))

    check(small, large)
    with pytest.raises(
        AirflowFailException, match=rf"{small} has 11 free .*{other} has 11 free addresses for 13 nodes"
    ):
        check(small, other)
    with pytest.raises(AirflowFailException, match="subnet-0123456789abcdef0 does not exist in this region"):
        check("subnet-0123456789abcdef0", large)


def test_what_a_company_overrides_is_what_is_checked(hook: S3Hook, make_run: Build) -> None:
    overrides = {"ServiceRole": "arn:aws:iam::123456789012:role/theirs"}
    with pytest.raises(AirflowFailException, match="the service role 'theirs' does not exist"):
        preflight.check_account(hook, make_run(job_flow_overrides=overrides))


def test_a_profile_without_a_role(hook: S3Hook, make_run: Build) -> None:
    boto3.client("iam").create_instance_profile(InstanceProfileName="empty")
    with pytest.raises(AirflowFailException, match="the instance profile 'empty' has no role"):
        preflight.check_account(hook, make_run(instance_profile="empty"))


@pytest.mark.parametrize(("allowed", "fits"), [(12, True), (11, False)])
def test_a_quota_of_vcpus(endpoint: LocalEmr, hook: S3Hook, make_run: Build, allowed: float, *, fits: bool) -> None:
    endpoint.quotas["L-1216C47A"] = allowed
    if fits:
        preflight.check_account(hook, make_run())
        return
    with pytest.raises(AirflowFailException, match=r"needs 12 vCPUs \(ON_DEMAND\), and the account may run 11: "):
        preflight.check_account(hook, make_run())


@pytest.mark.parametrize(
    ("quota", "allowed", "said"),
    [
        ("L-1216C47A", 12, None),  # a primary node, and two units
        ("L-1216C47A", 11, r"needs 12 vCPUs \(ON_DEMAND\), and the account may run 11: "),
        ("L-34B43A08", 12, None),  # three units: three of the smaller type, or two of the larger one
        ("L-34B43A08", 11, r"needs 12 vCPUs \(SPOT\), and the account may run 11: "),
    ],
)
def test_a_quota_of_vcpus_and_fleets(
    endpoint: LocalEmr, hook: S3Hook, make_run: Build, quota: str, allowed: float, said: str | None
) -> None:
    endpoint.quotas[quota] = allowed
    run = make_run(fleet_instance_types=["m5.xlarge", "m5.2xlarge"], core_instance_count=2, task_instance_count=3)
    with pytest.raises(AirflowFailException, match=said) if said else nullcontext():
        preflight.check_account(hook, run)


def test_a_subnet_that_is_too_small_for_fleets_however_they_are_filled(hook: S3Hook, make_run: Build) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28")["Subnet"]["SubnetId"]  # 11 addresses
    fleets = {"fleet_instance_types": ["m5.xlarge", "m5.2xlarge"], "ec2_subnet_id": subnet}
    preflight.check_account(hook, make_run(core_instance_count=10, task_instance_count=10, **fleets))
    with pytest.raises(AirflowFailException, match=rf"the subnet {subnet} has 11 free addresses for 12 nodes"):
        preflight.check_account(hook, make_run(core_instance_count=11, task_instance_count=10, **fleets))


def test_without_aiobotocore_no_cluster_is_created(
    hook: S3Hook, make_run: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "aiobotocore" else found(name))
    with pytest.raises(
        AirflowFailException, match=r"install apache-airflow-providers-amazon\[aiobotocore\] for workers"
    ):
        preflight.check_account(hook, make_run())


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have AWS refuse every call that is not S3's; the local endpoint checks no permission."""
    asked: list[str] = []

    def refuse(model: Any, **_: Any) -> None:
        asked.append(model.name)
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, model.name)

    client = preflight.Account.client

    def refusing(account: preflight.Account, service: str) -> Any:
        made = client(account, service)
        made.meta.events.register("before-call", refuse)
        return made

    monkeypatch.setattr(preflight.Account, "client", refusing)
    return asked


def test_what_airflow_may_not_look_at_is_no_failure(hook: S3Hook, make_run: Build, refused: list[str]) -> None:
    with structlog.testing.capture_logs() as entries:
        preflight.check_account(hook, make_run(ec2_subnet_id="subnet-0123456789abcdef0"))

    said = [str(entry["event"]) % entry.get("positional_args", ()) for entry in entries]
    assert set(refused) == {
        *("GetRole", "GetInstanceProfile", "DescribeSubnets", "DescribeInstanceTypeOfferings", "GetServiceQuota")
    }
    for name in ("service role", "instance profile", "subnets", "instance types", "quota of vCPUs"):
        assert any(line.startswith(f"{name}: not checked (") for line in said), said


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed"]
)
def test_credentials_that_s3_refuses_are_named(endpoint: LocalEmr, hook: S3Hook, make_run: Build, code: str) -> None:
    endpoint.faults.add(fault="s3-error", code=code, method="PUT")
    with pytest.raises(AirflowFailException, match=rf"S3 refuses Airflow's credentials \({code}: .*aws_default"):
        preflight.check_writing(hook, make_run())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("runs/*", "runs/.*"),
        ("artifacts/*", "artifacts"),
        ("results/run=*", "results/run=.*"),
        ("results/[!lr]*", "results"),  # latest.json is there
        ("results/ledger/*", "results/ledger"),
    ],
)
def test_a_closed_prefix_is_named_before_anything_is_written(
    endpoint: LocalEmr, hook: S3Hook, make_run: Build, keys: str, named: str
) -> None:
    endpoint.faults.add(fault="s3-error", status=403, method="PUT", key=keys)
    with pytest.raises(
        AirflowFailException, match=rf"Airflow may not write to s3://fruits/{named}: allow s3:PutObject"
    ):
        preflight.check_writing(hook, make_run())
