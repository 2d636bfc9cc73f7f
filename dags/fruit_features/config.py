"""Settings of the Airflow installation, read once from the environment (`.env.example` lists them), and named limits.

What people choose for each run is in `settings`.
"""

import os
from datetime import timedelta
from pathlib import Path

from fruit_features import xcoms
from fruit_features.tags import run_tag


def _tag(setting: str) -> str | None:
    """Return a setting that becomes a tag.

    Raises:
        ValueError: EMR would refuse every run's cluster for it.
    """
    value = os.environ.get(setting) or None
    if value and (run_tag(value) != value or value.lower().startswith("aws:")):
        raise ValueError(
            f"{setting} is {value!r}, which AWS refuses as a tag: use at most 256 letters, digits, spaces and _ . : / = + - @, "
            "not beginning with aws:"
        )
    return value


# ------------------------------------------------------------------ the installation
PROJECT_FOLDER = Path(os.environ.get("FRUITS_PROJECT") or Path(__file__).resolve().parents[2])
DEFAULT_BUCKET = os.environ.get("FRUITS_BUCKET") or None
DEFAULT_IMAGES_BUCKET = os.environ.get("FRUITS_IMAGES_BUCKET") or None
DEFAULT_IMAGES_PREFIX = os.environ.get("FRUITS_IMAGES_PREFIX") or "images/"
DEFAULT_INCLUDE = tuple(filter(None, os.environ.get("FRUITS_INCLUDE", "").split(","))) or None
DEFAULT_EXCLUDE = tuple(filter(None, os.environ.get("FRUITS_EXCLUDE", "").split(","))) or None
DEFAULT_INVENTORY_SOURCE = os.environ.get("FRUITS_INVENTORY_SOURCE") or None
DEFAULT_OUTPUT_PREFIX = os.environ.get("FRUITS_OUTPUT_PREFIX") or None
DEFAULT_WEIGHTS = os.environ.get("FRUITS_WEIGHTS") or "imagenet"
DEFAULT_REGION = os.environ.get("FRUITS_REGION") or "eu-west-3"
# What infra/template.yaml creates, and its output DotEnv names.
DEFAULT_SERVICE_ROLE = os.environ.get("FRUITS_SERVICE_ROLE") or "EMR_DefaultRole"
DEFAULT_INSTANCE_PROFILE = os.environ.get("FRUITS_INSTANCE_PROFILE") or "EMR_EC2_DefaultRole"
DEFAULT_SECURITY_CONFIGURATION = os.environ.get("FRUITS_SECURITY_CONFIGURATION") or None
DEFAULT_SUBNET_ID = os.environ.get("FRUITS_SUBNET_ID") or None
DEPLOYMENT = _tag("FRUITS_DEPLOYMENT")
JANITOR_ENDS = os.environ.get("FRUITS_JANITOR_ENDS", "").lower() == "true"
POLL_SECONDS = max(1.0, float(os.environ.get("FRUITS_POLL_SECONDS") or 30))
SCHEDULE = os.environ.get("FRUITS_SCHEDULE") or None
NOTIFY_CONN = os.environ.get("FRUITS_NOTIFY_CONN") or None
DEADLINE_HOURS = float(os.environ.get("FRUITS_DEADLINE_HOURS") or 0)
QUEUE_URL = os.environ.get("FRUITS_QUEUE_URL") or None
DEFAULT_APPROVAL_ABOVE_USD = (
    float(os.environ["FRUITS_APPROVAL_ABOVE_USD"]) if os.environ.get("FRUITS_APPROVAL_ABOVE_USD") else None
)
DEFAULT_MAX_IMAGES_PER_RUN = int(os.environ.get("FRUITS_MAX_IMAGES_PER_RUN") or 0) or None
HTTPS_PROXY = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")  # boto3 finds it itself, Arrow does not

# ------------------------------------------------------------------ limits
APPROVAL_TIMEOUT = timedelta(hours=24)  # the next run waits as long
CLUSTER_TIMEOUT = timedelta(minutes=40)  # EMR takes 5 to 10 minutes, installing the packages 2 more
TERMINATION_TIMEOUT = timedelta(minutes=20)

# Arguments of every task; each operator takes those that it knows.
TASK_DEFAULTS = {
    "region_name": "{{ params.region }}",
    "retries": 2,
    "retry_delay": timedelta(seconds=POLL_SECONDS),
    "poke_interval": POLL_SECONDS,
}
# The question of `approve_cost`, which find_new_images leaves where there is one. To ask again would not help.
APPROVAL = {
    "subject": "Fruit features: may this run cost that much?",
    "body": f"{{{{ ti.xcom_pull(task_ids='find_new_images', key='{xcoms.APPROVAL}') or '' }}}}",
    "response_timeout": APPROVAL_TIMEOUT,
    "retries": 0,
}
OUTPUTS = {
    "deferrable": False,
    "mode": "reschedule",
    "timeout": timedelta(minutes=2),  # S3 has an object as soon as it is written
}
STEP = {
    "poll_interval": POLL_SECONDS,
    "step_timeout_hours": "{{ params.step_timeout_hours }}",
    "cluster_timeout": CLUSTER_TIMEOUT,
    "ends_cluster": "{{ not params.interactive }}",  # no later task needs the cluster of a step that has failed
}
# What works on a cluster outlasts an outage of AWS's API, however short the poll interval: giving up ends the cluster. Its first
# retry comes soon, as the cause may be a worker that was killed, and the cluster costs: 10 s, 30 s, 90 s, 4.5 and 10 minutes,
# and up to twice as long each.
PATIENCE = {
    "retries": 5,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 3,
    "max_retry_delay": timedelta(minutes=10),
}
# A cluster with a hung Spark application is never idle, so that only the teardown ends it: its retries must outlast more.
TERMINATION = {
    # A template, not the task's output: the teardown hangs below what uses the cluster, and below nothing else.
    "reason_to_keep": "{{ ti.xcom_pull(task_ids='emr_requests', key='reason_to_keep') or '' }}",
    "termination_timeout": TERMINATION_TIMEOUT,
    "waiter_delay": POLL_SECONDS,
    "retries": 10,
    "retry_delay": timedelta(minutes=3),
}

# ------------------------------------------------------------------ the nodes
NODE_PYTHON = "/opt/fruits/venv/bin/python"  # made by bootstrap/install_dependencies.sh
