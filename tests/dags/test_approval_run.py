"""A run that waits for a person: real tasks, and the answer over Airflow's REST API."""

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from demo.local_airflow import LocalAirflow
from local_emr import LocalEmr
from tests.webhook import Messages

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]
BUCKET = "orchard"
# What the UI sends under Required Actions, to an API server in a process of its own.
ANSWER = """
import sys
from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient

with TestClient(create_app()) as client:
    client.headers["Authorization"] = "Bearer " + client.get("/auth/token").json()["access_token"]
    runs = client.get("/api/v2/dags/fruit_features/dagRuns").json()["dag_runs"]
    task = f"/api/v2/dags/fruit_features/dagRuns/{runs[0]['dag_run_id']}/taskInstances/approve_cost/-1/hitlDetails"
    answer = client.patch(task, json={"chosen_options": [sys.argv[1]], "params_input": {}})
    print(answer.status_code, answer.text)
"""


def test_a_rejected_run_has_no_cluster_is_not_shown_as_a_success_and_is_told_of(tmp_path: Path) -> None:
    with LocalEmr(port=0) as aws, Messages() as told:
        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=aws.region)
        s3 = session.client("s3", endpoint_url=aws.endpoint_url)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws.region})
        s3.put_object(Bucket=BUCKET, Key="images/Kiwi/1.jpg", Body=b"image")
        s3.put_object(Bucket=BUCKET, Key="w.h5", Body=b"\x89HDF\r\n\x1a\nweights")
        airflow = LocalAirflow(tmp_path / "airflow", aws.environment())
        airflow.environment |= {
            "AIRFLOW_CONN_CHAT": json.dumps({"conn_type": "http", "host": told.url}),
            "FRUITS_NOTIFY_CONN": "chat",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        }
        params = {"bucket": BUCKET, "weights": f"s3://{BUCKET}/w.h5", "approval_above_usd": 0.01}
        log, answered = [], None
        with airflow.test_dag("fruit_features", params) as test:
            for line in test:
                log.append(line)
                if answered is None and "Waiting for Human-in-the-loop input for tasks: ['approve_cost']" in line:
                    command = [sys.executable, "-c", ANSWER, "Reject"]
                    answered = subprocess.run(
                        command, env=airflow.environment, capture_output=True, text=True, check=False
                    )

        assert answered is not None, "\n".join(log)
        assert "200 " in answered.stdout, answered.stdout + answered.stderr
        assert test.exit_code != 0
        errors = [
            line
            for line in log
            if "has rejected the run: nothing was created. The request was: 1 new images of 1" in line
        ]
        assert errors, "\n".join(log)
        assert session.client("emr", endpoint_url=aws.endpoint_url).list_clusters()["Clusters"] == []
        message = told.wait_for("the run has failed in approve_cost: ", seconds=10)
        assert "has rejected the run" in message
        assert told.count("has failed") == 1
