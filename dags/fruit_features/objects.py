"""Small objects in S3, each with the content type by which browsers know what to do with it."""

import json
from pathlib import PurePosixPath
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

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


def sha256(hook: S3Hook, where: Location) -> str | None:
    """Return the SHA-256 that S3 keeps of an object, in Base64; empty if it keeps none, None if there is no such object."""
    client: Any = hook.get_conn()
    try:
        return str(
            client.head_object(Bucket=where.bucket, Key=where.key, ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def read(hook: S3Hook, where: Location) -> Any:
    """Return S3's answer to a GET; without the HEAD before it that a hook's `get_key` sends, whose errors give no reason."""
    return hook.get_conn().get_object(Bucket=where.bucket, Key=where.key)


def put(hook: S3Hook, where: Location, content: bytes, **more: str) -> None:
    """Write an object in one PUT, with more parameters if given: readers see the whole of it or nothing."""
    client: Any = hook.get_conn()
    client.put_object(Bucket=where.bucket, Key=where.key, Body=content, ContentType=content_type(where.key), **more)


def copy(hook: S3Hook, source: Location, where: Location) -> None:
    """Have S3 copy an object of up to 5 GB; without the ACL that a hook's `copy_object` sends, which takes a permission more.

    Raises:
        AirflowFailException: there is none to copy.
    """
    client: Any = hook.get_conn()
    try:
        client.copy_object(Bucket=where.bucket, Key=where.key, CopySource={"Bucket": source.bucket, "Key": source.key})
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            raise AirflowFailException(f"{source} is not there any more") from None
        raise


def put_json(hook: S3Hook, where: Location, document: dict[str, Any]) -> None:
    """Write a JSON document that a person can read."""
    put(hook, where, to_json(document))


def to_json(document: dict[str, Any]) -> bytes:
    """Return a JSON document that a person can read."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def put_json_if(hook: S3Hook, where: Location, document: dict[str, Any], etag: str | None) -> bool:
    """Write a JSON document if the object still is what was read; say whether it was.

    Args:
        hook: for the bucket.
        where: of the object.
        document: its new content.
        etag: of the object as it was read; None if there was none.
    """
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    try:
        put(hook, where, to_json(document), **condition)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}:
            return False
        raise
    return True


def read_json(hook: S3Hook, where: Location, *needed: str) -> dict[str, Any]:
    """Return a JSON object that has the needed keys.

    Raises:
        AirflowFailException: naming the object that is damaged.
    """
    return parse_json(where, read(hook, where)["Body"].read(), *needed)


def parse_json(where: Location, content: bytes, *needed: str) -> dict[str, Any]:
    """Return the JSON object that `content` of `where` holds.

    Raises:
        AirflowFailException: naming the object that is damaged.
    """
    try:
        document = json.loads(content)
    except ValueError as error:  # no JSON, or no UTF-8
        raise damaged(where, str(error)) from None
    if not isinstance(document, dict):
        raise damaged(where, f"it is {content[:20].decode()!r}, not a JSON object")
    if missing := [key for key in needed if key not in document]:
        raise damaged(where, f"it lacks {', '.join(missing)}")
    return document


def damaged(where: Location, problem: str) -> AirflowFailException:
    """Return the error about an object that is not as the pipeline has written it."""
    return AirflowFailException(
        f"{where} is damaged ({problem}): the pipeline writes it in one piece, so something else has changed it; "
        "put back what was there, or delete it"
    )
