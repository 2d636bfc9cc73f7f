"""An object in S3 as a file, of which only those parts are read that are asked for."""

import io
from typing import Any


class RemoteFile(io.RawIOBase):
    """Reads an object by ranges, each with a request of its own: for Parquet, whose readers know what they want.

    Args:
        client: of S3.
        bucket: its name.
        key: of the object.

    Raises:
        ClientError: there is none, or S3 refuses.
    """

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._object = {"Bucket": bucket, "Key": key}
        self._size = int(client.head_object(**self._object)["ContentLength"])
        self._place = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place, of which nothing is read yet."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on; return how many bytes were left to put into it."""
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        content = self._client.get_object(**self._object, Range=f"bytes={self._place}-{end - 1}")["Body"].read()
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
