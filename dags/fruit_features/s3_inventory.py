"""S3's own inventory of a bucket, in place of a listing: a daily or weekly report, for buckets whose listing takes too long.

A report shows the bucket as it was when S3 began to scan it, and may lack objects that were written shortly before. What it does
not show yet, a later report does. What it shows and is gone or replaced, `extract_features` rejects, for a reason that passes.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import datasets, objects
from fruit_features.layout import Location
from fruit_features.listing import Listed

DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\dZ")
ROWS_AT_ONCE = 16 * 1024

# Columns by their names in CSV and in Parquet; a report of all versions has the last two.
NEEDED = {"Key": "key", "Size": "size", "LastModifiedDate": "last_modified_date", "ETag": "e_tag"}
OF_VERSIONS = {"IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker"}


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        manifest: the document that describes it.
        created: when S3 began to scan the bucket (ISO 8601, UTC).
        columns: of its files, in CSV; empty in Parquet, which names them itself.
        files: of rows.
    """

    manifest: Location
    created: str
    columns: tuple[str, ...]
    files: tuple[Location, ...]


def find_report(hook: S3Hook, source: str, bucket: str) -> Report:
    """Return the report that `source` names.

    Args:
        hook: for its bucket.
        source: URI of a manifest.json, or of the folder of a configuration, whose newest report is meant.
        bucket: that the report must be of.

    Raises:
        AirflowFailException: there is none, it is closed, of another bucket, or in a format that is not read.
    """
    where = Location(*hook.parse_s3_url(source))
    try:
        manifest = where if where.key.endswith(".json") else _newest(hook, where)
        found = objects.read_json(
            hook, manifest, "sourceBucket", "creationTimestamp", "fileFormat", "fileSchema", "files"
        )
    except ClientError as error:
        raise AirflowFailException(
            f"inventory_source {source} cannot be read ({error.response['Error']['Code']}): it must be the manifest.json of an S3 "
            "Inventory, or the folder of its configuration, open to Airflow (s3:ListBucket, s3:GetObject)"
        ) from None
    if found["sourceBucket"] != bucket:
        raise AirflowFailException(
            f"inventory_source {source} is of bucket {found['sourceBucket']!r}, the images are in {bucket!r}"
        )
    if found["fileFormat"] not in {"CSV", "Parquet"}:
        raise AirflowFailException(
            f"inventory_source {source} is in {found['fileFormat']}: choose Parquet, or CSV, in its configuration"
        )
    columns = [name.strip() for name in found["fileSchema"].split(",")] if found["fileFormat"] == "CSV" else []
    created = datetime.fromtimestamp(int(found["creationTimestamp"]) / 1000, UTC).isoformat()
    files = tuple(Location(manifest.bucket, file["key"]) for file in found["files"])
    return Report(manifest, created, tuple(columns), files)


def _newest(hook: S3Hook, folder: Location) -> Location:
    """Return the manifest of the newest report in a configuration's folder: its folders are called by their time."""
    prefix = f"{folder.key.rstrip('/')}/"
    pages = (
        hook.get_conn().get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=prefix, Delimiter="/")
    )
    names = [each["Prefix"][len(prefix) : -1] for page in pages for each in page.get("CommonPrefixes", [])]
    for name in sorted(filter(DATED.fullmatch, names), reverse=True):
        manifest = Location(folder.bucket, f"{prefix}{name}/manifest.json")
        if objects.exists(hook, manifest):
            return manifest
    raise AirflowFailException(
        f"inventory_source {folder} holds no report yet, as <time>/manifest.json: S3 delivers the first within 48 hours"
    )


def read_rows(hook: S3Hook, report: Report, file: Location) -> Iterator[list[Listed]]:
    """Yield the current objects of one file of a report, a batch at a time.

    Raises:
        AirflowFailException: naming the columns that it lacks.
    """
    files = datasets.filesystem(hook)
    batches = _csv(files, file, report.columns) if report.columns else _parquet(files, file)
    for batch in batches:
        yield [
            Listed(key, etag.strip('"'), size, changed)
            for key, size, changed, etag, latest, deleted in zip(*(column.to_pylist() for column in batch), strict=True)
            if latest and not deleted and etag is not None
        ]


def _parquet(files: pa_fs.FileSystem, file: Location) -> Iterator[list[pa.Array]]:
    with files.open_input_file(file.path) as stream:
        source = pq.ParquetFile(stream)
        there = source.schema_arrow.names
        _check_columns(file, there, NEEDED.values())
        wanted = [name for name in (*NEEDED.values(), *OF_VERSIONS.values()) if name in there]
        for batch in source.iter_batches(ROWS_AT_ONCE, columns=wanted):
            key, size, changed, etag = (batch[name] for name in NEEDED.values())
            moment = changed.cast(pa.timestamp("us", "UTC")).cast(pa.string())
            yield [key, size, moment, etag, *_of_versions(batch, OF_VERSIONS.values())]


def _csv(files: pa_fs.FileSystem, file: Location, columns: tuple[str, ...]) -> Iterator[list[pa.Array]]:
    """Read gzipped CSV without a header, whose keys are encoded as in a URL."""
    _check_columns(file, columns, NEEDED)
    wanted = [name for name in (*NEEDED, *OF_VERSIONS) if name in columns]
    types = {**dict.fromkeys(NEEDED, pa.string()), "Size": pa.int64(), **dict.fromkeys(OF_VERSIONS, pa.bool_())}
    convert = pyarrow.csv.ConvertOptions(
        include_columns=wanted, column_types={name: types[name] for name in wanted}, strings_can_be_null=True
    )
    read = pyarrow.csv.ReadOptions(column_names=list(columns), use_threads=False)
    with files.open_input_stream(file.path, compression=None) as raw, gzip.open(raw) as stream:
        for batch in pyarrow.csv.open_csv(stream, read_options=read, convert_options=convert):
            key, size, changed, etag = (batch[name] for name in NEEDED)
            names = pa.array([unquote_plus(name) for name in key.to_pylist()], pa.string())
            yield [names, size, changed, etag, *_of_versions(batch, OF_VERSIONS)]


def _of_versions(batch: pa.RecordBatch, names: Iterable[str]) -> list[pa.Array]:
    """Return whether a row is the current version, and whether it stands for a deletion."""
    usual = (True, False)  # without these columns the report is of current objects alone
    there = batch.schema.names
    return [
        batch[name].fill_null(value) if name in there else pa.repeat(pa.scalar(value), len(batch))
        for name, value in zip(names, usual, strict=True)
    ]


def _check_columns(file: Location, there: Iterable[str], needed: "Iterable[str]") -> None:
    if missing := sorted(set(needed) - set(there)):
        raise AirflowFailException(
            f"the inventory's file {file} lacks {', '.join(missing)}: add size, last modified and ETag to its configuration"
        )
