"""Every operation of botocore's model of EMR, asked with little and with much: an answer of the model, or an error of AWS."""

import json
from typing import Any

import pytest
import requests
from botocore.model import Shape
from botocore.validate import ParamValidator
from emr_client import Emr, step

from local_emr import LocalEmr
from local_emr.emr.protocol import service_model

OPERATIONS = service_model().operation_names
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-3/elasticmapreduce/aws4_request, Signature=0"
}


def sample(shape: Shape, *, complete: bool, known: dict[str, str], depth: int = 0) -> Any:
    """A value of the shape; with every member, or with the required ones."""
    kind = shape.type_name
    if kind == "structure":
        names = shape.members if complete and depth < 6 else shape.required_members
        return {
            name: known.get(name) or sample(shape.members[name], complete=complete, known=known, depth=depth + 1)
            for name in names
        }
    if kind == "list":
        return [sample(shape.member, complete=complete, known=known, depth=depth + 1)]
    if kind == "map":
        return {"a": sample(shape.value, complete=complete, known=known, depth=depth + 1)}
    if kind == "string":
        return shape.enum[0] if getattr(shape, "enum", None) else "text"
    return {"boolean": True, "integer": 1, "long": 1, "double": 1.0, "float": 1.0, "timestamp": 1_700_000_000}[kind]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("complete", [False, True], ids=["required", "every"])
def test_every_operation_answers_as_aws_would(
    local_emr: LocalEmr, cluster_api: Emr, operation: str, *, complete: bool
) -> None:
    cluster = cluster_api.create(Steps=[step("true")])
    (step_id,) = (found["Id"] for found in cluster_api.client.list_steps(ClusterId=cluster)["Steps"])
    known = {"ClusterId": cluster, "ResourceId": cluster, "JobFlowId": cluster, "StepId": step_id}
    model = service_model().operation_model(operation)
    request = sample(model.input_shape, complete=complete, known=known) if model.input_shape else {}

    answer = requests.post(
        local_emr.endpoint_url,
        json.dumps(request),
        headers=SIGNED
        | {"X-Amz-Target": f"ElasticMapReduce.{operation}", "Content-Type": "application/x-amz-json-1.1"},
        timeout=10,
    )

    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    if answer.status_code == 200:
        report = ParamValidator().validate(answer.json(), model.output_shape) if model.output_shape else None
        assert report is None or not report.has_errors(), report.generate_report()
    else:
        assert answer.status_code == 400
        assert answer.json()["__type"] in {"InvalidRequestException", "ValidationException"}
        assert answer.json()["message"]
