"""The folder that holds the published results: a bucket, a prefix in one, or a copy of either on a disk."""

import os
from pathlib import Path

from pyarrow import fs

SCHEME = "s3://"


class StorageError(Exception):
    """Something could not be read; the message names it."""


class Storage:
    """Reads below one folder.

    Args:
        root: `s3://bucket`, `s3://bucket/prefix`, or the path of a folder. S3's credentials and region come from the
            usual places, its address from AWS_ENDPOINT_URL where that is set.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.files: fs.FileSystem
        if self.root.startswith(SCHEME):
            self.files, self._base = _s3(), self.root.removeprefix(SCHEME)
        else:
            self.files = fs.LocalFileSystem()
            self._base = str(Path(self.root.removeprefix("file://")).absolute())

    def path(self, name: str) -> str:
        """Return the path of `name` in `files`."""
        return f"{self._base}/{name}"

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read.
        """
        return self._read(self.path(name))

    def list(self, folder: str) -> list[str]:
        """Return the names of all files below `folder`, relative to it, sorted; none if it does not exist.

        Raises:
            StorageError: it cannot be listed.
        """
        where = self.path(folder)
        try:
            found = self.files.get_file_info(fs.FileSelector(where, recursive=True, allow_not_found=True))
        except OSError as error:
            raise StorageError(f"{where} cannot be listed: {error}") from error
        return sorted(info.path.removeprefix(f"{where}/") for info in found if info.type == fs.FileType.File)

    def read_image(self, uri: str, published_root: str) -> bytes:
        """Return an image that the published results name.

        Args:
            uri: as the pipeline wrote it.
            published_root: the URI, as the pipeline wrote it, of the folder of which `root` is the original or a copy.

        Raises:
            FileNotFoundError: there is none, or this is a copy that does not reach as far.
            StorageError: it cannot be read.
        """
        if self.root.startswith(SCHEME):
            return self._read(uri.removeprefix(SCHEME))
        bucket, _, prefix = published_root.removeprefix(SCHEME).partition("/")
        base = Path(self._base.removesuffix(f"/{prefix}") if prefix else self._base).resolve()
        copy = (base / uri.removeprefix(f"{SCHEME}{bucket}/")).resolve()
        if not copy.is_relative_to(base):
            raise FileNotFoundError(f"{uri} has no copy below {base}")
        return self._read(str(copy))

    def _read(self, path: str) -> bytes:
        try:
            with self.files.open_input_stream(path) as stream:
                return bytes(stream.readall())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error}") from error


def _s3() -> fs.S3FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    scheme, _, address = endpoint.partition("://") if endpoint else ("https", "", None)
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")  # which Arrow does not look for
    return fs.S3FileSystem(
        scheme=scheme,
        endpoint_override=address,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        proxy_options=proxy if scheme == "https" else None,
        connect_timeout=10,
        request_timeout=30,
    )
