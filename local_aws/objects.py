"""Direct access to the emulated S3, for what AWS itself reads and writes there: step logs, bootstrap scripts."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from moto.s3.exceptions import S3ClientError
from moto.s3.models import S3Backend, s3_backends

ACCOUNT_ID = "123456789012"  # moto gives it to every caller whose access key it did not make itself

# moto's S3 is plain dicts: a listing fails when a key is added meanwhile. Every S3 request holds this lock; the
# interpreter runs one of them at a time anyway.
s3_lock = threading.RLock()


def backend() -> S3Backend:
    """The S3 of the one account that exists."""
    return s3_backends[ACCOUNT_ID]["aws"]


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key` (also s3a:// and s3n://, which EMR accepts alike)."""
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme not in {"s3", "s3a", "s3n"} or not parts.netloc:
        raise ValueError(f"not an S3 URI: {uri}")
    path = uri.split("://", 1)[1].partition("/")[2]
    return parts.netloc, path


def read(uri: str) -> bytes | None:
    """The object's bytes, or None where there is no such object or bucket."""
    bucket, key = split_uri(uri)
    with s3_lock:
        try:
            found = backend().get_object(bucket, key)
        except S3ClientError:
            return None
        return None if found is None else found.value


def write(uri: str, body: bytes) -> bool:
    """Stores the object; False where the bucket does not exist, as when EMR cannot reach its LogUri."""
    bucket, key = split_uri(uri)
    with s3_lock:
        try:
            backend().put_object(bucket, key, body)
        except S3ClientError:
            return False
    return True
