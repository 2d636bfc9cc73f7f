"""Airflow in parts, PostgreSQL, and the local AWS endpoint with a bucket that reports new images to a queue."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from demo.bucket import BUCKET, client, fill_bucket, queue_of_new_images
from demo.images import write_images
from local_emr import LocalEmr, Timing
from tests.dags.test_live_airflow import Airflow
from tests.live.parts import AirflowParts
from tests.live.postgres import Postgres

NEVER = "0 0 29 2 *"  # a sweep that comes by itself would only surprise


@dataclass
class Live:
    """All of it.

    Attributes:
        parts: Airflow's.
        database: its PostgreSQL.
        aws: the endpoint; `aws.faults` injects faults.
        api: a client of Airflow's REST API.
        queue_url: of the queue that the bucket notifies.
    """

    parts: AirflowParts
    database: Postgres
    aws: LocalEmr
    api: Airflow
    queue_url: str

    @property
    def s3(self) -> Any:
        return client("s3", self.aws.endpoint_url)

    @property
    def sqs(self) -> Any:
        return client("sqs", self.aws.endpoint_url)

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def published(self) -> dict[str, Any]:
        """What `latest.json` says."""
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key="results/latest.json")["Body"].read())

    def column(self, prefix: str, name: str) -> list[Any]:
        """One column of a Parquet dataset in the bucket, all rows."""
        found: list[Any] = []
        for key in self.keys(prefix):
            if key.endswith(".parquet"):
                content = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                found += pq.read_table(io.BytesIO(content), columns=[name])[name].to_pylist()
        return found


@pytest.fixture(scope="module")
def live_settings() -> Mapping[str, str]:
    """Environment variables of Airflow's parts; override it in a module to add some."""
    return {}


@pytest.fixture(scope="module")
def live_timing() -> Timing:
    """What clusters take, in seconds; override it in a module to change it."""
    return Timing()


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, weights: Path, live_settings: Mapping[str, str], live_timing: Timing
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    write_images(folder / "images", 3)
    with Postgres() as database, LocalEmr(port=0, timing=live_timing) as aws:
        uri = fill_bucket(aws.endpoint_url, str(folder / "images"), str(weights), print)
        queue_url = queue_of_new_images(aws.endpoint_url)
        settings = {
            "FRUITS_BUCKET": BUCKET,
            "FRUITS_WEIGHTS": uri,
            "FRUITS_QUEUE_URL": queue_url,
            "FRUITS_SCHEDULE": NEVER,
        }
        with AirflowParts(folder / "home", database.uri, aws.environment(), settings | dict(live_settings)) as parts:
            yield Live(parts, database, aws, parts.client(client("emr", aws.endpoint_url)), queue_url)


@pytest.fixture
def before(live: Live) -> Iterator[dict[str, Any]]:
    """What is published before a test, after which no fault is left."""
    yield live.published()
    live.aws.faults.clear()
