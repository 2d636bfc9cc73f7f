"""From the declaration of a settings class to the trigger form of Airflow."""

from typing import Any

from airflow.sdk import Param
from pydantic import BaseModel

BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "maximum": "at most"}  # of JSON schema, in words


def to_schemas(settings: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each field of the model, with one `type` for the `anyOf` that the form ignores."""
    schemas = {}
    for name, schema in settings.model_json_schema()["properties"].items():
        choices = schema.pop("anyOf", [schema])
        types = [choice["type"] for choice in choices]
        merged = {key: value for part in (*choices, schema) for key, value in part.items()}
        schemas[name] = {**merged, "type": types if len(types) > 1 else types[0]}
    return schemas


def to_param(schema: dict[str, Any]) -> Param:
    """Return the Param of a field's schema.

    Airflow's form turns a number beyond `minimum` or `maximum` into the bound, and runs with that; below `allOf` it does not see
    them, so that the number is refused. Its Trigger button is disabled while a field whose type lacks `null` is empty.
    """
    bounds = {key: value for key, value in schema.items() if key in BOUNDS}
    rest = {key: value for key, value in schema.items() if key not in BOUNDS}
    if bounds:
        rest["allOf"] = [bounds]
    return Param(**rest)
