"""Small objects in S3, each with the content type by which browsers know what to do with it."""

import json
from pathlib import PurePosixPath
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features.layout import Location

# Not the mimetypes module: what that knows differs from machine to machine.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".py": "text/x-python; charset=utf-8",
    ".sh": "text/x-shellscript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}


def content_type(key: str) -> str:
    """Return the media type of an object by its name's suffix."""
    return CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def exists(hook: S3Hook, where: Location) -> bool:
    """Say whether there is such an object."""
    return bool(hook.check_for_key(where.key, where.bucket))


def put(hook: S3Hook, where: Location, content: bytes) -> None:
    """Write an object in one PUT: readers see the whole of it or nothing."""
    client: Any = hook.get_conn()
    client.put_object(Bucket=where.bucket, Key=where.key, Body=content, ContentType=content_type(where.key))


def put_json(hook: S3Hook, where: Location, document: dict[str, Any]) -> None:
    """Write a JSON document that a person can read."""
    put(hook, where, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(hook: S3Hook, where: Location) -> Any:
    """Return a JSON document."""
    return json.loads(hook.read_key(where.key, where.bucket))
