"""What the plugins ask of AWS outside a task's run, against the policies of the stack that serves it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from fastapi.testclient import TestClient

import results_plugin
from local_emr import LocalEmr
from policies import Call, allows
from results_page import pages
from tests.infra.stack import Stack, deploy, document, recorded_calls

PHOTO = b"\xff\xd8\xff a photo"


class Account:
    """An endpoint whose calls are recorded, and what a person does there.

    Args:
        aws: the endpoint.
        calls: its access log.
        patch: sets the environment of Airflow.
    """

    def __init__(self, aws: LocalEmr, calls: Path, patch: pytest.MonkeyPatch) -> None:
        self.aws, self._calls, self._patch = aws, calls, patch
        session = boto3.Session(aws_access_key_id="person", aws_secret_access_key="-", region_name="eu-west-3")
        self.client = lambda service: session.client(service, endpoint_url=aws.endpoint_url)
        aws.reset()  # buckets are shared by all endpoints of a process

    def deploy(self, **parameters: str) -> Stack:
        """Create the stack, and be the Airflow that has its settings."""
        stack = deploy(self.client("cloudformation"), self.client("iam"), BucketName="orchard", **parameters)
        for name, value in {**self.aws.environment(), **stack.dot_env, "AWS_ACCESS_KEY_ID": "airflow"}.items():
            self._patch.setenv(name, value)
        return stack

    def refused(self, *policies: dict[str, Any], service: str) -> list[str]:
        """Return what Airflow has asked of a service that the policies do not allow."""
        calls = recorded_calls(self._calls.read_text(encoding="utf-8"), "airflow")
        asked = [call for call in calls if call.action.startswith(f"{service}:")]
        assert asked
        return [str(call) for call in asked if not allows(policies, call)]


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    calls = tmp_path / "calls.jsonl"
    with LocalEmr(port=0, access_log=calls) as aws:
        yield Account(aws, calls, monkeypatch)
        aws.reset()


@pytest.mark.parametrize("images_bucket", ["", "photos"])
def test_the_results_page_shows_pictures(account: Account, images_bucket: str) -> None:
    stack = account.deploy(ImagesBucket=images_bucket)
    policies = [stack.airflow]
    if images_bucket:
        location = {"LocationConstraint": "eu-west-3"}
        account.client("s3").create_bucket(Bucket=images_bucket, CreateBucketConfiguration=location)
        policies.append(document(account.client("iam"), stack.outputs["ImagesPolicyArn"]))
    account.client("s3").put_object(Bucket=images_bucket or "orchard", Key="images/Kiwi/1.jpg", Body=PHOTO)
    results_plugin._results.cache_clear()  # of another test's endpoint
    app = pages.create_app(lambda _: results_plugin.open_results(None), dict)  # without Airflow's database
    app.dependency_overrides[pages.may_see_runs] = lambda: None

    with TestClient(app) as browser:
        assert "images/Kiwi/1.jpg" in browser.get("/runs/r/varieties?label=Kiwi").text.replace("%2F", "/")
        assert browser.get("/runs/r/image?key=images/Kiwi/1.jpg").content == PHOTO
        assert browser.get("/").status_code == 200
        assert browser.get("/runs/r/rejects").status_code == 200

    assert account.refused(*policies, service="s3") == []
    own = Call("s3:GetObject", "arn:aws:s3:::orchard/images/Kiwi/1.jpg")
    assert allows(policies, own) is not bool(images_bucket), "no more than where the images are"
