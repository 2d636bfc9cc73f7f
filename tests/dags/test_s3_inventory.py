"""S3's inventory in place of a listing, as S3 writes it: Parquet, and gzipped CSV with keys encoded as in a URL."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import inventory
from fruit_features.run import Run
from tests.dags.test_inventory import MODEL_ID, WEIGHTS, etag, extracted, publish_results, put_images, written

Build = Callable[..., Run]
FOLDER = "inventories/fruits/daily"
CREATED = datetime(2026, 11, 22, 1, tzinfo=UTC)
KEYS = ["images/A b/ü+1,%2F.jpg", "images/A b/2.jpg", 'images/Kiwi/"3".jpg', "other/x.jpg"]
PARQUET_SCHEMA = "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING); }"


@pytest.fixture
def build(hook: S3Hook, make_run: Build) -> Build:
    hook.load_bytes(WEIGHTS, "weights/w.h5", "fruits")
    given = {"weights": "s3://fruits/weights/w.h5", "inventory_source": f"s3://fruits/{FOLDER}"}
    return lambda **params: make_run(**given | params)


def put_manifest(hook: S3Hook, kind: str, schema: str, keys: list[str], day: int = 22, **changes: Any) -> None:
    created = int(CREATED.replace(day=day).timestamp() * 1000)
    document = {
        "sourceBucket": "fruits",
        "destinationBucket": "arn:aws:s3:::fruits",
        "version": "2016-11-30",
        "creationTimestamp": str(created),
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [{"key": key, "size": 1, "MD5checksum": ""} for key in keys],
    } | changes
    hook.load_string(json.dumps(document), f"{FOLDER}/2026-11-{day}T01-00Z/manifest.json", "fruits", replace=True)


def put_parquet(hook: S3Hook, *files: list[str], day: int = 22, **columns: list[Any]) -> None:
    """Write a report in Parquet, with a file for each list of keys."""
    names = []
    for number, keys in enumerate(files):
        table = pa.table(
            {
                "bucket": pa.array(["fruits"] * len(keys)),
                "key": pa.array(keys),
                "size": pa.array([5] * len(keys), pa.int64()),
                "last_modified_date": pa.array([CREATED] * len(keys), pa.timestamp("ms", "UTC")),
                "e_tag": pa.array([etag()] * len(keys)),
                "storage_class": pa.array(["STANDARD"] * len(keys)),
                **{name: pa.array(values) for name, values in columns.items()},
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        names.append(f"{FOLDER}/data/{day}-{number}.parquet")
        hook.load_bytes(sink.getvalue().to_pybytes(), names[-1], "fruits")
    put_manifest(hook, "Parquet", PARQUET_SCHEMA, names, day)


def put_csv(hook: S3Hook, keys: list[str]) -> None:
    lines = [
        f'"fruits","{quote_plus(key, safe="/")}","v","true","false","5","2026-11-22T01:00:00.000Z","{etag()}","STANDARD"'
        for key in keys
    ]
    lines.append('"fruits","images/A+b/2.jpg","u","false","false","7","2026-11-21T01:00:00.000Z","old","STANDARD"')
    lines.append('"fruits","images/A+b/gone.jpg","w","true","true","","2026-11-21T01:00:00.000Z","",""')
    name = f"{FOLDER}/data/22.csv.gz"
    hook.load_bytes(gzip.compress("\n".join(lines).encode()), name, "fruits")
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
    put_manifest(hook, "CSV", schema, [name])


@pytest.mark.parametrize("kind", ["Parquet", "CSV"])
def test_an_inventory_is_what_a_listing_would_be(hook: S3Hook, build: Build, kind: str) -> None:
    if kind == "CSV":
        put_csv(hook, KEYS)
    else:
        put_parquet(hook, KEYS[:2], KEYS[2:])
    run = build()

    found = inventory.find_new(hook, run)

    assert (found.images, found.new, found.listed) == (3, 3, CREATED.isoformat())
    rows = written(hook, run.layout.inventory)
    assert [row["path"] for row in rows] == sorted(f"s3://fruits/{key}" for key in KEYS[:3])
    assert {(row["etag"], row["size"], row["last_modified"]) for row in rows} == {(etag(), 5, CREATED)}


def test_versions_that_are_not_current_are_no_images(hook: S3Hook, build: Build) -> None:
    put_parquet(hook, KEYS[:3], is_latest=[True, False, True], is_delete_marker=[False, False, True])

    assert inventory.find_new(hook, build()).images == 1


def test_the_newest_report_counts_and_one_may_be_named(hook: S3Hook, build: Build) -> None:
    put_parquet(hook, KEYS[:1], day=22)
    put_parquet(hook, KEYS[:3], day=23)
    hook.load_string("", f"{FOLDER}/2026-11-24T01-00Z/manifest.checksum", "fruits")  # not all of it is there yet
    hook.load_string("", f"{FOLDER}/hive/dt=2026-11-24-01-00/symlink.txt", "fruits")

    assert inventory.find_new(hook, build()).images == 3
    named = build(inventory_source=f"s3://fruits/{FOLDER}/2026-11-22T01-00Z/manifest.json")
    assert inventory.find_new(hook, named).images == 1


def test_what_is_newer_than_the_inventory_is_found_by_a_later_run(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg")
    put_parquet(hook, ["images/A/1.jpg"], day=22)
    run = build()
    first = inventory.find_new(hook, run)
    extracted(hook, "run=1", [row["path"] for row in written(hook, run.layout.manifest)])
    put_parquet(hook, ["images/A/1.jpg", "images/A/2.jpg"], day=23)

    inventory.find_new(hook, run)

    assert first.new == 1
    assert [row["path"] for row in written(hook, run.layout.manifest)] == ["s3://fruits/images/A/2.jpg"]


def test_an_inventory_older_than_what_is_published_is_refused(hook: S3Hook, build: Build) -> None:
    put_parquet(hook, KEYS)
    publish_results(hook, build(), {"run": "1", "listed": "2026-11-22T09:00:00+00:00", "model_id": MODEL_ID})
    run = Run.from_params(build().settings.model_dump(), "next")

    with pytest.raises(
        AirflowFailException, match=r"is of 2026-11-22T01:00:00\+00:00, the published results are of .*T09"
    ):
        inventory.find_new(hook, run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sourceBucket": "another"}, r"is of bucket 'another', the images are in 'fruits'"),
        ({"fileFormat": "ORC"}, r"is in ORC: choose Parquet, or CSV"),
        (
            {"fileFormat": "CSV", "fileSchema": "Bucket, Key, Size"},
            r"lacks ETag, LastModifiedDate: add size, last modified",
        ),
    ],
)
def test_an_inventory_that_cannot_be_used_is_named(
    hook: S3Hook, build: Build, changes: dict[str, Any], message: str
) -> None:
    put_csv(hook, KEYS)
    put_manifest(hook, kind="CSV", schema="", keys=[f"{FOLDER}/data/22.csv.gz"], **changes)
    with pytest.raises(AirflowFailException, match=message):
        inventory.find_new(hook, build())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://fruits/nothing/here", r"holds no report yet, as <time>/manifest.json"),
        ("s3://fruits/nothing/manifest.json", r"cannot be read \((NoSuchKey|404)\): it must be the manifest.json of"),
        ("s3://no-such-bucket/daily", r"cannot be read \(NoSuchBucket\)"),
    ],
)
def test_an_inventory_that_is_not_there_is_named(hook: S3Hook, build: Build, source: str, message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        inventory.find_new(hook, build(inventory_source=source))
