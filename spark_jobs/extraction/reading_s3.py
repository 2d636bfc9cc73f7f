"""Read images from S3, and tell what is wrong with one from what is wrong with S3, the node or its role."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from spark_jobs.errors import JobError
from spark_jobs.extraction.reading import Content, ManifestRow, check_size
from spark_jobs.extraction.rejects import Reason, Rejected
from spark_jobs.s3_clients import bucket_store, client

CONCURRENCY = 32
_ATTEMPTS = 3  # when a response body breaks off; the S3 client retries requests itself

log = logging.getLogger(__name__)

# S3's codes of status 403 that are about who asks; any other is about the object, which its owner has closed or archived.
_CREDENTIALS = frozenset(
    {
        "AccountProblem",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


def read_objects(rows: Sequence[ManifestRow]) -> list[Content]:
    """Read objects concurrently, each with one GET. What is wrong with one is a `Rejected` in its place.

    Raises:
        JobError: S3 or this node fails, not an image; says what to do.
    """
    return list(_threads().map(_read_object, rows))


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """Return threads that last as long as this process: to start them for each batch would cost as much as the requests."""
    return ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="s3")


def _read_object(row: ManifestRow) -> Content:
    bucket, _, key = row.path.partition("://")[2].partition("/")
    try:
        check_size(row.size or 0)
        content = _read_fast(row, bucket, key)
        return _read_thoroughly(row, bucket, key) if content is None else content
    except Rejected as rejected:
        return rejected


def _read_fast(row: ManifestRow, bucket: str, key: str) -> bytes | None:
    """Read an object with obstore; return None if that fails, for whatever reason."""
    if key.startswith("/") or key.endswith("/"):  # obstore would leave the slash out
        return None
    try:
        response = bucket_store(bucket).get(key)
        _check_object(row, response.meta["size"], response.meta["e_tag"] or "")
        return response.bytes().to_bytes()
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - its kinds of error say too little: botocore's answer decides
        log.debug("%s: obstore: %s", row.path, error)
        return None


def _read_thoroughly(row: ManifestRow, bucket: str, key: str) -> bytes:
    """Read an object with botocore; only a body that breaks off is requested again here, the client retries the rest."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            response = client().get_object(Bucket=bucket, Key=key)
        except Exception as error:  # the client's own kinds are many
            if rejected_image := _s3_rejected(error):
                raise rejected_image from error
            raise JobError(f"{row.path}: {_s3_problem(error)}") from error
        with response["Body"] as body:
            _check_object(row, response["ContentLength"], response.get("ETag", ""))
            try:
                return bytes(body.read())
            except Exception as error:  # likewise
                if attempt == _ATTEMPTS:
                    raise JobError(f"{row.path}: {_s3_problem(error)}") from error
        time.sleep(0.2 * attempt)
    raise AssertionError


def _check_object(row: ManifestRow, size: int, etag: str) -> None:
    check_size(size)
    found, expected = etag.strip('"'), (row.etag or "").strip('"')
    if expected and found != expected:
        raise Rejected(Reason.CHANGED, f"ETag was {expected} when listed, is {found}")


def _s3_rejected(error: Exception) -> Rejected | None:
    """Return what is wrong with the image, or None if the error is not the image's fault."""
    code, status, message = _s3_answer(error)
    if code == "NoSuchKey" or (status == 404 and code != "NoSuchBucket"):
        return Rejected(Reason.NOT_FOUND, message)
    if status == 403 and code not in _CREDENTIALS:
        return Rejected(Reason.ACCESS_DENIED, message)
    return None


def _s3_problem(error: Exception) -> str:
    """Return what failed and what to do."""
    code, status, message = _s3_answer(error)
    if type(error).__name__ in ("NoCredentialsError", "CredentialRetrievalError", "PartialCredentialsError"):
        return f"no AWS credentials on this node ({error}): check its instance profile or environment"
    if "Expired" in code or status in (400, 401, 403):
        return f"S3 refuses this node's credentials ({message}): check its role, its token and its clock"
    if status:
        return f"S3 fails even after retries ({message}): run the step again when it answers, finished chunks are kept"
    return f"S3 cannot be reached ({type(error).__name__}: {error}): check the endpoint, DNS and network of this node"


def _s3_answer(error: Exception) -> tuple[str, int, str]:
    """Return code, status and text of S3's answer, if the error is one (botocore's ClientError)."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return "", 0, ""
    code, text = str(response["Error"].get("Code", "")), response["Error"].get("Message", "")
    return code, response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), f"{code}: {text}"
