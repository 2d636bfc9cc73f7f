"""The wire format of the EMR API: JSON 1.1, checked against botocore's own model of the service."""

import json
import traceback
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator

from local_emr.emr.constraints import check_values
from local_emr.emr.errors import EmrError, NotEmulatedError, SerializationError, UnknownOperationError, ValidationError
from local_emr.emr.service import EmrService

TARGET_PREFIX = "ElasticMapReduce."


@cache
def service_model() -> ServiceModel:
    """Return the API as botocore ships it."""
    return botocore.session.get_session().get_service_model("emr")


def respond(service: EmrService, operation: str, body: bytes, region: str) -> tuple[int, dict[str, Any]]:
    """Return HTTP status and JSON of the answer."""
    try:
        model = _operation_model(operation)
        request = _parse(model, body)
        service.throttle(operation)
        handler = service.handlers.get(xform_name(operation))
        if handler is None:
            return _error(NotEmulatedError(f"the EMR operation {operation}"))
        return 200, _serialize(handler(request, region), model.output_shape)
    except EmrError as error:
        return _error(error)
    except Exception as error:  # noqa: BLE001 - our own bug, told in AWS's words
        traceback.print_exc()
        return 500, _error(EmrError(f"local_emr failed: {type(error).__name__}: {error}"))[1]


def _error(error: EmrError) -> tuple[int, dict[str, Any]]:
    body = {"__type": error.code, "Message": error.message, "message": error.message}
    return error.status, body | ({"ErrorCode": error.error_code} if error.error_code else {})


def _operation_model(operation: str) -> OperationModel:
    if operation not in service_model().operation_names:
        raise UnknownOperationError(f"Unknown operation {operation}.")
    return service_model().operation_model(operation)


def _parse(model: OperationModel, body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        raise SerializationError("The request is not JSON.") from None
    report = ParamValidator().validate(request, model.input_shape)
    if report.has_errors():
        raise ValidationError(report.generate_report())
    check_values(request, model)
    return _with_datetimes(request, model.input_shape)


def _with_datetimes(value: Any, shape: Shape | None) -> Any:
    if shape is None or value is None:
        return value
    if shape.type_name == "timestamp" and isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    if shape.type_name == "structure":
        return {name: _with_datetimes(item, shape.members[name]) for name, item in value.items() if item is not None}
    if shape.type_name == "list":
        return [_with_datetimes(item, shape.member) for item in value]
    return value


def _serialize(value: Any, shape: Shape | None) -> Any:
    """Return the part of the value that the shape knows, without what is None."""
    if shape is None:
        return {}
    if shape.type_name == "structure":
        unknown = value.keys() - shape.members.keys()
        assert not unknown, f"{shape.name} has no {unknown}"
        return {name: _serialize(item, shape.members[name]) for name, item in value.items() if item is not None}
    if shape.type_name == "list":
        return [_serialize(item, shape.member) for item in value]
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    return value
