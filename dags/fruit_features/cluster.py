"""Run -> RunJobFlow request. Pure: nothing here talks to AWS."""

from typing import TYPE_CHECKING

from fruit_features.config import NODE_PYTHON
from fruit_features.run import Run

if TYPE_CHECKING:
    from mypy_boto3_emr.literals import InstanceRoleTypeType
    from mypy_boto3_emr.type_defs import (
        BootstrapActionConfigTypeDef,
        ConfigurationUnionTypeDef,
        InstanceGroupConfigTypeDef,
        JobFlowInstancesConfigTypeDef,
        RunJobFlowInputTypeDef,
    )

# YARN on EMR counts memory, not cores. 8 GB per executor of 4 cores is one executor per m5.xlarge, which has 12 GB for YARN. Half
# of it stays outside the heap: that is where the Python workers and the network live.
SPARK_DEFAULTS = {
    "spark.executor.cores": "4",
    "spark.executor.memory": "4g",
    "spark.executor.memoryOverhead": "4g",
    "spark.driver.memory": "4g",
    # The driver only plans and schedules, and is done in minutes: with the C1 compiler only, extract_features on 2,000 images
    # ends 6 % sooner, reduce_dimensions 12 %.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.sql.session.timeZone": "UTC",
}


def cluster_name(run: Run) -> str:
    """Return a name that no other run has: a retry finds the cluster that an earlier attempt may have created."""
    return f"fruit-features {run.settings.bucket}/{run.layout.output_prefix} {run.name}"


def job_flow_request(run: Run, artifacts: dict[str, str]) -> "RunJobFlowInputTypeDef":
    """Return the request that creates the run's cluster.

    It is kept alive between steps. Fallback, should Airflow be gone before it can terminate it: EMR does so by itself after
    `idle_timeout_minutes` without work.

    Args:
        run: of the DAG.
        artifacts: s3:// URI of each deployed file, by name.
    """
    settings = run.settings
    return {
        "Name": cluster_name(run),
        "ReleaseLabel": settings.release_label,
        "Applications": [{"Name": name} for name in settings.applications],
        "Instances": _instances(run),
        "Configurations": _configurations(run),
        "BootstrapActions": [_bootstrap_action(run, artifacts)],
        "LogUri": f"{run.layout.logs.uri}/",
        "ServiceRole": settings.service_role,
        "JobFlowRole": settings.instance_profile,
        "VisibleToAllUsers": True,
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_timeout_minutes * 60},
        "Tags": [
            {"Key": "application", "Value": "fruit-features"},
            {"Key": "run", "Value": run.name},
            # AWS's managed EMR policies act only on what carries this tag.
            {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"},
        ],
    }


def _instances(run: Run) -> "JobFlowInstancesConfigTypeDef":
    settings = run.settings
    instances: JobFlowInstancesConfigTypeDef = {
        "InstanceGroups": [
            _instance_group("Primary", "MASTER", settings.primary_instance_type, 1),
            _instance_group("Core", "CORE", settings.core_instance_type, settings.core_instance_count),
        ],
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    }
    if settings.ec2_key_name:
        instances["Ec2KeyName"] = settings.ec2_key_name
    if settings.ec2_subnet_id:
        instances["Ec2SubnetId"] = settings.ec2_subnet_id
    return instances


def _instance_group(
    name: str, role: "InstanceRoleTypeType", instance_type: str, count: int
) -> "InstanceGroupConfigTypeDef":
    return {
        "Name": name,
        "InstanceRole": role,
        "InstanceType": instance_type,
        "InstanceCount": count,
        "Market": "ON_DEMAND",
    }


def _configurations(run: Run) -> "list[ConfigurationUnionTypeDef]":
    python = {"PYSPARK_PYTHON": NODE_PYTHON, "PYSPARK_DRIVER_PYTHON": NODE_PYTHON}
    return [
        {"Classification": "spark-defaults", "Properties": {**SPARK_DEFAULTS, **run.settings.spark_defaults}},
        {
            "Classification": "spark-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": python}],
        },
    ]


def _bootstrap_action(run: Run, artifacts: dict[str, str]) -> "BootstrapActionConfigTypeDef":
    arguments = [
        *("--requirements", artifacts["requirements.txt"]),
        *("--primary-requirements", artifacts["requirements-primary.txt"]),
    ]
    if run.settings.wheelhouse:
        arguments += ["--wheelhouse", run.settings.wheelhouse]
    script = artifacts["install_dependencies.sh"]
    return {"Name": "install_dependencies", "ScriptBootstrapAction": {"Path": script, "Args": arguments}}
