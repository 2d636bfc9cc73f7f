"""What people choose for the cluster of a run: the sections of the form below the work's own."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from fruit_features.config import (
    DEFAULT_INSTANCE_PROFILE,
    DEFAULT_REGION,
    DEFAULT_SECURITY_CONFIGURATION,
    DEFAULT_SERVICE_ROLE,
    DEFAULT_SUBNET_ID,
)
from fruit_features.instance_types import XLARGE_OR_LARGER, mixture, smallest

CLUSTER: dict[str, Any] = {"section": "Cluster"}  # sections of the form
FLEET: dict[str, Any] = {"section": "Fleets and Spot"}


class ClusterSettings(BaseModel):
    """What the cluster is made of, and how long it may live."""

    region: str = Field(DEFAULT_REGION, title="Region", json_schema_extra=CLUSTER)
    release_label: str = Field(
        "emr-7.13.0",
        pattern=r"^emr-7\.\d+\.\d+$",
        title="EMR release",
        description="emr-7 only: the nodes' packages are built for its Python 3.11 and Spark 3.5.",
        json_schema_extra=CLUSTER,
    )
    applications: tuple[str, ...] = Field(
        ("Hadoop", "Spark"),
        examples=["Hadoop", "Spark", "TensorFlow", "JupyterHub", "JupyterEnterpriseGateway"],
        title="Applications",
        description="Spark is required. The bootstrap script installs TensorFlow, and the param interactive adds JupyterHub.",
        json_schema_extra=CLUSTER,
    )
    primary_instance_type: str = Field("m5.xlarge", title="Primary node", json_schema_extra=CLUSTER)
    core_instance_type: str = Field(
        "m5.xlarge",
        pattern=XLARGE_OR_LARGER,
        title="Core nodes",
        description="xlarge or larger, of any family with at least 2 GB of memory per vCPU.",
        json_schema_extra=CLUSTER,
    )
    core_instance_count: int = Field(2, ge=1, le=200, title="Number of core nodes", json_schema_extra=CLUSTER)
    step_timeout_hours: float = Field(
        6,
        gt=0,
        le=168,
        title="Longest step, in hours",
        description="A step that takes longer is stopped on its node, even if Airflow is down or the DAG is paused.",
        json_schema_extra=CLUSTER,
    )
    idle_timeout_minutes: int = Field(
        15,
        ge=10,  # between two steps Airflow needs minutes, and to EMR export_model, which is no YARN application, is idleness
        le=10080,
        title="Idle minutes before EMR terminates the cluster",
        description="A safety net that also works when Airflow is down.",
        json_schema_extra=CLUSTER,
    )
    interactive: bool = Field(
        False,
        title="Keep the cluster to explore it",
        description="On: the cluster has JupyterHub and Livy. It outlives the run, until it has been idle for idle_timeout_minutes. "
        "It costs the same until then, and an open notebook keeps it from being idle.",
        json_schema_extra=CLUSTER,
    )
    ec2_key_name: str | None = Field(
        None, title="SSH key", description="Name of an EC2 key pair.", json_schema_extra=CLUSTER
    )
    ec2_subnet_id: str | None = Field(
        DEFAULT_SUBNET_ID,
        pattern=r"^subnet-",
        title="Subnet",
        description="With EMR's v2 roles, the subnet and its VPC need the tag for-use-with-amazon-emr-managed-policies=true.",
        json_schema_extra=CLUSTER,
    )
    service_role: str = Field(DEFAULT_SERVICE_ROLE, title="Service role", json_schema_extra=CLUSTER)
    instance_profile: str = Field(DEFAULT_INSTANCE_PROFILE, title="Instance profile", json_schema_extra=CLUSTER)
    security_configuration: str | None = Field(
        DEFAULT_SECURITY_CONFIGURATION,
        title="Security configuration",
        description="Name of an EMR security configuration, which sets encryption and IMDSv2.",
        json_schema_extra=CLUSTER,
    )
    wheelhouse: str | None = Field(
        None,
        pattern=r"^s3://",
        title="Wheelhouse",
        description="s3:// prefix that holds the wheels of bootstrap/requirements*.txt. Empty: the nodes install from PyPI.",
        json_schema_extra=CLUSTER,
    )
    spark_defaults: dict[str, str] = Field(
        {},
        title="Spark properties",
        description="Added to the cluster's spark-defaults; these values take precedence.",
        json_schema_extra=CLUSTER,
    )

    job_flow_overrides: dict[str, Any] = Field(
        {},
        title="Overrides of the RunJobFlow request",
        description="Merged into the request last: SecurityConfiguration, Tags, Instances.Ec2SubnetIds, EbsRootVolumeSize, ...",
        json_schema_extra=CLUSTER,
    )

    fleet_instance_types: tuple[Annotated[str, Field(pattern=XLARGE_OR_LARGER)], ...] | None = Field(
        None,
        max_length=30,  # of a fleet with an allocation strategy
        title="Instance types of the fleets",
        description="One per line, all of one architecture, best five or more: EC2 chooses among those it has. They replace the "
        "type of the core nodes. Empty: that type alone.",
        json_schema_extra=FLEET,
    )
    task_instance_count: int = Field(
        0,
        ge=0,
        le=200,
        title="Number of task nodes on Spot",
        description="In addition to the core nodes, which stay On-Demand. EC2 may reclaim them at any time; their work is repeated.",
        json_schema_extra=FLEET,
    )
    spot_timeout_minutes: int = Field(
        10,
        ge=5,
        le=25,  # wait_for_cluster waits for 40
        title="Minutes to wait for Spot",
        description="How long the cluster waits for Spot capacity while it starts.",
        json_schema_extra=FLEET,
    )
    spot_timeout_action: Literal["SWITCH_TO_ON_DEMAND", "TERMINATE_CLUSTER"] = Field(
        "SWITCH_TO_ON_DEMAND",
        title="If there is no Spot capacity",
        description="Use On-Demand instances instead, or terminate the cluster and fail the run.",
        json_schema_extra=FLEET,
    )
    max_nodes: int | None = Field(
        None,
        ge=1,
        le=1000,
        title="Managed scaling: most core and task nodes",
        description="EMR adds task nodes on Spot up to this number while work waits, and removes them later. Empty: the size is fixed.",
        json_schema_extra=FLEET,
    )

    @property
    def has_fleets(self) -> bool:
        """Whether core and task nodes come from instance fleets."""
        return bool(self.fleet_instance_types) or self.task_instance_count > 0

    @property
    def worker_types(self) -> tuple[str, ...]:
        """The instance types that core and task nodes may have, all of one architecture."""
        return self.fleet_instance_types or (self.core_instance_type,)

    @property
    def smallest_worker(self) -> str:
        """The smallest of these: a core or task node of the params counts as one of it, a larger one as several."""
        return smallest(self.worker_types)

    @property
    def worker_count(self) -> int:
        """How many core and task nodes the cluster has, all of the smallest type."""
        return self.core_instance_count + self.task_instance_count

    @field_validator("fleet_instance_types")
    @classmethod
    def _one_architecture(cls, types: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if mixed := mixture(types or ()):
            raise ValueError(f"{mixed}: a fleet must have types of one architecture, as the nodes' packages do")
        if len(set(types or ())) < len(types or ()):
            raise ValueError("a type is listed twice")
        return types

    @model_validator(mode="after")
    def _one_architecture_for_all_nodes(self) -> Self:
        if mixed := mixture([self.primary_instance_type, *self.worker_types]):
            workers = "fleet_instance_types" if self.fleet_instance_types else "core_instance_type"
            raise ValueError(
                f"primary_instance_type and {workers} differ: {mixed}, but all nodes of a cluster must have one architecture, "
                "as their packages do: set both"
            )
        return self

    @model_validator(mode="after")
    def _scaling_has_room(self) -> Self:
        if self.max_nodes is not None and not self.task_instance_count:
            raise ValueError(
                "max_nodes is set, but task_instance_count is 0: EMR can only add task nodes, so start with one or more"
            )
        if self.max_nodes is not None and self.max_nodes < self.worker_count:
            raise ValueError(
                f"max_nodes is {self.max_nodes}: it must be at least {self.worker_count}, the core and task nodes at the start"
            )
        return self

    @field_validator("applications")
    @classmethod
    def _spark_is_there(cls, applications: tuple[str, ...]) -> tuple[str, ...]:
        if "Spark" not in applications:
            raise ValueError("without Spark no step can run")
        return applications
