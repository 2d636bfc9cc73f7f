"""The instances of a cluster, in groups or fleets as requested. They are records: no process runs on them."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_emr.emr.identifiers import identifier, now


@dataclass(kw_only=True)
class Provisioned:
    """State and timeline of what EC2 provides: instances, groups and fleets alike."""

    state: str = "PROVISIONING"
    reason: dict[str, str] = field(default_factory=dict)
    created: datetime = field(default_factory=now)
    ready: datetime | None = None
    ended: datetime | None = None

    def status(self) -> dict[str, Any]:
        """Return the Status."""
        return {
            "State": self.state,
            "StateChangeReason": self.reason,
            "Timeline": {
                "CreationDateTime": self.created,
                "ReadyDateTime": self.ready,
                "EndDateTime": self.ended,
            },
        }

    def run(self) -> None:
        """Enter RUNNING."""
        self.state, self.ready = "RUNNING", now()

    def terminate(self, reason: dict[str, str] | None = None) -> None:
        """Enter TERMINATED, if it is not there already."""
        if self.state != "TERMINATED":
            self.state, self.reason, self.ended = "TERMINATED", reason or {}, now()


@dataclass
class Instance(Provisioned):
    """One EC2 instance."""

    instance_type: str
    market: str
    role: str
    collection_id: str
    number: int
    id: str = field(default_factory=lambda: identifier("ci"))
    ec2_id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}")

    def private_dns_name(self, region: str) -> str:
        """Return the name EC2 gives it in a VPC."""
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return f"ip-10-0-{self.number // 250}-{self.number % 250 + 4}.{domain}"

    def description(self, region: str, *, fleet: bool) -> dict[str, Any]:
        """Return the Instance of ListInstances."""
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
class InstanceCollection(Provisioned):
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

    @property
    def running(self) -> list[Instance]:
        """The instances that are up."""
        return [instance for instance in self.instances if instance.state == "RUNNING"]

    def wanted(self) -> list[tuple[str, str]]:
        """Return type and market of every instance requested: a fleet fills its capacity with its first type."""
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
        """Return the InstanceGroup of ListInstanceGroups or the InstanceFleet of ListInstanceFleets."""
        common = {"Id": self.id, "Name": self.request.get("Name", self.role.capitalize()), "Status": self.status()}
        return common | (self._fleet_description() if self.fleet else self._group_description())

    def _group_description(self) -> dict[str, Any]:
        return {
            "Market": self.request.get("Market", "ON_DEMAND"),
            "InstanceGroupType": self.role,
            "BidPrice": self.request.get("BidPrice"),
            "InstanceType": self.request["InstanceType"],
            "RequestedInstanceCount": self.request["InstanceCount"],
            "RunningInstanceCount": len(self.running),
            "Configurations": self.request.get("Configurations", []),
            "EbsBlockDevices": [],
            "EbsOptimized": self.request.get("EbsConfiguration", {}).get("EbsOptimized"),
            "ShrinkPolicy": {},
            "CustomAmiId": self.request.get("CustomAmiId"),
        }

    def _fleet_description(self) -> dict[str, Any]:
        configs = self.request.get("InstanceTypeConfigs", [])
        weights = {config["InstanceType"]: config.get("WeightedCapacity", 1) for config in configs}
        provisioned = {"ON_DEMAND": 0, "SPOT": 0}
        for instance in self.running:
            provisioned[instance.market] += weights.get(instance.instance_type, 1)
        specified = ("BidPrice", "BidPriceAsPercentageOfOnDemandPrice", "CustomAmiId", "Priority")
        return {
            "InstanceFleetType": self.role,
            "TargetOnDemandCapacity": self.request.get("TargetOnDemandCapacity", 0),
            "TargetSpotCapacity": self.request.get("TargetSpotCapacity", 0),
            "ProvisionedOnDemandCapacity": provisioned["ON_DEMAND"],
            "ProvisionedSpotCapacity": provisioned["SPOT"],
            "InstanceTypeSpecifications": [
                {
                    "InstanceType": config["InstanceType"],
                    "WeightedCapacity": weights[config["InstanceType"]],
                    "Configurations": config.get("Configurations", []),
                }
                | {name: config.get(name) for name in specified}
                for config in configs
            ],
            "LaunchSpecifications": self.request.get("LaunchSpecifications"),
            "ResizeSpecifications": self.request.get("ResizeSpecifications"),
            "Context": self.request.get("Context"),
        }


def instance_collections(instances: dict[str, Any]) -> list[InstanceCollection]:
    """Return the groups or fleets of RunJobFlow's Instances, including the short form of three fields."""
    if instances.get("InstanceFleets"):
        return [InstanceCollection(request, fleet=True) for request in instances["InstanceFleets"]]
    groups = list(instances.get("InstanceGroups") or [])
    if not groups and instances.get("MasterInstanceType"):
        groups.append({"InstanceRole": "MASTER", "InstanceType": instances["MasterInstanceType"], "InstanceCount": 1})
        others = int(instances.get("InstanceCount", 1)) - 1
        if others > 0:
            core_type = instances.get("SlaveInstanceType", instances["MasterInstanceType"])
            groups.append({"InstanceRole": "CORE", "InstanceType": core_type, "InstanceCount": others})
    return [InstanceCollection(request, fleet=False) for request in groups]


def provision(collections: Iterable[InstanceCollection], *, running: bool) -> None:
    """Bring the number of instances to what is requested; new ones are up at once if the cluster is `running`."""
    number = sum(len(collection.instances) for collection in collections)
    for collection in collections:
        alive = [instance for instance in collection.instances if instance.state != "TERMINATED"]
        wanted = collection.wanted()
        for instance_type, market in wanted[len(alive) :]:
            fresh = Instance(instance_type, market, collection.role, collection.id, number)
            if running:
                fresh.run()
            collection.instances.append(fresh)
            number += 1
        for surplus in alive[len(wanted) :]:
            surplus.terminate()
