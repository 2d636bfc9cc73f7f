"""What ends a cluster when Airflow does not: each belt by itself."""

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from fruit_features.cluster import job_flow_request
from fruit_features.run import Run
from fruit_features.steps import spark_step
from local_emr import LocalEmr, Timing
from tests.dags.test_requests import ARTIFACTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BUCKET = "belts"
HANGS = """
import time
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate()
print("application is up", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def emr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EMR on which a minute of idleness takes half a second."""
    timing = Timing(starting=0.05, bootstrapping=0.05, terminating=0.05, idle_scale=0.01)
    with LocalEmr(port=0, timing=timing) as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        endpoint.reset()
        bucket = boto3.resource("s3").Bucket(BUCKET)
        bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
        bucket.put_object(Key="hang.py", Body=HANGS.encode())
        yield boto3.client("emr")
        bucket.objects.all().delete()
        bucket.delete()


def test_a_hung_application_ends_itself_and_then_its_idle_cluster(emr: Any, make_run: Callable[..., Run]) -> None:
    # Airflow is gone: nobody cancels the step, nobody terminates the cluster. To EMR a hung application is never idle.
    run = make_run(bucket=BUCKET, step_timeout_hours=20 / 3600, idle_timeout_minutes=10080)
    request = {**job_flow_request(run, ARTIFACTS), "BootstrapActions": []}
    cluster_id = emr.run_job_flow(**request)["JobFlowId"]
    script = f"s3://{BUCKET}/hang.py"
    (step_id,) = emr.add_job_flow_steps(
        JobFlowId=cluster_id, Steps=[spark_step(run, "hang", {"hang.py": script, "spark_jobs.zip": script})]
    )["StepIds"]

    waiting = {"ClusterId": cluster_id, "WaiterConfig": {"Delay": 1, "MaxAttempts": 200}}
    with pytest.raises(Exception, match="Waiter StepComplete failed"):
        emr.get_waiter("step_complete").wait(StepId=step_id, **waiting)
    assert emr.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]["Status"]["State"] == "FAILED"
    log = (
        boto3.client("s3").get_object(Bucket=BUCKET, Key=f"logs/{cluster_id}/steps/{step_id}/stderr.gz")["Body"].read()
    )
    assert "Command exiting with ret '124'" in gzip.decompress(log).decode()

    emr.put_auto_termination_policy(ClusterId=cluster_id, AutoTerminationPolicy={"IdleTimeout": 60})
    emr.get_waiter("cluster_terminated").wait(**waiting)
