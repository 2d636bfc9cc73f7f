"""What an account has before anybody has made anything in it, and moto lacks: EMR's default roles, and EC2's quotas."""

import contextlib
import json
from typing import Any

from moto.iam.exceptions import IAMException
from moto.iam.models import iam_backends

from local_emr.emr.s3_access import ACCOUNT_ID

SERVICE_ROLE, NODE_ROLE = "EMR_DefaultRole", "EMR_EC2_DefaultRole"
QUOTA_TARGET = "ServiceQuotasV20190624.GetServiceQuota"
# vCPUs of running standard instances, on demand and Spot: what an account gets that has been used for a while.
EC2_QUOTAS = {"L-1216C47A": 1152.0, "L-34B43A08": 1152.0}


def make_default_roles() -> None:
    """Make the roles that `aws emr create-default-roles` makes, unless they are there."""
    iam = iam_backends[ACCOUNT_ID]["aws"]
    with contextlib.suppress(IAMException):
        for name, service in ((SERVICE_ROLE, "elasticmapreduce"), (NODE_ROLE, "ec2")):
            iam.create_role(name, _trust(service), "/", None, "", [], "3600")
        iam.create_instance_profile(NODE_ROLE, "/", [])
        iam.add_role_to_instance_profile(NODE_ROLE, NODE_ROLE)


def _trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def quota(body: bytes, quotas: dict[str, float]) -> dict[str, Any] | None:
    """Return the answer to GetServiceQuota for one of EC2's; None for any other, which moto answers.

    Args:
        body: of the request.
        quotas: by code.
    """
    request = json.loads(body or b"{}")
    code = request.get("QuotaCode")
    if request.get("ServiceCode") != "ec2" or code not in quotas:
        return None
    return {
        "Quota": {"ServiceCode": "ec2", "QuotaCode": code, "Value": quotas[code], "Unit": "None", "Adjustable": True}
    }
