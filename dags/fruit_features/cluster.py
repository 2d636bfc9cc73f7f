"""Run -> RunJobFlow request. Pure: nothing here talks to AWS."""

import hashlib
from typing import TYPE_CHECKING, cast

from fruit_features import executors, fleets, interactive, overrides, tags
from fruit_features.config import DEPLOYMENT, NODE_PYTHON
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

NAME_LENGTH = 200  # EMR takes 256 characters; the name of a replacement adds the id of the cluster that was lost


def cluster_name(run: Run) -> str:
    """Return a name that no other run has: a retry finds the cluster that an earlier attempt may have created.

    Not even a run of the same id in another installation, which the clock has started on the same bucket, if each has a name
    (FRUITS_DEPLOYMENT).
    """
    place = f"{run.settings.bucket}/{run.layout.output_prefix}"
    name = " ".join(filter(None, [tags.APPLICATION_NAME, DEPLOYMENT, place, run.name]))
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: NAME_LENGTH - len(digest) - 1]} {digest}"


def job_flow_request(run: Run, artifacts: dict[str, str]) -> "RunJobFlowInputTypeDef":
    """Return the request that creates the run's cluster.

    It is kept alive between steps. Fallback, should Airflow be gone before it can terminate it: EMR does so by itself after
    `idle_timeout_minutes` without work.

    Args:
        run: of the DAG.
        artifacts: s3:// URI of each deployed file, by name.

    Raises:
        ConfigError: `job_flow_overrides` names what may not be overridden, or what EMR does not know.
    """
    settings = run.settings
    request: RunJobFlowInputTypeDef = {
        "Name": cluster_name(run),
        "ReleaseLabel": settings.release_label,
        "Applications": [{"Name": name} for name in interactive.applications(run)],
        "Instances": _instances(run),
        "Configurations": _configurations(run),
        "BootstrapActions": [_bootstrap_action(run, artifacts)],
        "LogUri": f"{run.layout.logs.uri}/",
        "ServiceRole": settings.service_role,
        "JobFlowRole": settings.instance_profile,
        "VisibleToAllUsers": True,
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_timeout_minutes * 60},
        "Tags": tags.cluster_tags(
            run.run_id, DEPLOYMENT, step_timeout_hours=settings.step_timeout_hours, interactive=settings.interactive
        ),
    }
    if settings.max_nodes:
        request["ManagedScalingPolicy"] = fleets.managed_scaling(settings)
    if settings.security_configuration:
        request["SecurityConfiguration"] = settings.security_configuration
    return cast("RunJobFlowInputTypeDef", overrides.merge(request, settings.job_flow_overrides))


def _instances(run: Run) -> "JobFlowInstancesConfigTypeDef":
    settings = run.settings
    instances: JobFlowInstancesConfigTypeDef = {"KeepJobFlowAliveWhenNoSteps": True, "TerminationProtected": False}
    if settings.has_fleets:
        instances["InstanceFleets"] = fleets.instance_fleets(settings)
    else:
        instances["InstanceGroups"] = [
            _instance_group("Primary", "MASTER", settings.primary_instance_type, 1),
            _instance_group("Core", "CORE", settings.core_instance_type, settings.core_instance_count),
        ]
    if settings.ec2_key_name:
        instances["Ec2KeyName"] = settings.ec2_key_name
    if settings.ec2_subnet_id and settings.has_fleets:
        instances["Ec2SubnetIds"] = [settings.ec2_subnet_id]
    elif settings.ec2_subnet_id:
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
    settings = run.settings
    defaults = executors.spark_defaults(settings.smallest_worker, settings.worker_count, settings.region)
    environment = {
        "PYSPARK_PYTHON": NODE_PYTHON,
        "PYSPARK_DRIVER_PYTHON": NODE_PYTHON,
        **executors.node_environment(settings.region),
    }
    return [
        {"Classification": "spark-defaults", "Properties": {**defaults, **settings.spark_defaults}},
        {
            "Classification": "spark-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": environment}],
        },
        {"Classification": "capacity-scheduler", "Properties": executors.CAPACITY_SCHEDULER},
        {"Classification": "yarn-site", "Properties": executors.yarn_site(settings.smallest_worker)},
        *interactive.configurations(run),
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
