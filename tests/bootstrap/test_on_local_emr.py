"""The bootstrap script as a bootstrap action of a cluster of local_emr, which writes down what it would install."""

import json
import time
import urllib.request

import boto3
import pytest

from local_emr import LocalEmr, Timing
from local_emr.emr.bootstrap import can_isolate
from tests.conftest import PROJECT


@pytest.mark.skipif(not can_isolate(), reason="no user namespaces on this system")
def test_it_installs_locked_packages_on_the_primary_and_the_core_node(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalEmr(timing=Timing(starting=0.1, bootstrapping=0.1, terminating=0.1)) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        s3, emr = boto3.client("s3"), boto3.client("emr")
        s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": aws.region})
        for path in (PROJECT / "bootstrap").iterdir():
            s3.upload_file(str(path), "data", f"artifacts/{path.name}")
        arguments = [
            *("--requirements", "s3://data/artifacts/requirements.txt"),
            *("--primary-requirements", "s3://data/artifacts/requirements-primary.txt"),
        ]
        script = {"Path": "s3://data/artifacts/install_dependencies.sh", "Args": arguments}
        cluster = emr.run_job_flow(
            Name="bootstrap",
            ReleaseLabel="emr-7.13.0",
            Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 2, "KeepJobFlowAliveWhenNoSteps": True},
            BootstrapActions=[{"Name": "install", "ScriptBootstrapAction": script}],
        )["JobFlowId"]

        deadline = time.monotonic() + 60
        state = "STARTING"
        while state in {"STARTING", "BOOTSTRAPPING"} and time.monotonic() < deadline:
            time.sleep(0.1)
            state = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"]
        with urllib.request.urlopen(f"{aws.endpoint_url}/_local_emr/clusters/{cluster}/bootstrap") as answer:
            installs = [entry for entry in json.load(answer)["commands"] if "pip" in entry["command"]]

    assert state == "WAITING"
    assert [entry["node"] for entry in installs] == ["MASTER", "CORE"]
    assert all("--require-hashes" in entry["command"] for entry in installs)
