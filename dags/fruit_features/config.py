"""Settings of a run, read once: the only module that looks at params and at the environment.

Values that people choose per run are the DAG's params (``PARAMS``); what belongs to the Airflow installation comes from
the environment, listed in ``.env.example``.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

IMAGENET = "imagenet"

# ------------------------------------------------------------------ of the installation
PROJECT_FOLDER = Path(os.environ.get("FRUITS_PROJECT") or Path(__file__).resolve().parents[2])
DEFAULT_BUCKET = os.environ.get("FRUITS_BUCKET")
DEFAULT_WEIGHTS = os.environ.get("FRUITS_WEIGHTS") or IMAGENET
DEFAULT_REGION = os.environ.get("FRUITS_REGION") or "eu-west-3"
POLL_INTERVAL = timedelta(seconds=max(1.0, float(os.environ.get("FRUITS_POLL_SECONDS") or 30)))
HTTPS_PROXY = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")  # boto3 finds it itself, Arrow does not

# ------------------------------------------------------------------ named limits
CLUSTER_TIMEOUT = timedelta(minutes=40)  # EMR takes 5 to 10 minutes, installing the packages 2 more
STEP_TIMEOUT = timedelta(hours=6)  # a million images on the default cluster take under 2
TERMINATION_TIMEOUT = timedelta(minutes=20)
RETRY_DELAY = POLL_INTERVAL
# A cluster with a hung step is never idle: only the teardown ends it, so an outage of AWS's API must not outlast its retries.
TERMINATION_RETRIES, TERMINATION_RETRY_DELAY = 10, timedelta(minutes=3)

# What the exporter on the cluster calls the models it makes; it refuses to work when it disagrees.
NETWORK, INPUT_SIZE, EXPORTER = "mobilenetv2", 224, "v1"
NODE_PYTHON = "/opt/fruits/venv/bin/python"  # made by bootstrap/install_dependencies.sh

# Without a default the UI asks for it, and a run without it is refused.
_bucket_default: dict[str, Any] = {"default": DEFAULT_BUCKET} if DEFAULT_BUCKET else {}

PARAMS = {
    "bucket": Param(
        **_bucket_default,
        type="string",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        title="Bucket",
        description="S3 bucket that holds the images and receives everything the pipeline writes.",
    ),
    "images_prefix": Param(
        "images/",
        type="string",
        title="Images",
        description="Prefix of the images: one folder per variety below it, e.g. `images/Apple Pink Lady/104_100.jpg`.",
    ),
    "output_prefix": Param(
        "",
        type="string",
        title="Outputs",
        description="Prefix before `artifacts/ models/ runs/ features/ rejects/ results/ logs/`; empty: the bucket's top.",
    ),
    "weights": Param(
        DEFAULT_WEIGHTS,
        type="string",
        pattern=r"^(imagenet|s3://[^/?#]+/[^?#]+)$",
        title="Weights",
        description="`imagenet` (Keras downloads them on the primary node) or an s3:// URI of a Keras .h5 file (no top).",
    ),
    "variance": Param(
        0.8,
        type="number",
        exclusiveMinimum=0,
        maximum=1,
        title="Variance",
        description="Share of the variance that the kept components must explain, in (0, 1].",
    ),
    "max_reject_share": Param(
        0.05,
        type="number",
        minimum=0,
        maximum=1,
        title="Largest share of rejects",
        description="A run with a larger share of unusable images fails; the rejects are written all the same.",
    ),
    "refit": Param(
        True,
        type="boolean",
        title="Refit the PCA",
        description="Off: project into the space of the latest published model, so that vectors stay comparable.",
    ),
    "region": Param(DEFAULT_REGION, type="string", title="Region", section="Cluster"),
    "release_label": Param(
        "emr-7.13.0",
        type="string",
        pattern=r"^emr-7\.\d+\.\d+$",
        title="EMR release",
        description="emr-7: the nodes' packages are for the Python 3.11 and the Spark 3.5 that it brings.",
        section="Cluster",
    ),
    "applications": Param(
        ["Hadoop", "Spark"],
        type="array",
        examples=["Hadoop", "Spark", "TensorFlow", "JupyterHub", "JupyterEnterpriseGateway"],
        items={"type": "string"},
        title="Applications",
        description="Spark is needed. TensorFlow comes from the bootstrap script; add JupyterHub to explore by hand.",
        section="Cluster",
    ),
    "primary_instance_type": Param("m5.xlarge", type="string", title="Primary node", section="Cluster"),
    "core_instance_type": Param(
        "m5.xlarge",
        type="string",
        title="Core nodes",
        description="At least 16 GB of memory each, or set spark_defaults to what fits.",
        section="Cluster",
    ),
    "core_instance_count": Param(
        2, type="integer", minimum=1, maximum=200, title="Core nodes, count", section="Cluster"
    ),
    "idle_timeout_minutes": Param(
        15,
        type="integer",
        minimum=1,
        maximum=10080,
        title="Idle minutes before EMR ends the cluster itself",
        description="The second belt: it holds even when Airflow is gone.",
        section="Cluster",
    ),
    "ec2_key_name": Param(
        None, type=["null", "string"], title="SSH key", description="Name of an EC2 key pair.", section="Cluster"
    ),
    "ec2_subnet_id": Param(None, type=["null", "string"], pattern=r"^subnet-", title="Subnet", section="Cluster"),
    "service_role": Param("EMR_DefaultRole", type="string", title="Service role", section="Cluster"),
    "instance_profile": Param("EMR_EC2_DefaultRole", type="string", title="Instance profile", section="Cluster"),
    "wheelhouse": Param(
        None,
        type=["null", "string"],
        pattern=r"^s3://",
        title="Wheelhouse",
        description="s3:// prefix with the wheels of bootstrap/requirements*.txt; without it the nodes install from PyPI.",
        section="Cluster",
    ),
    "spark_defaults": Param(
        {},
        type="object",
        additionalProperties={"type": "string"},
        title="Spark properties",
        description="Added to, and overriding, the cluster's spark-defaults.",
        section="Cluster",
    ),
}


class ConfigError(AirflowFailException):
    """A setting that cannot work, so that trying again cannot help; the message names it."""


def run_name(run_id: str) -> str:
    """The Airflow run_id as a folder name: Hadoop paths dislike ``:`` and ``+``."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", run_id)


@dataclass(frozen=True)
class RunConfig:
    """Everything one run was asked to do. Prefixes end in ``/`` or are empty; URIs never end in ``/``."""

    run: str
    bucket: str
    images_prefix: str
    output_prefix: str
    weights: str
    variance: float
    max_reject_share: float
    refit: bool
    region: str
    release_label: str
    applications: tuple[str, ...]
    primary_instance_type: str
    core_instance_type: str
    core_instance_count: int
    idle_timeout_minutes: int
    ec2_key_name: str | None
    ec2_subnet_id: str | None
    service_role: str
    instance_profile: str
    wheelhouse: str | None
    spark_defaults: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_params(cls, params: Mapping[str, Any], run_id: str) -> "RunConfig":
        """Check the params of a run and freeze them.

        Raises:
            ConfigError: naming the param that cannot work. The JSON schemas of ``PARAMS`` catch most of it earlier; this
                also holds where they are not applied, and checks what concerns two params at once.
        """
        values = {name: params[name] for name in PARAMS}
        if not 0 < values["variance"] <= 1:
            raise ConfigError(f"variance is {values['variance']}: it must be above 0 and at most 1, e.g. 0.8")
        if not 0 <= values["max_reject_share"] <= 1:
            raise ConfigError(f"max_reject_share is {values['max_reject_share']}: it must be between 0 and 1")
        if "Spark" not in values["applications"]:
            raise ConfigError(f"applications is {values['applications']}: without Spark no step can run")
        for name in ("images_prefix", "output_prefix"):
            prefix = values[name].strip("/")
            values[name] = f"{prefix}/" if prefix else ""
        config = cls(
            run=run_name(run_id),
            **{
                **values,
                "applications": tuple(values["applications"]),
                "spark_defaults": dict(values["spark_defaults"]),
            },
        )
        for folder in ("artifacts", "models", "runs", "features", "rejects", "results", "logs"):
            if config.key(folder, "").startswith(config.images_prefix):
                raise ConfigError(
                    f"images_prefix {config.images_prefix!r} would take the pipeline's own {config.key(folder, '')!r} for "
                    "images: give the images a prefix of their own, or move output_prefix elsewhere"
                )
        return config

    def key(self, *parts: str) -> str:
        """The key of something the pipeline writes."""
        return self.output_prefix + "/".join(parts)

    def uri(self, *parts: str) -> str:
        """The s3:// URI of something the pipeline writes."""
        return f"s3://{self.bucket}/{self.key(*parts)}"

    @property
    def inventory_key(self) -> str:
        """Everything listed by this run."""
        return self.key("runs", self.run, "inventory", "inventory.parquet")

    @property
    def manifest_key(self) -> str:
        """What this run must extract."""
        return self.key("runs", self.run, "manifest", "manifest.parquet")

    @property
    def network_key(self) -> str:
        """Which network this run uses: a JSON document written by export_model."""
        return self.key("runs", self.run, "model.json")

    @property
    def progress_key(self) -> str:
        """How far the running step is: a JSON document written by extract_features."""
        return self.key("runs", self.run, "progress.json")

    @property
    def latest_key(self) -> str:
        """The pointer to the latest good results."""
        return self.key("results", "latest.json")

    def features_key(self, run: str | None = None) -> str:
        """Folder of the features that ``run`` (this one by default) extracted."""
        return self.key("features", f"run={run or self.run}")

    def rejects_key(self, run: str | None = None) -> str:
        """Folder of the images that ``run`` (this one by default) could not use."""
        return self.key("rejects", f"run={run or self.run}")

    def results_key(self, *parts: str) -> str:
        """Folder, or a file in it, of this run's results."""
        return self.key("results", f"run={self.run}", *parts)

    def as_uri(self, key: str) -> str:
        """The s3:// URI of a key in the run's bucket."""
        return f"s3://{self.bucket}/{key}"
