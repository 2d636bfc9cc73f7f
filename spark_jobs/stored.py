"""What tells one content of a file or an object from another, without reading it."""

from typing import NamedTuple

# What a step says of a file that it has written: the fields of `Stored`, and of its rows `rows`, how many they are, and the
# fields of `checksums.Checksums`, as far as they are known.
Facts = dict[str, int | str]


class Stored(NamedTuple):
    """A file or an object, as it was written, read or listed.

    Attributes:
        size: in bytes.
        etag: S3's, without quotes: other bytes, another ETag, whatever it is made of. Empty for a file.
    """

    size: int
    etag: str
