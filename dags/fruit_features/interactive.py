"""A cluster that its run leaves to a person: what it has beside Spark, and how to reach it."""

from typing import TYPE_CHECKING

from fruit_features.run import Run

if TYPE_CHECKING:
    from mypy_boto3_emr.type_defs import ConfigurationUnionTypeDef

APPLICATIONS = ("JupyterHub", "Livy", "JupyterEnterpriseGateway")
JUPYTERHUB_PORT = 9443  # on the primary node, HTTPS


def applications(run: Run) -> list[str]:
    """Return the applications of the run's cluster, each once."""
    chosen = run.settings.applications
    return list(dict.fromkeys([*chosen, *(APPLICATIONS if run.settings.interactive else ())]))


def configurations(run: Run) -> "list[ConfigurationUnionTypeDef]":
    """Return what keeps notebooks: in the bucket, below `jupyter/`, as the cluster's disks end with it."""
    if "JupyterHub" not in applications(run):
        return []
    kept = {"s3.persistence.enabled": "true", "s3.persistence.bucket": run.settings.bucket}
    return [{"Classification": "jupyter-s3-conf", "Properties": kept}]


def reason_to_keep(run: Run) -> str | None:
    """Return why the teardown leaves the cluster, and how to reach it, with `{cluster_id}` in it; None if it does not."""
    settings = run.settings
    if not settings.interactive:
        return None
    primary = "--instance-fleet-type MASTER" if settings.has_fleets else "--instance-group-types MASTER"
    return (
        f"interactive is on: cluster {{cluster_id}} stays, and costs money, until it is idle for {settings.idle_timeout_minutes} "
        f"minutes. With AWS_DEFAULT_REGION={settings.region}, and SessionManager=true in the stack:\n"
        "  aws ssm start-session --document-name AWS-StartPortForwardingSession "
        f"--parameters portNumber={JUPYTERHUB_PORT},localPortNumber={JUPYTERHUB_PORT} --target $(aws emr list-instances "
        f"--cluster-id {{cluster_id}} {primary} --query Instances[0].Ec2InstanceId --output text)\n"
        f"  then https://localhost:{JUPYTERHUB_PORT}, user jovyan, password jupyter\n"
        "  to end it: aws emr terminate-clusters --cluster-ids {cluster_id}"
    )
