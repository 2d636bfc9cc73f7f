"""A cluster's description, and the local EMR endpoint that creates it."""

import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import boto3
import pytest
from botocore.retries import bucket, standard

from local_emr import LocalEmr, Timing


@pytest.fixture
def timing() -> Timing:
    """Seconds that clusters take; a test that looks at a state on the way parametrizes it."""
    return Timing(starting=0.05, bootstrapping=0.05, terminating=0.05)


@pytest.fixture
def aws(timing: Timing, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEmr]:
    with LocalEmr(port=0, timing=timing) as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        endpoint.reset()  # buckets are shared by all endpoints of a process, and another may live on
        boto3.client("s3").create_bucket(
            Bucket="orchard", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
        )
        yield endpoint
        endpoint.reset()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore waits as often as ever, but not as long."""
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.05)
    monkeypatch.setattr(bucket.TokenBucket.__init__, "__defaults__", (50,))  # calls a second, at least


@pytest.fixture
def emr(aws: LocalEmr) -> Any:
    return boto3.client("emr")


@pytest.fixture
def silent(aws: LocalEmr, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An EMR that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EMR", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.fixture
def context() -> dict[str, Any]:
    """What an operator needs of a task's context, at the task's first try: somewhere to push its links."""
    ti = MagicMock(name="task instance", try_number=1, max_tries=2)
    return {"ti": ti, "run_id": "run-1"}


@pytest.fixture
def job_flow() -> dict[str, Any]:
    return {
        "Name": "fruit-features run-1",
        "ReleaseLabel": "emr-7.13.0",
        "LogUri": "s3://orchard/logs/",
        "ServiceRole": "EMR_DefaultRole",
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "Instances": {
            "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
            "KeepJobFlowAliveWhenNoSteps": True,
        },
    }


@pytest.fixture
def cluster_id(emr: Any, job_flow: dict[str, Any]) -> str:
    return emr.run_job_flow(**job_flow)["JobFlowId"]


@pytest.fixture
def retry() -> dict[str, Any]:
    """The context of a task's second try."""
    return {"ti": MagicMock(name="task instance", try_number=2, max_tries=2)}


@pytest.fixture
def cleared() -> dict[str, Any]:
    """The context of the first try after someone cleared the task, which had run once."""
    return {"ti": MagicMock(name="task instance", try_number=2, max_tries=3)}


@pytest.fixture
def retry_of_cleared() -> dict[str, Any]:
    """The context of the second try after that."""
    return {"ti": MagicMock(name="task instance", try_number=3, max_tries=3)}
