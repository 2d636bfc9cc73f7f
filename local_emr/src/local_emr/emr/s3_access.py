"""Direct access to the emulated S3, for what AWS itself reads and writes there: step logs, bootstrap scripts."""

import threading
from collections.abc import Callable

from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, S3Backend, s3_backends

ACCESS_KEY = "local"
SECRET_KEY = "local"  # noqa: S105 - the endpoint checks nobody's password
ACCOUNT_ID = "123456789012"  # moto gives it to every caller whose access key it did not make itself
SCHEMES = ("s3", "s3a", "s3n")  # EMR accepts all three


class S3Access:
    """The S3 of the one account that exists.

    `lock` is held by every S3 request: moto's plain dicts let a listing fail when a key goes meanwhile, and a read when
    its key is overwritten. The interpreter runs one of them at a time anyway. `on_change` is called, with the lock held,
    after each change of a bucket (key "") or of an object.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.on_change: Callable[[str, str], None] = lambda _bucket, _key: None

    @property
    def backend(self) -> S3Backend:
        """The S3 of moto."""
        return s3_backends[ACCOUNT_ID]["aws"]

    def bucket(self, name: str) -> FakeBucket | None:
        """Return moto's bucket of that name, or None."""
        return self.backend.buckets.get(name)

    def read(self, uri: str) -> bytes | None:
        """Return the object's bytes, or None where there is no such object or bucket."""
        bucket, key = split_uri(uri)
        with self.lock:
            try:
                found = self.backend.get_object(bucket, key)
            except S3ClientError:
                return None
            return None if found is None else found.value

    def uris(self, prefix: str) -> list[str]:
        """Return the URIs of the objects below a prefix, in order."""
        name, start = split_uri(prefix)
        with self.lock:
            bucket = self.bucket(name)
            return [f"s3://{name}/{key}" for key in sorted(bucket.keys) if key.startswith(start)] if bucket else []

    def write(self, uri: str, body: bytes) -> bool:
        """Store the object; return False where the bucket does not exist, as when EMR cannot reach its LogUri."""
        bucket, key = split_uri(uri)
        with self.lock:
            try:
                self.backend.put_object(bucket, key, body)
            except S3ClientError:
                return False
            self.on_change(bucket, key)
        return True


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`.

    Raises:
        ValueError: it is not the URI of an S3 object or prefix.
    """
    scheme, separator, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    if not separator or scheme not in SCHEMES or not bucket:
        raise ValueError(f"not an S3 URI: {uri}")
    return bucket, key
