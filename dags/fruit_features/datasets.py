"""The Parquet datasets that cross the border between the DAG and the Spark jobs: their schemas, and reading and writing them.

The jobs hold the same schemas on their side (`spark_jobs/schemas.py`); a test compares the two.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import listing
from fruit_features.config import HTTPS_PROXY
from fruit_features.layout import Location
from fruit_features.objects import content_type
from patient_s3 import ATTEMPTS

IMAGE_FIELDS = [
    pa.field("path", pa.string()),
    pa.field("label", pa.string()),
    pa.field("etag", pa.string()),
    pa.field("size", pa.int64()),
]
INVENTORY = pa.schema([*IMAGE_FIELDS, pa.field("last_modified", pa.timestamp("us", tz="UTC"))])
FEATURES = pa.schema(
    [
        *IMAGE_FIELDS,
        pa.field("model_id", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("features", pa.list_(pa.float32())),
    ]
)
REJECTS = pa.schema([*IMAGE_FIELDS, pa.field("reason", pa.string()), pa.field("detail", pa.string())])
PCA = pa.schema(
    [pa.field("path", pa.string()), pa.field("label", pa.string()), pa.field("features_pca", pa.list_(pa.float32()))]
)

PART = re.compile(r"part-[^/]+\.parquet")
ROWS_PER_GROUP = 16 * 1024  # a task of extract_features reads the groups that hold its images, not the whole manifest

KEY = ["path", "etag"]  # what an image is known by: another ETag at the same path is another image


def plain_type(kind: pa.DataType) -> str:
    """Return the name of what Parquet stores; lists of any name for their elements, long strings, dictionaries are Arrow's."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{plain_type(kind.value_type)}>"
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    return "string" if pa.types.is_large_string(kind) else str(kind)


def wrong_columns(found: pa.Schema, wanted: pa.Schema) -> str:
    """Return which columns of `wanted` are missing or of another type, by name; an empty text if none is."""
    types = {field.name: plain_type(field.type) for field in found}
    wrong = [field.name for field in wanted if types.get(field.name) != plain_type(field.type)]
    return f"wrong columns: {', '.join(wrong)}" if wrong else ""


def filesystem(hook: S3Hook) -> pa_fs.S3FileSystem:
    """Return Arrow's own S3 client with the credentials, region and endpoint of the connection; it reads single columns."""
    client = hook.get_conn()
    credentials = hook.get_session().get_credentials().get_frozen_credentials()
    scheme, _, endpoint = client.meta.endpoint_url.partition("://")
    return pa_fs.S3FileSystem(
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        session_token=credentials.token,
        region=client.meta.region_name,
        scheme=scheme,
        endpoint_override=endpoint,  # wherever boto3 goes: a VPC endpoint, FIPS, a laptop's own
        force_virtual_addressing=False,
        proxy_options=HTTPS_PROXY if scheme == "https" else None,
        retry_strategy=pa_fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def write(files: pa_fs.FileSystem, where: Location, table: pa.Table) -> None:
    """Write one Parquet file that Spark reads as it is."""
    write_stream(files, where, table.schema, table.to_batches())


def write_stream(
    files: pa_fs.FileSystem, where: Location, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Write one Parquet file that Spark reads as it is, a batch at a time."""
    with (
        files.open_output_stream(where.path, metadata={"Content-Type": content_type(where.key)}) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", coerce_timestamps="us") as writer,
    ):
        for batch in batches:
            writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)


def stream(files: pa_fs.FileSystem, where: Location, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of one Parquet file in batches, in the file's order."""
    with files.open_input_file(where.path) as source:
        yield from pq.ParquetFile(source).iter_batches(ROWS_PER_GROUP, columns=columns)


@dataclass(frozen=True)
class RunFolder:
    """What is in a folder `run=…`.

    Attributes:
        where: the folder.
        parts: the paths of the files that can hold rows.
        committed: whether a Spark job has finished it.
        state: a hash of the names and ETags of what is there: another state, other content.
    """

    where: Location
    parts: tuple[str, ...]
    committed: bool
    state: str


def run_folders(client: Any, root: Location) -> list[RunFolder]:
    """Return the `run=…` folders below `root`, in order. A request lists a thousand objects, however many runs they are of.

    Args:
        client: of S3, with `listing.own_parser`.
        root: of all runs' folders.
    """
    found: dict[str, dict[str, str]] = {}
    for item in chain.from_iterable(listing.pages(client, root.bucket, f"{root.key}/run=")):
        folder, slash, name = item.key.removeprefix(f"{root.key}/").partition("/")
        if slash:
            found.setdefault(folder, {})[name] = item.etag
    return [
        RunFolder(
            root / folder,
            tuple((root / folder / name).path for name in sorted(etags) if PART.fullmatch(name)),
            "_SUCCESS" in etags,
            hashlib.sha256(repr(sorted(etags.items())).encode()).hexdigest()[:16],
        )
        for folder, etags in sorted(found.items())
    ]
