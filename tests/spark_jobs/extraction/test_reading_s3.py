"""Reading from S3, over its real protocol: local_emr runs in its own environment and fails on demand."""

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from spark_jobs import s3 as s3_objects
from spark_jobs import s3_clients, schemas, uris
from spark_jobs.errors import JobError
from spark_jobs.extraction import reading, reading_s3
from spark_jobs.extraction.chunks import Chunk, read_chunk
from spark_jobs.extraction.reading import ManifestRow, read_ahead, read_many
from spark_jobs.extraction.rejects import Reason, Rejected

from .test_reading import AWKWARD_NAMES

Fail = Callable[..., None]
DENIED = Reason.ACCESS_DENIED


@pytest.fixture
def fail(endpoint: str) -> Iterator[Fail]:
    def request(method: str, body: dict[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body else None
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/_local_emr/faults", data, method=method)).close()

    yield lambda **rule: request("POST", rule)
    request("DELETE")


def put(s3: Any, key: str, content: bytes = b"content") -> ManifestRow:
    response = s3.put_object(Bucket="fruits", Key=key, Body=content)
    return ManifestRow(f"s3://fruits/{key}", "Kiwi", response["ETag"].strip('"'), len(content))


def rejected(source: ManifestRow) -> Rejected:
    [content] = read_many([source])
    assert isinstance(content, Rejected)
    return content


@pytest.mark.parametrize("name", [*AWKWARD_NAMES, "x?versionId=3.jpg", "a//b.jpg", "=.jpg", " b.jpg ", "~^`|<>&;$.jpg"])
def test_objects_of_any_name_are_read(s3: Any, name: str) -> None:
    assert read_many([put(s3, f"Kiwi 100% (ñ)/{name}")]) == [b"content"]


@pytest.mark.parametrize(
    "key", ["K//b.jpg", "K/../b.jpg", "K/./b.jpg", "/K/b.jpg", "K/b.jpg/", "K/b.jpg//", "K/tab\t.jpg"]
)
def test_a_key_is_not_mistaken_for_the_one_it_looks_like(s3: Any, key: str) -> None:
    for other in ("b.jpg", "K/b.jpg", "K/tab.jpg"):
        put(s3, other, b"another")

    assert read_many([put(s3, key)]) == [b"content"]


def test_an_image_that_can_be_read_is_read_with_obstore(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(s3, "Kiwi/1")
    monkeypatch.setattr(s3_objects, "client", None)

    assert read_many([source]) == [b"content"]


@pytest.mark.parametrize(
    ("endpoint", "bucket", "region", "url"),
    [
        (None, "fruits", "eu-west-3", "https://fruits.s3.eu-west-3.amazonaws.com"),
        (None, "ripe.fruits", "eu-west-3", "https://s3.eu-west-3.amazonaws.com"),
        (None, "fruits", "cn-north-1", "https://fruits.s3.cn-north-1.amazonaws.com.cn"),
        (
            "https://bucket.vpce-1.s3.eu-west-3.vpce.amazonaws.com",
            "fruits",
            "eu-west-3",
            "https://bucket.vpce-1.s3.eu-west-3.vpce.amazonaws.com",
        ),
        ("http://127.0.0.1:9000", "fruits", "eu-west-3", "http://127.0.0.1:9000"),
    ],
)
def test_obstore_goes_where_botocore_goes(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, bucket: str, region: str, url: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    s3_clients.forget()
    store = s3_clients.bucket_store(bucket)
    s3_clients.forget()

    assert store.config["endpoint"] == url
    assert store.config["region"] == region
    assert store.config["virtual_hosted_style_request"] == str(f"//{bucket}." in url).lower()
    assert store.client_options["allow_http"] == str(url.startswith("http:")).lower()


def test_obstore_signs_with_what_botocore_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    file.write_text("[fruits]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = c\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "fruits")
    s3_clients.forget()
    found = s3_clients.connection().credentials()
    s3_clients.forget()

    assert (found["access_key_id"], found["secret_access_key"], found["token"]) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("report.html", "text/html; charset=utf-8"),
        ("model.json", "application/json"),
        ("variance.png", "image/png"),
        ("part-0.parquet", "application/vnd.apache.parquet"),
        ("model.tflite", "application/octet-stream"),
    ],
)
def test_browsers_are_told_what_an_object_is(s3: Any, name: str, kind: str) -> None:
    uris.write_bytes(f"s3://fruits/{name}", b"content")

    assert s3.head_object(Bucket="fruits", Key=name)["ContentType"] == kind


def test_of_two_writers_the_first_stays(s3: Any) -> None:
    assert uris.create("s3://fruits/new/part-0", b"first")
    assert not uris.create("s3://fruits/new/part-0", b"second")
    assert uris.read_bytes("s3://fruits/new/part-0") == b"first"
    uris.write_bytes("s3://fruits/new/part-0", b"third")
    assert uris.read_bytes("s3://fruits/new/part-0") == b"third"


def test_a_write_that_fails_is_named(s3: Any, fail: Fail) -> None:
    fail(fault="s3-error", status=403, key="new/part-1", method="PUT")

    with pytest.raises(JobError, match="s3://fruits/new/part-1: cannot be written") as raised:
        uris.create("s3://fruits/new/part-1", b"first")
    assert "max retries" not in str(raised.value)


def test_the_end_of_an_object(s3: Any) -> None:
    for content in (b"0123456789", b"01", b""):
        put(s3, "file", content)
        end, stored = uris.read_end("s3://fruits/file", 3)
        assert (end, stored.size) == (content[-3:], len(content))


@pytest.mark.parametrize("key", ["K//b", "K/../b", "/K/b", "K/b/", "K/tab\t"])
def test_an_object_that_obstore_cannot_name(s3: Any, key: str) -> None:
    for other in ("b", "K/b", "K/tab"):
        put(s3, other, b"another")
    put(s3, key, b"0123456789")
    content, stored = s3_objects.read_end(f"fruits/{key}", 3)
    assert (content, stored.size) == (b"789", 10)
    assert s3_objects.read(f"fruits/{key}") == b"0123456789"


def test_objects_and_their_ends_are_read_with_obstore(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "file", b"0123456789")
    monkeypatch.setattr(s3_objects, "client", None)
    assert uris.read_bytes("s3://fruits/file") == b"0123456789"
    assert uris.read_end("s3://fruits/file", 3)[0] == b"789"


@pytest.mark.parametrize("read", [uris.read_bytes, lambda uri: uris.read_end(uri, 3)], ids=["all", "end"])
def test_an_object_that_cannot_be_read_is_named_with_the_cause(s3: Any, fail: Fail, read: Callable[[str], Any]) -> None:
    with pytest.raises(JobError, match="s3://fruits/nothing: not found"):
        read("s3://fruits/nothing")
    put(s3, "closed")
    fail(fault="s3-error", status=403, key="closed")
    with pytest.raises(JobError, match=r"s3://fruits/closed: cannot be read: .*AccessDenied"):
        read("s3://fruits/closed")


def test_a_connection_that_breaks_is_made_again(s3: Any, fail: Fail) -> None:
    put(s3, "dropped", b"0123456789")
    fail(fault="s3-drop", after_bytes=5, key="dropped", times=1)
    assert uris.read_bytes("s3://fruits/dropped") == b"0123456789"


def test_writing_reading_and_listing_say_the_same_of_an_object(s3: Any) -> None:
    """So that `check_outputs` knows by a listing that it is what a task has written."""
    for write in (uris.create, uris.write_bytes):
        written = write("s3://fruits/told/part-0", b"0123456789")
        assert written
        assert written.size == 10
        assert len(written.etag) == 32
        assert uris.read_end("s3://fruits/told/part-0", 3)[1] == written
        assert uris.read_end("s3://fruits/told/part-0", 30)[1] == written
        assert uris.list_stored("s3://fruits/told") == {"part-0": written}
    assert uris.write_bytes("s3://fruits/told/part-0", b"0123456780") != written


def test_objects_are_listed_by_their_paths_in_the_folder(s3: Any) -> None:
    for name in ("b", "a/c 100%", "_SUCCESS"):
        put(s3, f"listed/{name}")

    assert uris.list_files("s3://fruits/listed") == {"_SUCCESS": 7, "a/c 100%": 7, "b": 7}
    assert uris.list_files("s3://fruits/nothing") == {}
    for _ in range(2):
        uris.delete_file("s3://fruits/listed/b")
    assert list(uris.list_files("s3://fruits/listed")) == ["_SUCCESS", "a/c 100%"]


def test_many_objects_come_back_in_order(s3: Any) -> None:
    sources = [put(s3, f"Kiwi/{number}", str(number).encode()) for number in range(100)]

    assert read_many(sources) == [str(number).encode() for number in range(100)]


def test_many_objects_are_read_at_once(s3: Any, fail: Fail) -> None:
    import time

    sources = [put(s3, f"Kiwi/{number}") for number in range(32)]
    read_many(sources)
    fail(fault="s3-latency", milliseconds=300, method="GET")
    started = time.monotonic()
    read_many(sources)

    assert time.monotonic() - started < 3  # one after another: 9.6 s


def test_an_object_deleted_since(s3: Any) -> None:
    source = put(s3, "Kiwi/1")
    s3.delete_object(Bucket="fruits", Key="Kiwi/1")

    assert rejected(source).reason == Reason.NOT_FOUND


def test_an_object_replaced_since(s3: Any) -> None:
    source = put(s3, "Kiwi/1")
    put(s3, "Kiwi/1", b"other")

    assert rejected(source).reason == Reason.CHANGED
    assert source.etag in rejected(source).detail


def test_an_object_over_the_limit(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(s3, "Kiwi/1", bytes(101))
    monkeypatch.setattr(reading, "MAX_BYTES", 100)

    assert rejected(source).reason == Reason.TOO_LARGE
    assert (
        rejected(ManifestRow(source.path, None, source.etag, 10)).reason == Reason.TOO_LARGE
    )  # whatever the listing said


def test_access_denied(s3: Any, fail: Fail) -> None:
    source, other = put(s3, "Kiwi/1"), put(s3, "Kiwi/2")
    fail(fault="s3-error", status=403, key="Kiwi/1")
    denied, read = read_many([source, other])

    assert isinstance(denied, Rejected)
    assert denied.reason == Reason.ACCESS_DENIED
    assert read == b"content"


def test_an_image_that_nobody_here_can_decrypt_costs_itself_alone(s3: Any, fail: Fail) -> None:
    source, other = put(s3, "Kiwi/1"), put(s3, "Kiwi/2")
    fail(fault="s3-error", code="KMS.DisabledException", status=400, key="Kiwi/1")
    closed, read = read_many([source, other])

    assert isinstance(closed, Rejected)
    assert (closed.reason, closed.detail.partition(":")[0]) == (Reason.ACCESS_DENIED, "KMS.DisabledException")
    assert read == b"content"


@pytest.mark.parametrize("size", [7, 5_000_000, 40_000_000])  # read 8, 6 and 1 at a time
def test_images_that_are_all_denied_are_a_missing_permission(s3: Any, fail: Fail, size: int) -> None:
    sources = [replace(put(s3, f"Kiwi/{number:02}"), size=size) for number in range(20)]
    fail(fault="s3-error", status=403, key="Kiwi/*")

    with pytest.raises(JobError, match=r"s3://fruits/Kiwi/00 and \d+ images after it .* s3:GetObject .* kms:Decrypt"):
        list(read_ahead(sources))


def test_closed_images_cost_themselves_alone_once_one_could_be_read(s3: Any, fail: Fail) -> None:
    sources = [put(s3, f"Kiwi/{number:03}") for number in range(300)]
    fail(fault="s3-error", status=403, key="Kiwi/1*")
    contents = [content for _, content in read_ahead(sources)]

    assert contents[:100] == contents[200:] == [b"content"] * 100
    assert [content.reason for content in contents[100:200] if isinstance(content, Rejected)] == [DENIED] * 100


def test_archived_images_are_no_missing_permission(s3: Any, fail: Fail) -> None:
    sources = [put(s3, f"Kiwi/{number}") for number in range(9)]
    fail(fault="s3-error", status=403, code="InvalidObjectState", key="Kiwi/*")

    assert [content.reason for _, content in read_ahead(sources) if isinstance(content, Rejected)] == [DENIED] * 9


def test_closed_images_that_happen_to_be_a_batch_cost_themselves_alone(s3: Any, fail: Fail) -> None:
    sources = [put(s3, f"Kiwi/{number:02}") for number in range(10)]  # read as 8 and 2
    fail(fault="s3-error", status=403, key="Kiwi/08")
    fail(fault="s3-error", status=403, key="Kiwi/09")
    contents = [content for _, content in read_ahead(sources)]

    assert contents[:8] == [b"content"] * 8
    assert [content.reason for content in contents[8:] if isinstance(content, Rejected)] == [Reason.ACCESS_DENIED] * 2


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("NoSuchKey", 404, Reason.NOT_FOUND),
        ("404", 404, Reason.NOT_FOUND),
        ("AccessDenied", 403, Reason.ACCESS_DENIED),
        ("InvalidObjectState", 403, Reason.ACCESS_DENIED),  # in an archive
        ("InvalidRequest", 400, Reason.ACCESS_DENIED),  # encrypted with a key that its owner keeps
        ("KMS.DisabledException", 400, Reason.ACCESS_DENIED),
        ("KMS.NotFoundException", 400, Reason.ACCESS_DENIED),
        ("AuthorizationHeaderMalformed", 400, None),
        ("InvalidToken", 400, None),
        ("NoSuchBucket", 404, None),
        ("ExpiredToken", 400, None),
        ("InvalidAccessKeyId", 403, None),
        ("SignatureDoesNotMatch", 403, None),
        ("RequestTimeTooSkewed", 403, None),
        ("SlowDown", 503, None),
        ("InternalError", 500, None),
    ],
)
def test_only_answers_about_the_object_reject_it(code: str, status: int, reason: Reason | None) -> None:
    answer = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    found = reading_s3._s3_rejected(ClientError(answer, "GetObject"))

    assert (found.reason if found else None) == reason


def test_a_bucket_that_is_gone_is_not_the_images_fault(s3: Any) -> None:
    with pytest.raises(JobError, match=r"s3://no-such-bucket/1: S3 .* \(NoSuchBucket"):
        read_many([ManifestRow("s3://no-such-bucket/1", "Kiwi", "e", 1)])


def test_an_error_that_passes_costs_nothing(s3: Any, fail: Fail) -> None:
    source = put(s3, "Kiwi/1")
    fail(fault="s3-error", status=503, key="Kiwi/1", times=1)

    assert read_many([source]) == [b"content"]


def test_an_outage_that_meets_every_thread_costs_nothing(s3: Any, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """More retries than the hundred that botocore's standard mode allows all threads of a client together."""
    sources = [put(s3, f"Kiwi/{number}", str(number).encode()) for number in range(40)]
    monkeypatch.setattr(s3_clients, "ATTEMPTS", 10)
    monkeypatch.setattr(s3_clients, "LONGEST_PAUSE", 0.05)
    for number in range(40):
        fail(fault="s3-error", status=503, key=f"Kiwi/{number}", times=6)  # of which two go to obstore

    assert read_many(sources) == [str(number).encode() for number in range(40)]


def test_an_error_that_stays_is_not_the_images_fault(s3: Any, fail: Fail) -> None:
    sources = [put(s3, "Kiwi/1"), put(s3, "Kiwi/2")]
    fail(fault="s3-error", status=500, key="Kiwi/1")

    with pytest.raises(JobError, match=r"s3://fruits/Kiwi/1: S3 fails even after retries \(.*: run the step again"):
        read_many(sources)


def test_no_answer_in_time_is_not_the_images_fault(s3: Any, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(s3, "Kiwi/1")
    monkeypatch.setattr(s3_clients, "READ_SECONDS", 1)  # here alone: a busy machine may take longer to answer
    s3_clients.forget()
    fail(fault="s3-latency", milliseconds=3000, key="Kiwi/1")

    with pytest.raises(JobError, match=r"s3://fruits/Kiwi/1: S3 cannot be reached \(ReadTimeoutError"):
        read_many([source])


def test_a_body_that_breaks_off_is_asked_for_again(s3: Any, fail: Fail) -> None:
    content = bytes(range(250)) * 40
    source = put(s3, "Kiwi/1", content)
    fail(fault="s3-drop", after_bytes=4000, key="Kiwi/1", times=1)

    assert read_many([source]) == [content]


def test_a_body_that_always_breaks_off(s3: Any, fail: Fail) -> None:
    source = put(s3, "Kiwi/1", bytes(10_000))
    fail(fault="s3-drop", after_bytes=1000, key="Kiwi/1")  # too little of it each time to piece it together

    with pytest.raises(JobError, match=r"s3://fruits/Kiwi/1: S3 cannot be reached"):
        read_many([source])


def test_a_file_whose_body_breaks_off_is_asked_for_again(s3: Any, fail: Fail) -> None:
    content = bytes(range(250)) * 40
    put(s3, "features/1", content)
    uri = "s3://fruits/features/1"
    fail(fault="s3-drop", after_bytes=4000, key="features/1", method="GET", times=1)
    assert uris.read_bytes(uri) == content
    fail(fault="s3-drop", after_bytes=4000, key="features/1", method="GET", times=1)
    assert uris.read_end(uri, 9000)[0] == content[-9000:]
    fail(fault="s3-drop", after_bytes=4000, key="features/1", method="GET")
    with pytest.raises(JobError, match="s3://fruits/features/1: cannot be read: "):
        uris.read_bytes(uri)


def test_a_chunk_whose_row_group_is_not_at_hand_takes_one_request(s3: Any) -> None:
    """With many slots that is nearly every chunk."""
    rows = [{"path": f"s3://fruits/{number}", "label": "Kiwi", "etag": "e", "size": 1} for number in range(60)]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schemas.MANIFEST), stream, row_group_size=20)
    s3.put_object(Bucket="fruits", Key="manifest.parquet", Body=stream.getvalue())
    requests: list[str] = []
    s3_clients.client().meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    chunks = [Chunk(f"{first}", "s3://fruits/manifest.parquet", first, 20) for first in (0, 20, 40)]
    read = [[row.path for row in read_chunk(chunk, "this test's")] for chunk in chunks]

    assert [path for paths in read for path in paths] == [row["path"] for row in rows]
    assert requests == ["GetObject"] * 3, "the footer is read once, and with obstore"
