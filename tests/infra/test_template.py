"""The template of the AWS account: what moto passes over is read, what it creates is asked."""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.emr.models import emr_backends
from policy_sentry.querying.actions import get_action_data

import bundle
from local_emr import LocalEmr
from policies import Call, Grant, allows, grants
from tests.conftest import PROJECT
from tests.infra.stack import TEMPLATE, Stack, deploy, document, justified, label

ACCOUNT = "123456789012"
CLUSTER = f"arn:aws:elasticmapreduce:eu-west-3:{ACCOUNT}:cluster/j-1"
OURS = {"elasticmapreduce:ResourceTag/application": "fruit-features"}
NEW = {
    "elasticmapreduce:RequestTag/application": "fruit-features",
    "elasticmapreduce:RequestTag/for-use-with-amazon-emr-managed-policies": "true",
}


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's YAML: `!Sub x` becomes {"Sub": x}."""


def _intrinsic(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _intrinsic)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)["Resources"]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with LocalEmr(port=0) as aws:
        session = boto3.Session(aws_access_key_id="person", aws_secret_access_key="-", region_name="eu-west-3")
        yield lambda service: session.client(service, endpoint_url=aws.endpoint_url)


@pytest.fixture(scope="module")
def stack(client: Any) -> Stack:
    return deploy(client("cloudformation"), client("iam"))


def test_the_bucket_is_private_encrypted_and_versioned(resources: dict[str, Any]) -> None:
    bucket = resources["Bucket"]["Properties"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert resources["Bucket"]["DeletionPolicy"] == "Retain", "the images are the user's"


@pytest.mark.parametrize("policy", ["BucketPolicy", "NotificationsPolicy"])
def test_bucket_and_queue_answer_over_tls_only(resources: dict[str, Any], policy: str) -> None:
    statements = resources[policy]["Properties"]["PolicyDocument"]["Statement"]

    (deny,) = [one for one in statements if one["Effect"] == "Deny"]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Principal"] == "*"


def test_nothing_that_results_need_expires(resources: dict[str, Any]) -> None:
    rules = resources["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]

    expiring = {rule["Prefix"]["Sub"] for rule in rules if "ExpirationInDays" in rule}
    assert expiring == {"${OutputPrefix}logs/", "${OutputPrefix}runs/"}
    assert {"AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"} <= {key for rule in rules for key in rule}


def evaluated(value: Any, prefix: str) -> Any:
    """What CloudFormation makes of Join and Split of the parameter ImagesPrefix."""
    if value == {"Ref": "ImagesPrefix"}:
        return prefix
    ((function, (separator, of)),) = value.items()
    if function == "Split":
        return evaluated(of, prefix).split(separator)
    assert function == "Join"
    return separator.join(evaluated(of, prefix))


def test_new_images_reach_the_queue(resources: dict[str, Any]) -> None:
    bucket = resources["Bucket"]
    (elsewhere, _, own) = bucket["Properties"]["NotificationConfiguration"]["If"]
    (event,) = own["QueueConfigurations"]

    assert elsewhere == "OtherImagesBucket"
    (rule,) = event["Filter"]["S3Key"]["Rules"]
    assert rule["Name"] == "prefix"
    announced = {"images/": "images/", "my fruit/of 2026/": "my+fruit/of+2026/", "season=1/": "season%3D1/"}
    assert {prefix: evaluated(rule["Value"], prefix) for prefix in announced} == announced, "encoded as in a URL"
    assert bucket["DependsOn"] == "NotificationsPolicy", "S3 refuses a queue that refuses it"
    (allow, _) = resources["NotificationsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert allow["Principal"] == {"Service": "s3.amazonaws.com"}
    assert set(allow["Condition"]) == {"ArnEquals", "StringEquals"}, "of this bucket and account only"
    assert resources["Notifications"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] == 5


def test_no_port_is_open(resources: dict[str, Any]) -> None:
    types = {resource["Type"] for resource in resources.values()}

    assert not {kind for kind in types if "SecurityGroup" in kind}, "EMR's own open nothing to the outside"


@pytest.mark.parametrize("name", ["Vpc", "Subnet"])
def test_what_the_service_role_acts_on_is_tagged(resources: dict[str, Any], name: str) -> None:
    tags = {tag["Key"]: tag["Value"] for tag in resources[name]["Properties"]["Tags"]}

    assert tags["for-use-with-amazon-emr-managed-policies"] == "true"


def test_the_instance_profile_has_the_name_of_its_role(resources: dict[str, Any]) -> None:
    """Else RunJobFlow may answer "invalid instance profile": emr-iam-roles-custom in EMR's management guide."""
    assert resources["InstanceProfile"]["Properties"] == {
        "InstanceProfileName": {"Ref": "NodeRole"},
        "Roles": [{"Ref": "NodeRole"}],
    }
    assert "--capabilities CAPABILITY_NAMED_IAM " in (PROJECT / "docs/aws.md").read_text(encoding="utf-8")


def test_the_zone_of_the_subnet_may_be_named(client: Any) -> None:
    names = {"name": "zone", "BucketName": "zone", "AvailabilityZone": "eu-west-3c"}
    stack = deploy(client("cloudformation"), client("iam"), **names)

    (subnet,) = client("ec2").describe_subnets(SubnetIds=[stack.dot_env["FRUITS_SUBNET_ID"]])["Subnets"]
    assert subnet["AvailabilityZone"] == "eu-west-3c"


def test_nodes_answer_to_imdsv2_only(resources: dict[str, Any]) -> None:
    configuration = resources["SecurityConfiguration"]["Properties"]["SecurityConfiguration"]

    assert configuration["InstanceMetadataServiceConfiguration"]["MinimumInstanceMetadataServiceVersion"] == 2
    assert configuration["EncryptionConfiguration"]["EnableAtRestEncryption"] is True


def test_the_outputs_are_lines_of_dot_env(stack: Stack) -> None:
    known = {line.partition("=")[0] for line in (PROJECT / ".env.example").read_text().splitlines() if "=" in line[:40]}

    assert set(stack.dot_env) - {"FRUITS_QUEUE_URL"} <= known
    assert all(stack.dot_env.values())
    assert stack.dot_env["FRUITS_BUCKET"] == f"fruit-features-{ACCOUNT}-eu-west-3"
    assert stack.dot_env["FRUITS_SUBNET_ID"].startswith("subnet-")


def test_the_subnet_and_the_bucket_may_be_named(client: Any) -> None:
    named = deploy(
        client("cloudformation"),
        client("iam"),
        name="named",
        BucketName="orchard",
        Network="existing",
        ExistingSubnetId="subnet-0123456789abcdef0",
        OutputPrefix="out/",
        EncryptDisks="false",
    )

    assert (named.dot_env["FRUITS_BUCKET"], named.dot_env["FRUITS_SUBNET_ID"]) == (
        "orchard",
        "subnet-0123456789abcdef0",
    )
    assert named.dot_env["FRUITS_OUTPUT_PREFIX"] == "out/"
    assert allows([named.nodes], Call("s3:PutObject", "arn:aws:s3:::orchard/out/features/run=r/part-0.parquet"))
    assert not allows([named.nodes], Call("s3:PutObject", "arn:aws:s3:::orchard/features/run=r/part-0.parquet"))


def test_a_prefix_with_a_space_is_read_by_a_shell_and_by_the_bundle(client: Any, tmp_path: Path) -> None:
    stack = deploy(client("cloudformation"), client("iam"), name="space", BucketName="space", ImagesPrefix="my fruit/")
    text = stack.outputs["DotEnv"]
    (tmp_path / ".env").write_text(text, encoding="utf-8")

    script = "set -a; . ./.env; env"
    sourced = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env={}, check=True, capture_output=True, text=True)
    found = dict(line.split("=", 1) for line in sourced.stdout.splitlines() if line.startswith("FRUITS_"))
    assert found["FRUITS_IMAGES_PREFIX"] == "my fruit/"
    assert found == stack.dot_env
    assert found == dict(bundle.fruits(text.splitlines()))


def test_a_prefix_holds_nothing_that_ends_its_quotes_or_that_the_notification_would_not_match() -> None:
    pattern = yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)["Parameters"]["ImagesPrefix"]["AllowedPattern"]

    assert all(re.search(pattern, prefix) for prefix in ("", "i/", "images/", "my fruit/", "a/b c/", "season=1/"))
    refused = ("images", "/", "/images/", "it's/", 'a"b/', "a\\b/", "a\nFRUITS_BUCKET=other/", "a\r/")
    assert not any(re.search(pattern, prefix) for prefix in ("é/", "a+b/", "50%/", "a&b/", "$a/", "*/", " a/", "a /"))
    assert not any(re.search(pattern, prefix) for prefix in refused)


def test_retention_is_a_right_of_its_own_that_is_asked_for(client: Any, stack: Stack) -> None:
    assert "RetentionPolicyArn" not in stack.outputs
    iam = client("iam")
    asked = deploy(client("cloudformation"), iam, name="retention", BucketName="plantation", Retention="true")
    found = document(iam, asked.outputs["RetentionPolicyArn"])

    def may(action: str, key: str) -> bool:
        return allows([found], Call(action, f"arn:aws:s3:::plantation/{key}"))

    gone = (
        "runs/r/model.json",
        "features/run=r/part-0.parquet",
        "rejects/run=r/_SUCCESS",
        "results/run=r/published.json",
        "results/ledger/0123456789abcdef.parquet",
    )
    assert all(may("s3:DeleteObject", key) for key in gone)
    kept = (
        "images/Apple/1.jpg",
        "results/latest.json",
        "results/ledger/latest.json",
        "models/m/model.tflite",
        "features/x",
    )
    assert not any(may("s3:DeleteObject", key) for key in kept)
    assert {grant.action for grant in grants(found)} == {"s3:DeleteObject"}
    assert not any(grant.action == "s3:DeleteObject" for grant in grants(asked.airflow))


def commands_for_certificates() -> tuple[str, str]:
    """What docs/aws.md has people type: to make the ZIP, and to use it."""
    text = (PROJECT / "docs/aws.md").read_text(encoding="utf-8")
    block = re.search(r"^### Encryption between nodes$.*?^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block
    make, _, use = block[1].partition("aws s3 cp ")
    return make, use


@pytest.mark.skipif(
    not (shutil.which("openssl") and shutil.which("zip")), reason="no openssl or no zip on this machine"
)
def test_the_zip_of_certificates_has_the_names_that_emr_expects(tmp_path: Path) -> None:
    make, use = commands_for_certificates()

    subprocess.run(["bash", "-euc", make], cwd=tmp_path, check=True, capture_output=True)

    with zipfile.ZipFile(tmp_path / use.split()[0]) as archive:
        assert set(archive.namelist()) == {"privateKey.pem", "certificateChain.pem", "trustedCertificates.pem"}
        assert b"PRIVATE KEY" in archive.read("privateKey.pem")
        assert archive.read("trustedCertificates.pem") == archive.read("certificateChain.pem")


def test_certificates_turn_on_encryption_between_nodes(client: Any, stack: Stack) -> None:
    _, use = commands_for_certificates()
    override = re.search(r"TlsCertificatesKey=(\S+)", use)
    assert override
    key = override[1]
    assert f'"s3://$FRUITS_BUCKET/{key}"' in use

    encrypted = deploy(
        client("cloudformation"), client("iam"), name="tls", BucketName="encrypted", TlsCertificatesKey=key
    )

    def configuration(of: Stack) -> dict[str, Any]:
        stored = emr_backends[ACCOUNT]["eu-west-3"].security_configurations  # of moto; the endpoint's EMR is another
        found = stored[of.dot_env["FRUITS_SECURITY_CONFIGURATION"]].security_configuration
        return found["EncryptionConfiguration"]

    assert configuration(stack)["EnableInTransitEncryption"] is False
    found = configuration(encrypted)
    assert found["EnableInTransitEncryption"] is True
    certificates = {"CertificateProviderType": "PEM", "S3Object": f"s3://encrypted/{key}"}
    assert found["InTransitEncryptionConfiguration"] == {"TLSCertificateConfiguration": certificates}
    assert allows([encrypted.nodes], Call("s3:GetObject", f"arn:aws:s3:::encrypted/{key}"))


def test_images_of_another_bucket_are_read_and_never_written(client: Any) -> None:
    iam = client("iam")
    stack = deploy(
        client("cloudformation"),
        iam,
        name="elsewhere",
        BucketName="outputs",
        ImagesBucket="p",
        ImagesPrefix="",
    )

    assert (stack.dot_env["FRUITS_IMAGES_BUCKET"], stack.dot_env["FRUITS_IMAGES_PREFIX"]) == ("p", "/")
    found = document(iam, stack.outputs["ImagesPolicyArn"])
    assert allows([found], Call("s3:ListBucket", "arn:aws:s3:::p"))
    assert allows([found], Call("s3:GetObject", "arn:aws:s3:::p/Apple/1.jpg"))
    assert {(grant.action, grant.resource) for grant in grants(found)} == {
        ("s3:ListBucket", "arn:aws:s3:::p"),
        ("s3:GetObject", "arn:aws:s3:::p/*"),
    }
    (attached,) = [
        role["RoleName"]
        for role in iam.list_entities_for_policy(PolicyArn=stack.outputs["ImagesPolicyArn"])["PolicyRoles"]
    ]
    assert "NodeRole" in attached


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_with_images_elsewhere_the_nodes_read_only_what_is_theirs_of_the_own_bucket(client: Any, prefix: str) -> None:
    iam = client("iam")
    name = f"apart{len(prefix)}"
    stack = deploy(
        client("cloudformation"), iam, name=name, BucketName=name, ImagesBucket="elsewhere", ImagesPrefix=prefix
    )

    def may(bucket: str, key: str) -> bool:
        return allows([stack.nodes], Call("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"))

    assert not any(may(name, key) for key in ("photos/Apple/1.jpg", "images/Apple/1.jpg", "payroll.csv"))
    theirs = (
        "weights/own.h5",
        "wheels/x86_64/a.whl",
        "artifacts/0/jobs.zip",
        "certificates/tls.zip",
        "runs/r/manifest",
    )
    assert all(may(name, key) for key in theirs)
    assert may("elsewhere", f"{prefix}Apple/1.jpg")


def takes(grant: Grant) -> list[str]:
    """Return the forms of the resources that the action takes, from AWS's service authorization reference."""
    service, _, action = grant.action.partition(":")
    known = get_action_data(service, action)
    assert known, f"{grant.action}: there is no such action"
    return [row["resource_arn_format"] for row in known[service]]


@pytest.mark.parametrize("who", ["airflow", "nodes"])
def test_every_action_exists_and_takes_its_resource(stack: Stack, who: str) -> None:
    for grant in grants(getattr(stack, who)):
        forms = takes(grant)
        kinds = {form.split(":", 5)[-1].split("/")[0].split("$")[0] for form in forms if form != "*"}
        if grant.resource == "*":
            assert "*" in forms, f"{grant}: name the resource, {forms}"
        elif grant.resource.startswith("arn:aws:s3:::"):
            wanted = "arn:${Partition}:s3:::${BucketName}" + ("/${ObjectName}" if "/" in grant.resource else "")
            assert wanted in forms, f"{grant}: takes {forms}"
        else:
            assert any(not kind or grant.resource.split(":", 5)[-1].startswith(kind) for kind in kinds), (
                f"{grant}: {forms}"
            )


def test_only_what_takes_no_resource_is_allowed_on_all(stack: Stack) -> None:
    on_all = {grant.action for who in (stack.airflow, stack.nodes) for grant in grants(who) if grant.resource == "*"}

    assert on_all == {
        "elasticmapreduce:ListClusters",
        "elasticmapreduce:RunJobFlow",
        "elasticmapreduce:AddTags",  # of a cluster that has no id yet
        "ec2:DescribeSubnets",
        "ec2:DescribeInstanceTypeOfferings",
        "servicequotas:GetServiceQuota",
    }


@pytest.mark.parametrize("tags", [{}, OURS], ids=["new", "ours"])
def test_airflow_creates_and_limits_its_own_clusters(stack: Stack, tags: dict[str, str]) -> None:
    for action in ("AddTags", "RunJobFlow"):
        assert allows([stack.airflow], Call(f"elasticmapreduce:{action}", "*", {**NEW, **tags}))
    for action in ("PutAutoTerminationPolicy", "PutManagedScalingPolicy"):
        assert allows([stack.airflow], Call(f"elasticmapreduce:{action}", CLUSTER, tags))


DENIED = {
    "airflow": [
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/images/Apple/1.jpg"),
        Call("s3:PutObject", "arn:aws:s3:::<bucket>/images/Apple/1.jpg"),
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/features/run=r/part-0.parquet"),
        Call("s3:DeleteBucket", "arn:aws:s3:::<bucket>"),
        Call("s3:PutBucketPolicy", "arn:aws:s3:::<bucket>"),
        Call("s3:GetObject", "arn:aws:s3:::another/images/Apple/1.jpg"),
        Call("elasticmapreduce:RunJobFlow"),  # without the tags
        Call("elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce:RequestTag/application": "another"}),
        Call("elasticmapreduce:TerminateJobFlows", CLUSTER),
        Call("elasticmapreduce:TerminateJobFlows", CLUSTER, {"elasticmapreduce:ResourceTag/application": "another"}),
        Call("elasticmapreduce:AddJobFlowSteps", CLUSTER, {"elasticmapreduce:ResourceTag/application": "another"}),
        Call("elasticmapreduce:AddTags", CLUSTER, {**NEW, "elasticmapreduce:ResourceTag/application": "another"}),
        *(
            Call(f"elasticmapreduce:{action}", CLUSTER, {"elasticmapreduce:ResourceTag/application": "another"})
            for action in ("PutAutoTerminationPolicy", "PutManagedScalingPolicy")
        ),
        Call("elasticmapreduce:SetTerminationProtection", CLUSTER, OURS),
        Call("elasticmapreduce:RemoveTags", CLUSTER, OURS),
        Call("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {"iam:PassedToService": "ec2.amazonaws.com"}),
        Call("iam:PassRole", "<service role>", {"iam:PassedToService": "lambda.amazonaws.com"}),
        Call("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        Call("sqs:SendMessage", "<queue>"),
        Call("ec2:RunInstances"),
        Call("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
    ],
    "nodes": [
        Call("s3:PutObject", "arn:aws:s3:::<bucket>/images/Apple/1.jpg"),
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/images/Apple/1.jpg"),
        Call("s3:PutObject", "arn:aws:s3:::<bucket>/results/latest.json"),
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/results/latest.json"),
        Call("s3:PutObject", "arn:aws:s3:::<bucket>/artifacts/0123456789abcdef/extract_features.py"),
        Call("s3:PutObject", "arn:aws:s3:::<bucket>/weights/own.h5"),
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/models/m/model.tflite"),
        Call("s3:DeleteObject", "arn:aws:s3:::<bucket>/logs/j-1/node/x.gz"),
        Call("s3:DeleteBucket", "arn:aws:s3:::<bucket>"),
        Call("s3:GetObject", "arn:aws:s3:::another/key"),
        Call("elasticmapreduce:TerminateJobFlows", CLUSTER, OURS),
        Call("elasticmapreduce:RunJobFlow", "*", {"elasticmapreduce:RequestTag/application": "fruit-features"}),
        Call("iam:PassRole", "<service role>", {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}),
        Call("ec2:RunInstances"),
    ],
}


@pytest.mark.parametrize(("who", "call"), [(who, call) for who, calls in DENIED.items() for call in calls], ids=str)
def test_what_nobody_may(stack: Stack, who: str, call: Call) -> None:
    (role,) = [grant.resource for grant in grants(stack.airflow) if grant.sid == "PassServiceRole"]
    names = {
        "<bucket>": stack.outputs["BucketName"],
        "<service role>": role,
        "<queue>": f"arn:aws:sqs:eu-west-3:{ACCOUNT}:q",
    }
    resource = call.resource
    for name, value in names.items():
        resource = resource.replace(name, value)

    assert not allows([getattr(stack, who)], Call(call.action, resource, call.conditions))


@pytest.mark.parametrize("folder", ["features", "rejects", "results"])
def test_spark_may_open_what_the_jobs_wrote(stack: Stack, folder: str) -> None:
    """As docs/interactive.md has it in a notebook: Hadoop asks first if the folder is an object, and gives up when refused."""
    for key in (folder, f"{folder}/run=r", f"{folder}/run=r/part-0.parquet"):
        assert allows([stack.nodes], Call("s3:GetObject", f"arn:aws:s3:::{stack.outputs['BucketName']}/{key}"))


@pytest.mark.parametrize("who", ["airflow", "nodes"])
def test_what_is_justified_is_allowed(stack: Stack, who: str) -> None:
    listed = justified()[who]

    assert set(listed) <= {label(grant) for grant in grants(getattr(stack, who))}, "take what is gone out of the list"
    assert all(listed.values()), "each needs a reason"
