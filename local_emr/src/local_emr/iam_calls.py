"""A request as IAM sees it: caller, action, resource and condition keys.

One request may need several permissions: RunJobFlow needs those for its tags, its limits and the roles that it passes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET

from moto.iam.exceptions import IAMException
from moto.iam.models import iam_backends

from local_emr.emr.registry import Registry
from local_emr.emr.s3_access import ACCOUNT_ID

# By method, of the sub-resource that the query names; "" is the bucket or the object itself.
BUCKET_ACTIONS = {
    ("GET", ""): "ListBucket",
    ("HEAD", ""): "ListBucket",
    ("GET", "list-type"): "ListBucket",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "uploads"): "ListBucketMultipartUploads",
    ("GET", "versions"): "ListBucketVersions",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
}
OBJECT_ACTIONS = {
    ("GET", ""): "GetObject",
    ("HEAD", ""): "GetObject",
    ("GET", "versionId"): "GetObjectVersion",
    ("HEAD", "versionId"): "GetObjectVersion",
    ("GET", "uploadId"): "ListMultipartUploadParts",
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", ""): "PutObject",
    ("PUT", "uploadId"): "PutObject",
    ("POST", "uploads"): "PutObject",
    ("POST", "uploadId"): "PutObject",
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "versionId"): "DeleteObjectVersion",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("PUT", "tagging"): "PutObjectTagging",
    ("PUT", "acl"): "PutObjectAcl",
}
# By the parameter that names one, without `Name`; the former first, where a request names both.
IAM_KINDS = {"InstanceProfile": "instance-profile", "Role": "role"}
SUB_RESOURCES = {name for _, name in (*BUCKET_ACTIONS, *OBJECT_ACTIONS)} | {"delete", "policy", "acl", "versioning"}


@dataclass(frozen=True)
class Call:
    """One permission that a request needs; `*` where the action takes no resource, or it has none yet."""

    action: str
    resource: str = "*"
    conditions: dict[str, str] = field(default_factory=dict)


def s3_calls(environ: dict[str, Any], body: bytes) -> Iterator[Call]:
    """Yield what a request to S3 needs; an action `s3:?…` is one that this table does not know."""
    method = environ["REQUEST_METHOD"]
    bucket, _, key = unquote(str(environ["RAW_URI"]).partition("?")[0]).lstrip("/").partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if not bucket:
        yield Call("s3:ListAllMyBuckets")
        return
    arn = f"arn:aws:s3:::{bucket}"
    (sub, *_) = [*sorted(SUB_RESOURCES & set(query)), ""]
    if method == "POST" and sub == "delete":
        for found in ET.fromstring(body).iter():  # noqa: S314 - of this machine's own client
            if found.tag.rpartition("}")[2] == "Key":
                yield Call("s3:DeleteObject", f"{arn}/{found.text}")
        return
    known = OBJECT_ACTIONS if key else BUCKET_ACTIONS
    action = "s3:" + known.get((method, sub), f"?{method} {sub}")
    conditions = {f"s3:{name}": query[name][0] for name in ("prefix", "delimiter") if name in query}
    yield Call(action, f"{arn}/{key}" if key else arn, conditions)
    if source := environ.get("HTTP_X_AMZ_COPY_SOURCE"):
        yield Call("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').partition('?')[0]}")


def emr_calls(registry: Registry, operation: str, request: dict[str, Any], region: str) -> Iterator[Call]:
    """Yield what a request to EMR needs."""
    clusters = f"arn:aws:elasticmapreduce:{region}:{ACCOUNT_ID}:cluster"
    if operation == "RunJobFlow":
        tags = {tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", [])}
        conditions = {f"elasticmapreduce:RequestTag/{key}": value for key, value in tags.items()}
        yield Call("elasticmapreduce:RunJobFlow", "*", conditions)
        if tags:
            yield Call("elasticmapreduce:AddTags", "*", conditions)
        for name in ("AutoTerminationPolicy", "ManagedScalingPolicy"):
            if name in request:
                yield Call(f"elasticmapreduce:Put{name}", f"{clusters}/*")
        yield from _passed_roles(request)
        return
    ids = request.get("ClusterId") or request.get("JobFlowId") or request.get("ResourceId") or request.get("JobFlowIds")
    for cluster_id in [ids] if isinstance(ids, str) else ids or []:
        found = registry.find(cluster_id)
        tags = found.cluster.tags if found else {}
        conditions = {f"elasticmapreduce:ResourceTag/{key}": value for key, value in tags.items()}
        yield Call(f"elasticmapreduce:{operation}", f"{clusters}/{cluster_id}", conditions)
    if not ids:
        yield Call(f"elasticmapreduce:{operation}")


def _passed_roles(request: dict[str, Any]) -> Iterator[Call]:
    for name, service in (("ServiceRole", "elasticmapreduce"), ("AutoScalingRole", "application-autoscaling")):
        if role := request.get(name):
            yield Call("iam:PassRole", _role_arn(role), {"iam:PassedToService": f"{service}.amazonaws.com"})
    if profile := request.get("JobFlowRole"):
        try:
            role = iam_backends[ACCOUNT_ID]["aws"].get_instance_profile(profile).roles[0].arn
        except (IAMException, IndexError):  # nobody made one: EMR's default profile has the name of its role
            role = _role_arn(profile)
        yield Call("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})


def _role_arn(role: str) -> str:
    return role if role.startswith("arn:") else f"arn:aws:iam::{ACCOUNT_ID}:role/{role}"


def other_calls(service: str, environ: dict[str, Any], body: bytes, region: str) -> Iterator[Call]:
    """Yield what a request to another service needs; only queues, roles and instance profiles are told apart."""
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    form = {} if target else {key: values[0] for key, values in parse_qs(body.decode(errors="replace")).items()}
    operation = target or form.get("Action", "?")
    resource = "*"
    if service == "iam" and (kind := next((one for one in IAM_KINDS if f"{one}Name" in form), None)):
        resource = f"arn:aws:iam::{ACCOUNT_ID}:{IAM_KINDS[kind]}/{form[f'{kind}Name']}"
    if service == "sqs" and target:
        url = json.loads(body or b"{}").get("QueueUrl", "")
        resource = f"arn:aws:sqs:{region}:{ACCOUNT_ID}:{url.rpartition('/')[2]}" if url else "*"
        operation = operation.removesuffix("Batch")  # IAM has no actions for batches: that of one message is asked for
    yield Call(f"{service}:{operation}", resource)
