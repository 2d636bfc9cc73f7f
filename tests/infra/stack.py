"""The stack of infra/template.yaml on a local endpoint, by the same call as on AWS.

moto creates the bucket, the queues, the roles with their policies, the key, the network and the security configuration. It
passes over bucket and queue policies, encryption, versioning, life cycles and the notification: test_template.py reads those.
"""

import json
import shlex
import warnings
from dataclasses import dataclass
from typing import Any

import yaml

from policies import Call, Grant
from tests.conftest import PROJECT

TEMPLATE = PROJECT / "infra/template.yaml"


@dataclass(frozen=True)
class Stack:
    """What the stack has created: outputs by name, and the two policies."""

    outputs: dict[str, str]
    airflow: dict[str, Any]
    nodes: dict[str, Any]

    @property
    def dot_env(self) -> dict[str, str]:
        """The settings as a shell reads them."""
        return dict(line.split("=", 1) for line in shlex.split(self.outputs["DotEnv"]))


def deploy(cloudformation: Any, iam: Any, *, name: str = "fruit-features", **parameters: str) -> Stack:
    """Create the stack, and read its policies back."""
    parameters = {"AvailabilityZone": "eu-west-3a"} | parameters  # else moto's is us-east-1a, whatever the region
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tried to parse AWS::(S3|SQS|Budgets)::")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return Stack(outputs, *(document(iam, outputs[name]) for name in ("AirflowPolicyArn", "NodePolicyArn")))


def document(iam: Any, arn: str) -> dict[str, Any]:
    """Return what a policy says."""
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def recorded_calls(log: str, caller: str) -> list[Call]:
    """Return a caller's calls from the access log of the endpoint."""
    lines = [json.loads(line) for line in log.splitlines()]
    return [Call(line["action"], line["resource"], line["conditions"]) for line in lines if line["caller"] == caller]


def label(grant: Grant) -> str:
    """Name a grant without what differs from account to account: `<Sid> <action>`, and the folder of objects."""
    folder = grant.resource.partition("/")[2] if grant.resource.startswith("arn:aws:s3:::") else ""
    return f"{grant.sid} {grant.action} {folder}".rstrip()


def justified() -> dict[str, dict[str, str]]:
    """Return infra/justified.yaml: for `airflow` and `nodes`, the grants that a short run does not need, with the reasons."""
    return yaml.safe_load((PROJECT / "infra/justified.yaml").read_text(encoding="utf-8"))
