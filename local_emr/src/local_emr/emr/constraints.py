"""What botocore's model of EMR says of values and its validator leaves to the service: enums, lengths, characters."""

import re
from typing import Any

from botocore.model import OperationModel, Shape

from local_emr.emr.errors import InvalidRequestError, ValidationError

# The model's pattern of nearly every text, in Java's words, which Python's re does not take: the characters of XML.
XML_PATTERN = r"[\u0020-\uD7FF"
NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_values(request: dict[str, Any], operation: OperationModel) -> None:
    """Check a request whose types and names are right.

    Raises:
        InvalidRequestError: a value is out of range, and the operation's errors include this one.
        ValidationError: a value is out of range, and they do not: the operation is one of the older.
    """
    problem = _problem("", request, operation.input_shape)
    if problem:
        newer = any(shape.name == InvalidRequestError.code for shape in operation.error_shapes)
        raise (InvalidRequestError if newer else ValidationError)(problem)


def _problem(name: str, value: Any, shape: Shape | None) -> str | None:
    """Return what is wrong with the value of a member, or None."""
    if shape is None or value is None:
        return None
    match shape.type_name:
        case "structure":
            parts = [(member, item, shape.members[member]) for member, item in value.items()]
        case "list":
            wrong = [str(item) for item in value if not _is_of(item, shape.member)]
            if wrong:  # worded as EMR words it of ListClusters' ClusterStates
                return f"{_in_words(name)} [{', '.join(wrong)}] are not valid."
            parts = [(name, item, shape.member) for item in value]
        case "map":
            parts = [(name, item, shape.value) for item in value.values()]
        case _:
            return _problem_of_scalar(name, value, shape)
    return next(filter(None, (_problem(*part) for part in parts)), None)


def _problem_of_scalar(name: str, value: Any, shape: Shape) -> str | None:
    if not _is_of(value, shape):
        return f"{name} must be {' or '.join(shape.enum)}, not {value}."
    most = shape.metadata.get("max")
    if isinstance(value, str):
        if most is not None and len(value) > most:
            return f"{name} must have at most {most} characters, not {len(value)}."
        strange = NO_XML.search(value) if shape.metadata.get("pattern", "").startswith(XML_PATTERN) else None
        return f"{name} has a character that EMR does not take: {strange[0]!a}." if strange else None
    return f"{name} must be at most {most}, not {value}." if most is not None and value > most else None


def _is_of(value: Any, shape: Shape) -> bool:
    """Return whether the value is one of the shape's enum, if it has one."""
    enum = getattr(shape, "enum", None)
    return not enum or value in enum


def _in_words(name: str) -> str:
    """Return `ClusterStates` as `Cluster states`."""
    return re.sub(r"(?<!^)[A-Z]", lambda letter: f" {letter[0].lower()}", name)
