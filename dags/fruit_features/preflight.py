"""What can be known before a cluster is paid for: each problem with its remedy, all of them at once.

What Airflow may not look at, or AWS does not answer, is a line in the log and never a failure.
"""

import importlib.util
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aws_sessions import OwnSettings, SharedDescriptions
from fruit_features import objects
from fruit_features.cluster import job_flow_request
from fruit_features.instance_types import vcpus
from fruit_features.run import Run

Look = Callable[["Account", dict[str, Any]], Iterator[str]]

# In a network without a way to one of the services, each check takes this long and no longer.
IMPATIENT = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
# Of Service Quotas: vCPUs of running standard instances, and the families that count there.
QUOTAS = {"ON_DEMAND": "L-1216C47A", "SPOT": "L-34B43A08"}
STANDARD_FAMILY = re.compile(r"(a|c|d|h|i|im|is|m|r|t|z)\d")
STACK = "create the stack of docs/aws.md"
# S3's codes that are about who asks, not about what for.
CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)


class ServiceHook(SharedDescriptions, OwnSettings, AwsBaseHook):
    """A hook for any service."""

    settings = IMPATIENT


class Account:
    """Clients for what a cluster needs of the account.

    Args:
        region: of the cluster.

    Attributes:
        region: likewise.
        zones: the availability zones of its subnets, those that have been looked at and found.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.zones: set[str] = set()
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the client of a service, on Airflow's connection; each is made once."""
        if service not in self._clients:
            self._clients[service] = ServiceHook(client_type=service, region_name=self.region).conn
        return self._clients[service]


def check_request(run: Run) -> dict[str, Any]:
    """Return the request for the run's cluster, but for what is not deployed yet; nothing is asked of AWS.

    Raises:
        ConfigError: `job_flow_overrides` is not as EMR wants it, or names what may not be overridden.
    """
    return dict(job_flow_request(run, defaultdict(lambda: run.layout.artifacts.uri)))


def check_writing(hook: S3Hook, run: Run) -> None:
    """Check that Airflow may write below each prefix that it writes to; nothing is written.

    Raises:
        AirflowFailException: naming the prefixes that are closed, or S3's reason to refuse Airflow's credentials.
    """
    layout = run.layout
    folders = (layout.run_folder, layout.artifacts, layout.results, layout.run_results, layout.ledger)
    closed = [folder.uri for folder in folders if not _may_write(hook, folder / "write-check")]
    if closed:
        raise AirflowFailException(
            f"Airflow may not write to {', '.join(closed)}: allow s3:PutObject there in its policy (AirflowPolicy of "
            "infra/template.yaml), or set the output_prefix param"
        )


def _may_write(hook: S3Hook, where: Any) -> bool:
    """Say whether S3 would let Airflow write an object: a PUT on a condition that no object fulfills."""
    try:
        objects.put(hook, where, b"", IfMatch=f'"{"0" * 32}"')
    except ClientError as error:  # whatever else is wrong with the bucket is named when it is listed
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code in CREDENTIALS:
            raise AirflowFailException(
                f"S3 refuses Airflow's credentials ({code}: {message}): renew or correct those of the connection aws_default or, "
                "if it is empty, of the workers, and check the workers' clocks"
            ) from None
        return code not in {"AccessDenied", "403"}
    return True


def check_account(hook: S3Hook, run: Run) -> None:
    """Check what the run's cluster needs of this Airflow and of the account.

    Raises:
        AirflowFailException: naming all that is missing, with the remedies.
    """
    request, account, problems = check_request(run), Account(run.settings.region), list(_libraries())
    looks: dict[str, Look] = {
        "service role": _service_role,
        "instance profile": _instance_profile,
        "subnets": _subnets,
        "instance types": _instance_types,
        "quota of vCPUs": _quota,
    }
    for name, look in looks.items():
        try:
            problems += look(account, request)
        except (BotoCoreError, ClientError) as error:
            hook.log.info("%s: not checked (%s)", name, error)
    if problems:
        raise AirflowFailException("no cluster is created: " + "; ".join(problems))


def _libraries() -> Iterator[str]:
    if importlib.util.find_spec("aiobotocore") is None:
        yield (
            "aiobotocore is not installed, and no task can wait for a step without it: install "
            "apache-airflow-providers-amazon[aiobotocore] for workers and triggerer"
        )


def _service_role(account: Account, request: dict[str, Any]) -> Iterator[str]:
    name = request["ServiceRole"].rpartition("/")[2]
    try:
        account.client("iam").get_role(RoleName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        yield f"the service role {name!r} does not exist: {STACK}, or set the service_role param"


def _instance_profile(account: Account, request: dict[str, Any]) -> Iterator[str]:
    name = request["JobFlowRole"].rpartition("/")[2]
    try:
        profile = account.client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        yield f"the instance profile {name!r} does not exist: {STACK}, or set the instance_profile param"
    else:
        if not profile["Roles"]:
            yield f"the instance profile {name!r} has no role: add the nodes' role to it"


def _subnet_ids(request: dict[str, Any]) -> list[str]:
    instances = request["Instances"]
    return instances.get("Ec2SubnetIds") or [one for one in [instances.get("Ec2SubnetId")] if one]


def _subnets(account: Account, request: dict[str, Any]) -> Iterator[str]:
    nodes = sum(min(count for _, count in choice) for _, choice in _alternatives(request))
    known: dict[str, int] = {}
    for subnet_id in _subnet_ids(request):
        try:
            (subnet,) = account.client("ec2").describe_subnets(SubnetIds=[subnet_id])["Subnets"]
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith("InvalidSubnet"):
                raise
            yield f"the subnet {subnet_id} does not exist in this region: set the ec2_subnet_id param, or {STACK}"
        else:
            known[subnet_id] = subnet["AvailableIpAddressCount"]
            account.zones.add(subnet["AvailabilityZone"])
    if max(known.values(), default=nodes) < nodes:  # of several EMR takes one that has room
        for subnet_id, free in known.items():
            yield f"the subnet {subnet_id} has {free} free addresses for {nodes} nodes: choose a larger one"


def _alternatives(request: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Yield market and nodes, as type and count, of each instance group; of a fleet, a choice: one for each of its types."""
    for group in request["Instances"].get("InstanceGroups", []):
        yield group.get("Market", "ON_DEMAND"), [(group["InstanceType"], group["InstanceCount"])]
    for fleet in request["Instances"].get("InstanceFleets", []):
        for market, key in (("ON_DEMAND", "TargetOnDemandCapacity"), ("SPOT", "TargetSpotCapacity")):
            if units := fleet.get(key):
                types = [(one["InstanceType"], one.get("WeightedCapacity", 1)) for one in fleet["InstanceTypeConfigs"]]
                yield market, [(instance_type, math.ceil(units / weight)) for instance_type, weight in types]


def _instance_types(account: Account, request: dict[str, Any]) -> Iterator[str]:
    instances = request["Instances"]
    of_fleets = [fleet["InstanceTypeConfigs"] for fleet in instances.get("InstanceFleets", [])]
    of_groups = [[group] for group in instances.get("InstanceGroups", [])]
    choices = [[one["InstanceType"] for one in alternatives] for alternatives in of_fleets + of_groups]
    offerings = account.client("ec2").get_paginator("describe_instance_type_offerings")
    wanted = {"instance-type": {instance_type for choice in choices for instance_type in choice}}
    where, remedy = {account.region: "this region"}, "choose another instance type"
    if account.zones:  # a type that a region has is often missing in one of its zones
        where, remedy = {zone: zone for zone in account.zones}, f"{remedy}, or a subnet in another zone"
        wanted["location"] = account.zones
    pages = offerings.paginate(
        LocationType="availability-zone" if account.zones else "region",
        Filters=[{"Name": name, "Values": sorted(values)} for name, values in wanted.items()],
    )
    offered: dict[str, set[str]] = defaultdict(set)
    for offering in (one for page in pages for one in page["InstanceTypeOfferings"]):
        offered[offering["Location"]].add(offering["InstanceType"])
    missing = {place: sorted({" or ".join(one) for one in choices if not offered[place] & set(one)}) for place in where}
    if all(missing.values()):  # of several subnets EMR takes one whose zone has them all
        for place in sorted(missing):
            for types in missing[place]:
                yield f"{types} is not offered in {where[place]}: {remedy}"


def _counted_vcpus(instance_type: str) -> int:
    """Return the vCPUs of a standard instance; 0 for those of other quotas."""
    return vcpus(instance_type) if instance_type.endswith("xlarge") and STANDARD_FAMILY.match(instance_type) else 0


def _quota(account: Account, request: dict[str, Any]) -> Iterator[str]:
    needed: Counter[str] = Counter()
    for market, choice in _alternatives(request):
        needed[market] += min(count * _counted_vcpus(instance_type) for instance_type, count in choice)
    for market, cpus in needed.items():
        answer = account.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=QUOTAS[market])
        allowed = answer["Quota"]["Value"]
        if cpus > allowed:
            yield (
                f"the cluster needs {cpus} vCPUs ({market}), and the account may run {allowed:g}: choose fewer or smaller nodes, "
                f"or ask for more in Service Quotas (ec2, {QUOTAS[market]})"
            )
