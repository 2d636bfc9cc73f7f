"""What tells one content of a file or an object from another, without reading it."""

from typing import NamedTuple


class Stored(NamedTuple):
    """A file or an object, as it was written, read or listed.

    Attributes:
        size: in bytes.
        etag: S3's, without quotes: other bytes, another ETag, whatever it is made of. Empty for a file.
    """

    size: int
    etag: str
