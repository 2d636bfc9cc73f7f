"""The Parquet datasets that cross the border between the DAG and the Spark jobs: their schemas, and reading and writing them.

The jobs hold the same schemas on their side (``spark_jobs/schemas.py``); a test compares the two.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features.config import HTTPS_PROXY

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


def plain_type(kind: pa.DataType) -> str:
    """A type's name; writers call a list's elements "item" or "element", and mean the same list."""
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


def filesystem(hook: S3Hook) -> pa_fs.S3FileSystem:
    """Arrow's own S3 client (it reads single columns) with the credentials, region and endpoint of the Airflow connection."""
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
    )


def write(files: pa_fs.FileSystem, bucket: str, key: str, table: pa.Table) -> None:
    """Write one Parquet file that Spark reads as it is."""
    with files.open_output_stream(f"{bucket}/{key}") as stream:
        pq.write_table(table, stream, compression="zstd", coerce_timestamps="us", row_group_size=128 * 1024)


def finished_folders(hook: S3Hook, bucket: str, prefix: str) -> list[str]:
    """The ``run=…`` folders below ``prefix`` that a Spark job finished: those with a ``_SUCCESS`` marker."""
    folders = hook.list_prefixes(bucket, prefix=prefix, delimiter="/")
    return [folder for folder in folders if hook.check_for_key(f"{folder}_SUCCESS", bucket)]


def dataset(files: pa_fs.FileSystem, bucket: str, folders: Iterable[str], schema: pa.Schema) -> ds.Dataset:
    """The Parquet files of several folders as one dataset; Spark's ``_SUCCESS`` and other ``_`` and ``.`` files do not count."""
    paths: list[str] = []
    for folder in folders:
        selector = pa_fs.FileSelector(f"{bucket}/{folder}", recursive=True)
        paths += [
            info.path
            for info in files.get_file_info(selector)
            if info.type == pa_fs.FileType.File and not info.base_name.startswith(("_", "."))
        ]
    return ds.dataset(sorted(paths), schema=schema, format="parquet", filesystem=files)
