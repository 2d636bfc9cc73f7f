"""Read images from S3, and tell what is wrong with one from what is wrong with S3, the node or its role."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

from spark_jobs.errors import JobError, without_credentials
from spark_jobs.extraction.reading import Content, ManifestRow, check_size
from spark_jobs.extraction.rejects import Reason, Rejected
from spark_jobs.s3 import fetch
from spark_jobs.stored import Stored

CONCURRENCY = 32

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
# Those of status 400 that are about the object: it is encrypted with a key that came with its request, or with one of KMS that
# is disabled, deleted, or out of reach.
_ENCRYPTED = re.compile(r"InvalidRequest|KMS\..+")


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
    try:
        check_size(row.size or 0)
        return fetch(row.path.partition("://")[2], partial(_check_object, row))[0]
    except Rejected as rejected:
        return rejected
    except MemoryError:
        raise
    except Exception as error:  # botocore's own kinds are many
        if rejected_image := _s3_rejected(error):
            return rejected_image
        raise JobError(f"{row.path}: {_s3_problem(error)}") from error


def _check_object(row: ManifestRow, found: Stored) -> None:
    check_size(found.size)
    expected = (row.etag or "").strip('"')
    if expected and found.etag != expected:
        raise Rejected(Reason.CHANGED, f"ETag was {expected} when listed, is {found.etag}")


def _s3_rejected(error: Exception) -> Rejected | None:
    """Return what is wrong with the image, or None if the error is not the image's fault."""
    code, status, message = _s3_answer(error)
    if code == "NoSuchKey" or (status == 404 and code != "NoSuchBucket"):
        return Rejected(Reason.NOT_FOUND, message)
    if (status == 403 and code not in _CREDENTIALS) or (status == 400 and _ENCRYPTED.fullmatch(code)):
        return Rejected(Reason.ACCESS_DENIED, message)
    return None


def _s3_problem(error: Exception) -> str:
    """Return what failed and what to do."""
    code, status, message = _s3_answer(error)
    if problem := without_credentials(error):
        return problem
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
