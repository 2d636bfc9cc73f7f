"""Stored models and the pointers that name them.

A pointer is a small JSON that `export_model` writes: the model's metadata, the `uri` of its artifact and when it was made.
"""

from typing import Any

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.extraction.mobilenet import ModelArtifact


def read_pointer(uri: str) -> dict[str, Any]:
    """Read a pointer.

    Raises:
        JobError: it cannot be read, or is no pointer.
    """
    pointer = uris.read_json(uri)
    found = pointer if isinstance(pointer, dict) else {}
    missing = [key for key in ("model_id", "uri") if not isinstance(found.get(key), str)]
    if missing:
        reasons = ", ".join(f"no {key} in it" for key in missing)
        raise JobError(f"{uri}: {reasons}: not a model pointer, which export_model writes")
    return found


def read_artifact(uri: str) -> ModelArtifact:
    """Read an artifact, or the one that a pointer (`….json`) names.

    Raises:
        JobError: it cannot be read, or was not made by `export_model`.
    """
    if uri.endswith(".json"):
        uri = read_pointer(uri)["uri"]
    content = uris.read_bytes(uri)
    try:
        return ModelArtifact.parse(content)
    except ValueError as error:
        raise JobError(
            f"{uri}: not a model made by export_model ({error}): delete it, and run export_model again"
        ) from error


def model_id_of(model: str) -> str:
    """Return the model_id in `model`: the URI of a pointer (`….json`), or a model_id itself.

    Raises:
        JobError: the pointer cannot be read.
    """
    return read_pointer(model)["model_id"] if model.endswith(".json") else model
