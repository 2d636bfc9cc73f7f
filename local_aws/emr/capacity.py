"""The instances of a cluster: groups or fleets, as asked for. Nothing runs on them but their records."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.emr.steps import identifier, now

ROLES = ("MASTER", "CORE", "TASK")


@dataclass(kw_only=True)
class Capacity:
    """What EC2 provides, and where it is in its life."""

    state: str = "PROVISIONING"
    reason: dict[str, str] = field(default_factory=dict)
    created: datetime = field(default_factory=now)
    ready: datetime | None = None
    ended: datetime | None = None

    def status(self) -> dict[str, Any]:
        """The Status of instances, groups and fleets alike."""
        return {
            "State": self.state,
            "StateChangeReason": self.reason,
            "Timeline": {
                "CreationDateTime": self.created,
                "ReadyDateTime": self.ready,
                "EndDateTime": self.ended,
            },
        }


@dataclass
class Instance(Capacity):
    """One EC2 instance."""

    instance_type: str
    market: str
    role: str
    collection_id: str
    number: int
    id: str = field(default_factory=lambda: identifier("ci"))
    ec2_id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}")

    def private_dns_name(self, region: str) -> str:
        """The name EC2 gives it in a VPC."""
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return f"ip-10-0-{self.number // 250}-{self.number % 250 + 4}.{domain}"

    def description(self, region: str, *, fleet: bool) -> dict[str, Any]:
        """The Instance of ListInstances."""
        name = self.private_dns_name(region)
        address = name.split(".")[0].removeprefix("ip-").replace("-", ".")
        return {
            "Id": self.id,
            "Ec2InstanceId": self.ec2_id,
            "PublicDnsName": "",
            "PrivateDnsName": name,
            "PrivateIpAddress": address,
            "Status": self.status(),
            ("InstanceFleetId" if fleet else "InstanceGroupId"): self.collection_id,
            "Market": self.market,
            "InstanceType": self.instance_type,
            "EbsVolumes": [],
        }


@dataclass
class Collection(Capacity):
    """An instance group or an instance fleet, with the request that made it."""

    request: dict[str, Any]
    fleet: bool
    id: str = ""
    instances: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.id = self.id or identifier("if" if self.fleet else "ig")

    @property
    def role(self) -> str:
        """MASTER, CORE or TASK."""
        return self.request["InstanceFleetType" if self.fleet else "InstanceRole"]

    def wanted(self) -> list[tuple[str, str]]:
        """Type and market of every instance asked for. A fleet takes its first type as long as it needs capacity."""
        if not self.fleet:
            market = self.request.get("Market", "ON_DEMAND")
            return [(self.request["InstanceType"], market)] * int(self.request["InstanceCount"])
        configs = self.request.get("InstanceTypeConfigs") or [{"InstanceType": "m5.xlarge"}]
        weight = configs[0].get("WeightedCapacity", 1)
        return [
            (configs[0]["InstanceType"], market)
            for market, capacity in (
                ("ON_DEMAND", self.request.get("TargetOnDemandCapacity", 0)),
                ("SPOT", self.request.get("TargetSpotCapacity", 0)),
            )
            for _ in range(-(-capacity // weight))
        ]

    def description(self) -> dict[str, Any]:
        """The InstanceGroup of ListInstanceGroups or the InstanceFleet of ListInstanceFleets."""
        running = [instance for instance in self.instances if instance.state == "RUNNING"]
        common = {
            "Id": self.id,
            "Name": self.request.get("Name", self.role.capitalize()),
            "Status": self.status(),
        }
        if not self.fleet:
            return common | {
                "Market": self.request.get("Market", "ON_DEMAND"),
                "InstanceGroupType": self.role,
                "BidPrice": self.request.get("BidPrice"),
                "InstanceType": self.request["InstanceType"],
                "RequestedInstanceCount": self.request["InstanceCount"],
                "RunningInstanceCount": len(running),
                "Configurations": self.request.get("Configurations", []),
                "EbsBlockDevices": [],
                "EbsOptimized": self.request.get("EbsConfiguration", {}).get("EbsOptimized"),
                "ShrinkPolicy": {},
                "CustomAmiId": self.request.get("CustomAmiId"),
            }
        weights = {
            config["InstanceType"]: config.get("WeightedCapacity", 1)
            for config in self.request.get("InstanceTypeConfigs", [])
        }
        provisioned = {
            market: sum(weights.get(instance.instance_type, 1) for instance in running if instance.market == market)
            for market in ("ON_DEMAND", "SPOT")
        }
        return common | {
            "InstanceFleetType": self.role,
            "TargetOnDemandCapacity": self.request.get("TargetOnDemandCapacity", 0),
            "TargetSpotCapacity": self.request.get("TargetSpotCapacity", 0),
            "ProvisionedOnDemandCapacity": provisioned["ON_DEMAND"],
            "ProvisionedSpotCapacity": provisioned["SPOT"],
            "InstanceTypeSpecifications": [
                {
                    "InstanceType": config["InstanceType"],
                    "WeightedCapacity": config.get("WeightedCapacity", 1),
                    "BidPrice": config.get("BidPrice"),
                    "BidPriceAsPercentageOfOnDemandPrice": config.get("BidPriceAsPercentageOfOnDemandPrice"),
                    "Configurations": config.get("Configurations", []),
                    "CustomAmiId": config.get("CustomAmiId"),
                    "Priority": config.get("Priority"),
                }
                for config in self.request.get("InstanceTypeConfigs", [])
            ],
            "LaunchSpecifications": self.request.get("LaunchSpecifications"),
            "ResizeSpecifications": self.request.get("ResizeSpecifications"),
            "Context": self.request.get("Context"),
        }


def collections(instances: dict[str, Any]) -> list[Collection]:
    """Groups or fleets of RunJobFlow's Instances, including the short form of three fields."""
    if instances.get("InstanceFleets"):
        return [Collection(request, fleet=True) for request in instances["InstanceFleets"]]
    groups = list(instances.get("InstanceGroups") or [])
    if not groups and instances.get("MasterInstanceType"):
        groups.append({"InstanceRole": "MASTER", "InstanceType": instances["MasterInstanceType"], "InstanceCount": 1})
        others = int(instances.get("InstanceCount", 1)) - 1
        if others > 0:
            core_type = instances.get("SlaveInstanceType", instances["MasterInstanceType"])
            groups.append({"InstanceRole": "CORE", "InstanceType": core_type, "InstanceCount": others})
    return [Collection(request, fleet=False) for request in groups]
