"""Reading from S3, over its real protocol: local_aws runs in its own environment and fails on demand."""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from spark_jobs import reading, storage
from spark_jobs.reading import Source, read_many
from spark_jobs.rejects import Reason, Rejected

from .test_reading import AWKWARD_NAMES

REPOSITORY = Path(__file__).parents[2]
AIRFLOW_PYTHON = REPOSITORY / ".venv/airflow/bin/python"

Fail = Callable[..., None]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    if not AIRFLOW_PYTHON.exists():
        pytest.skip("local_aws runs in the Airflow environment: make setup")
    command = [AIRFLOW_PYTHON, "-m", "local_aws", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> fsspec.AbstractFileSystem:
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "eu-west-3"),
    ):
        monkeypatch.setenv(name, value)
    quick = {"connect_timeout": 1, "read_timeout": 1, "retries": {"mode": "standard", "max_attempts": 2}}
    monkeypatch.setitem(storage._S3_OPTIONS, "config_kwargs", quick)
    fs, _ = storage.filesystem("s3://fruits")
    if not fs.exists("fruits"):
        fs.mkdir("fruits", region_name="eu-west-3")
    return fs


@pytest.fixture
def fail(endpoint: str) -> Iterator[Fail]:
    def request(method: str, body: dict[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body else None
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/_local_aws/faults", data, method=method)).close()

    yield lambda **rule: request("POST", rule)
    request("DELETE")


def put(bucket: fsspec.AbstractFileSystem, key: str, content: bytes = b"content") -> Source:
    response = bucket.call_s3("put_object", Bucket="fruits", Key=key, Body=content)
    return Source(f"s3://fruits/{key}", "Kiwi", response["ETag"].strip('"'), len(content))


def rejected(source: Source) -> Rejected:
    [content] = read_many([source])
    assert isinstance(content, Rejected)
    return content


@pytest.mark.parametrize("name", [*AWKWARD_NAMES, "x?versionId=3.jpg", "a//b.jpg", "=.jpg"])
def test_objects_of_any_name_are_read(bucket: fsspec.AbstractFileSystem, name: str) -> None:
    assert read_many([put(bucket, f"Kiwi 100% (ñ)/{name}")]) == [b"content"]


def test_many_objects_come_back_in_order(bucket: fsspec.AbstractFileSystem) -> None:
    sources = [put(bucket, f"Kiwi/{number}", str(number).encode()) for number in range(100)]

    assert read_many(sources) == [str(number).encode() for number in range(100)]


def test_many_objects_are_read_at_once(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    import time

    sources = [put(bucket, f"Kiwi/{number}") for number in range(32)]
    read_many(sources)
    fail(fault="s3-latency", milliseconds=300, method="GET")
    started = time.monotonic()
    read_many(sources)

    assert time.monotonic() - started < 3  # one after another: 9.6 s


def test_an_object_deleted_since(bucket: fsspec.AbstractFileSystem) -> None:
    source = put(bucket, "Kiwi/1")
    bucket.rm("fruits/Kiwi/1")

    assert rejected(source).reason == Reason.NOT_FOUND


def test_an_object_replaced_since(bucket: fsspec.AbstractFileSystem) -> None:
    source = put(bucket, "Kiwi/1")
    put(bucket, "Kiwi/1", b"other")

    assert rejected(source).reason == Reason.CHANGED
    assert source.etag in rejected(source).detail


def test_an_object_over_the_limit(bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(bucket, "Kiwi/1", bytes(101))
    monkeypatch.setattr(reading, "MAX_BYTES", 100)

    assert rejected(source).reason == Reason.TOO_LARGE
    assert rejected(Source(source.path, None, source.etag, 10)).reason == Reason.TOO_LARGE  # whatever the listing said


def test_access_denied(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source = put(bucket, "Kiwi/1")
    fail(fault="s3-error", status=403, key="Kiwi/1")

    assert rejected(source).reason == Reason.ACCESS_DENIED


def test_an_error_that_passes_costs_nothing(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source = put(bucket, "Kiwi/1")
    fail(fault="s3-error", status=503, key="Kiwi/1", times=1)

    assert read_many([source]) == [b"content"]


def test_an_error_that_stays(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source, other = put(bucket, "Kiwi/1"), put(bucket, "Kiwi/2")
    fail(fault="s3-error", status=500, key="Kiwi/1")
    failed, read = read_many([source, other])

    assert isinstance(failed, Rejected)
    assert failed.reason == Reason.READ_ERROR
    assert read == b"content"


def test_no_answer_in_time(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source = put(bucket, "Kiwi/1")
    fail(fault="s3-latency", milliseconds=3000, key="Kiwi/1")

    assert rejected(source).reason == Reason.READ_TIMEOUT


def test_a_body_that_breaks_off_is_asked_for_again(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source = put(bucket, "Kiwi/1", bytes(10_000))
    fail(fault="s3-drop", after_bytes=4000, key="Kiwi/1", times=1)

    assert read_many([source]) == [bytes(10_000)]


def test_a_body_that_always_breaks_off(bucket: fsspec.AbstractFileSystem, fail: Fail) -> None:
    source = put(bucket, "Kiwi/1", bytes(10_000))
    fail(fault="s3-drop", after_bytes=4000, key="Kiwi/1")

    assert rejected(source).reason == Reason.READ_ERROR
