"""Clients of the endpoint for tests, and small requests to start from."""

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from local_emr import LocalEmr

REGION = "eu-west-3"
GROUPS = [
    {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
    {"InstanceRole": "CORE", "InstanceType": "m5.2xlarge", "InstanceCount": 2},
]

# What a busy machine may take: a condition that never comes true fails all the same.
PATIENCE = 60


def client(aws: LocalEmr, service: str, region: str = REGION, **config: Any) -> Any:
    """A client that tries once."""
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=aws.endpoint_url,
        config=Config(**{"retries": {"max_attempts": 0}, **config}),
    )


def job_flow(**changes: Any) -> dict[str, Any]:
    """A RunJobFlow request for a cluster that waits; `Instances` is merged."""
    instances = {"InstanceGroups": GROUPS, "KeepJobFlowAliveWhenNoSteps": True} | changes.pop("Instances", {})
    return {
        "Name": "test",
        "ReleaseLabel": "emr-7.13.0",
        "LogUri": "s3://data/logs",
        "Instances": instances,
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "ServiceRole": "EMR_DefaultRole",
    } | changes


def step(*arguments: str, name: str = "step", on_failure: str = "CONTINUE") -> dict[str, Any]:
    """A step that runs a command on the node."""
    return {
        "Name": name,
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": list(arguments)},
    }


def until_exists(gate: Path) -> str:
    """A shell command that waits until the test makes a file: what a test holds it lets go, however slow the machine is."""
    return f"until [ -e '{gate}' ]; do sleep 0.05; done"


def error(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    """Code and message of the API's error."""
    answer = raised.value.response["Error"]
    return answer["Code"], answer["Message"]


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still not so after {seconds} s")


class Emr:
    """The questions that tests ask of a cluster."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def create(self, **changes: Any) -> str:
        return self.client.run_job_flow(**job_flow(**changes))["JobFlowId"]

    def status(self, cluster: str) -> dict[str, Any]:
        return self.client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]

    def state(self, cluster: str) -> str:
        return self.status(cluster)["State"]

    def until(self, cluster: str, *states: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The cluster's status once it is in one of the states."""
        wait_for(lambda: self.state(cluster) in states, seconds)
        return self.status(cluster)

    def add(self, cluster: str, *steps: dict[str, Any]) -> list[str]:
        return self.client.add_job_flow_steps(JobFlowId=cluster, Steps=list(steps))["StepIds"]

    def step_status(self, cluster: str, step_id: str) -> dict[str, Any]:
        return self.client.describe_step(ClusterId=cluster, StepId=step_id)["Step"]["Status"]

    def step_until(self, cluster: str, step_id: str, *states: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The step's status once it is in one of the states."""
        wait_for(lambda: self.step_status(cluster, step_id)["State"] in states, seconds)
        return self.step_status(cluster, step_id)

    def states(self, cluster: str, steps: list[str]) -> list[str]:
        return [self.step_status(cluster, step_id)["State"] for step_id in steps]

    def ended(self, cluster: str, steps: list[str], seconds: float = PATIENCE) -> list[str]:
        """The steps' states once all are final."""
        final = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
        wait_for(lambda: set(self.states(cluster, steps)) <= final, seconds)
        return self.states(cluster, steps)


def open_history(link: str) -> requests.Response:
    """The page that the link to a step's Spark history leads to once the history server is up."""

    def opened() -> requests.Response | None:
        answer = requests.get(link, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer if answer.history else None

    return wait_for(opened, 2 * PATIENCE)


def log(s3: Any, cluster: str, path: str) -> str:
    """A log below the cluster's LogUri."""
    body = s3.get_object(Bucket="data", Key=f"logs/{cluster}/{path}.gz")["Body"].read()
    return gzip.decompress(body).decode()
