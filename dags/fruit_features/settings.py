"""What people choose for each run, declared once: types, defaults and bounds make the trigger form and check every value.

A field of `RunSettings` becomes a Param of the DAG through its JSON schema; a value from the form, the REST API or `--conf`
becomes a field again, checked by the same declaration.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fruit_features.config import (
    DEFAULT_BUCKET,
    DEFAULT_INSTANCE_PROFILE,
    DEFAULT_REGION,
    DEFAULT_SECURITY_CONFIGURATION,
    DEFAULT_SERVICE_ROLE,
    DEFAULT_SUBNET_ID,
    DEFAULT_WEIGHTS,
)

IMAGENET = "imagenet"
REQUIRED: Any = ...  # pydantic's sign for a field without a default
CLUSTER: dict[str, Any] = {"section": "Cluster"}  # a section of the form
BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "maximum": "at most"}  # of JSON schema, in words


class ConfigError(AirflowFailException):
    """Invalid setting, named by the message; not retried."""


class RunSettings(BaseModel):
    """The params of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Run settings")

    # Without a default the form asks for it, and a run without it is refused.
    bucket: str = Field(
        REQUIRED if DEFAULT_BUCKET is None else DEFAULT_BUCKET,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        title="Bucket",
        description="S3 bucket that holds the images and receives everything the pipeline writes.",
    )
    images_prefix: str = Field(
        "images/",
        title="Images: prefix",
        description="One folder per variety below it, e.g. images/Apple Pink Lady/104_100.jpg.",
    )
    output_prefix: str | None = Field(
        None,
        # spark-submit cuts its own options at commas and # and takes what holds a space for no URI; Hadoop expands globs.
        pattern=r"^[A-Za-z0-9_./=-]*$",
        title="Outputs: prefix",
        description="Goes before artifacts/, models/, runs/, features/, rejects/, results/ and logs/; none: the bucket's top. "
        "Letters, digits, and . _ = - /",
    )
    weights: str = Field(
        DEFAULT_WEIGHTS,
        pattern=r"^(imagenet|s3://[^/?#]+/[^?#]+)$",
        title="Weights",
        description="imagenet (Keras downloads them on the primary node), or the s3:// URI of a Keras .h5 file (no top).",
    )
    variance: float = Field(
        0.8,
        gt=0,
        le=1,
        title="Variance",
        description="Share of the variance that the kept components must explain, above 0 and at most 1.",
    )
    max_reject_share: float = Field(
        0.05,
        ge=0,
        le=1,
        title="Largest share of rejects",
        description="A run with a larger share of unusable images fails; the rejects are written all the same.",
    )
    refit: bool = Field(
        True,
        title="Refit the PCA",
        description="Off: project into the space of the latest published model, so that vectors stay comparable.",
    )
    dry_run: bool = Field(
        False,
        title="Dry run",
        description="On: only say what the run would do, in the log of find_new_images. Nothing is written, no cluster is created.",
    )
    full_refresh: bool = Field(
        False,
        title="Extract all images again",
        description="On: earlier features and rejects do not count. Costs as much as the first run.",
    )
    retry_rejects: bool = Field(
        False,
        title="Try rejects again",
        description="On: images that earlier runs have rejected, for whatever reason, count as new.",
    )
    max_cost_usd: float | None = Field(
        None,
        gt=0,
        title="Largest cost, in USD",
        description="A run whose estimate is higher is refused before it has a cluster; none: no limit.",
    )
    region: str = Field(DEFAULT_REGION, title="Region", json_schema_extra=CLUSTER)
    release_label: str = Field(
        "emr-7.13.0",
        pattern=r"^emr-7\.\d+\.\d+$",
        title="EMR release",
        description="emr-7: the nodes' packages are for the Python 3.11 and the Spark 3.5 that it brings.",
        json_schema_extra=CLUSTER,
    )
    applications: tuple[str, ...] = Field(
        ("Hadoop", "Spark"),
        examples=["Hadoop", "Spark", "TensorFlow", "JupyterHub", "JupyterEnterpriseGateway"],
        title="Applications",
        description="Spark is needed. TensorFlow comes from the bootstrap script; add JupyterHub to explore by hand.",
        json_schema_extra=CLUSTER,
    )
    primary_instance_type: str = Field("m5.xlarge", title="Primary node", json_schema_extra=CLUSTER)
    core_instance_type: str = Field(
        "m5.xlarge",
        pattern=r"^[a-z][a-z0-9-]*\.\d*xlarge$",
        title="Core nodes",
        description="xlarge or larger, of any family with at least 2 GB of memory per vCPU.",
        json_schema_extra=CLUSTER,
    )
    core_instance_count: int = Field(2, ge=1, le=200, title="Core nodes, count", json_schema_extra=CLUSTER)
    step_timeout_hours: float = Field(
        6,
        gt=0,
        le=168,
        title="Longest step, in hours",
        description="A step that takes longer ends itself, on the node: also when Airflow is gone or the DAG is paused.",
        json_schema_extra=CLUSTER,
    )
    idle_timeout_minutes: int = Field(
        15,
        ge=10,  # between two steps Airflow needs minutes, and to EMR export_model, which is no YARN application, is idleness
        le=10080,
        title="Idle minutes before EMR ends the cluster itself",
        description="Fallback: it holds even when Airflow is gone.",
        json_schema_extra=CLUSTER,
    )
    ec2_key_name: str | None = Field(None, title="SSH key", description="EC2 key pair.", json_schema_extra=CLUSTER)
    ec2_subnet_id: str | None = Field(
        DEFAULT_SUBNET_ID,
        pattern=r"^subnet-",
        title="Subnet",
        description="With EMR's v2 roles it and its VPC carry the tag for-use-with-amazon-emr-managed-policies=true.",
        json_schema_extra=CLUSTER,
    )
    service_role: str = Field(DEFAULT_SERVICE_ROLE, title="Service role", json_schema_extra=CLUSTER)
    instance_profile: str = Field(DEFAULT_INSTANCE_PROFILE, title="Instance profile", json_schema_extra=CLUSTER)
    security_configuration: str | None = Field(
        DEFAULT_SECURITY_CONFIGURATION,
        title="Security configuration",
        description="Of EMR: encryption, IMDSv2.",
        json_schema_extra=CLUSTER,
    )
    wheelhouse: str | None = Field(
        None,
        pattern=r"^s3://",
        title="Wheelhouse",
        description="s3:// prefix with the wheels of bootstrap/requirements*.txt; none: the nodes install from PyPI.",
        json_schema_extra=CLUSTER,
    )
    spark_defaults: dict[str, str] = Field(
        {},
        title="Spark properties",
        description="Added to, and overriding, the cluster's spark-defaults.",
        json_schema_extra=CLUSTER,
    )

    job_flow_overrides: dict[str, Any] = Field(
        {},
        title="RunJobFlow, overridden",
        description="Merged into the request last: SecurityConfiguration, Tags, Instances.Ec2SubnetIds, EbsRootVolumeSize, ...",
        json_schema_extra=CLUSTER,
    )

    @field_validator("applications")
    @classmethod
    def _spark_is_there(cls, applications: tuple[str, ...]) -> tuple[str, ...]:
        if "Spark" not in applications:
            raise ValueError("without Spark no step can run")
        return applications

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "RunSettings":
        """Check the params of a run.

        Raises:
            ConfigError: naming each param that cannot work, or the nearest name of one that does not exist.
        """
        try:
            return cls(**params)
        except ValidationError as invalid:
            raise ConfigError("; ".join(_explain(error) for error in invalid.errors())) from None


def _explain(error: Any) -> str:
    """Say what is wrong with one param, from an item of pydantic's `errors()`."""
    name, value = error["loc"][0], error["input"]
    schema = SCHEMAS.get(name, {})
    if error["type"] == "extra_forbidden":
        (nearest, *_) = [*difflib.get_close_matches(str(name), PARAMS, n=1), None]
        return f"there is no param {name!r}" + (f"; did you mean {nearest!r}?" if nearest else "")
    if error["type"] == "missing":
        return f"{name} is not set: it has no default"
    if error["type"] == "value_error":  # of a validator above
        return f"{name} is {list(value) if isinstance(value, tuple) else value}: {error['ctx']['error']}"
    wanted = " and ".join(f"{words} {schema[key]:g}" for key, words in BOUNDS.items() if key in schema)
    if wanted and error["type"].startswith(("greater_than", "less_than")):
        return f"{name} is {value}: it must be {wanted}, e.g. {schema_default(name)}"
    return f"{name} is {value!r}: {error['msg']}"


def schema_default(name: str) -> Any:
    """Return a param's default."""
    return RunSettings.model_fields[name].default


def to_schemas(settings: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each field of the model, with one `type` for the `anyOf` that the form ignores."""
    schemas = {}
    for name, schema in settings.model_json_schema()["properties"].items():
        choices = schema.pop("anyOf", [schema])
        types = [choice["type"] for choice in choices]
        merged = {key: value for part in (*choices, schema) for key, value in part.items()}
        schemas[name] = {**merged, "type": types if len(types) > 1 else types[0]}
    return schemas


def to_param(schema: dict[str, Any]) -> Param:
    """Return the Param of a field's schema.

    Airflow's form turns a number beyond `minimum` or `maximum` into the bound, and runs with that; below `allOf` it does not see
    them, so that the number is refused. Its Trigger button is disabled while a field whose type lacks `null` is empty.
    """
    bounds = {key: value for key, value in schema.items() if key in BOUNDS}
    rest = {key: value for key, value in schema.items() if key not in BOUNDS}
    if bounds:
        rest["allOf"] = [bounds]
    return Param(**rest)


SCHEMAS = to_schemas(RunSettings)
PARAMS = {name: to_param(schema) for name, schema in SCHEMAS.items()}
