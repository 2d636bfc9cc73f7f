"""Each object is listed once, however the keys are split; and the workspace keeps what it was given."""

from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore import handlers
from botocore.awsrequest import AWSResponse

from fruit_features import listing
from fruit_features.workspace import ROWS_PER_FILE, workspace

STRAYS = ["images/0.jpg", "images/zz.jpg", "images/A"]


def listed(hook: S3Hook) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return the ranges, and the keys of all of them in order."""
    client = hook.get_conn()
    with listing.own_parser(client):
        ranges = listing.ranges(client, "fruits", "images/")
        found = [page for keys in ranges for page in listing.pages(client, "fruits", "images/", *keys)]
    return ranges, [item.key for page in found for item in page]


@pytest.mark.parametrize(("limit", "expected"), [(256, 7), (3, 3), (1, 1)])
def test_ranges_of_folders_list_each_object_once(
    hook: S3Hook, monkeypatch: pytest.MonkeyPatch, limit: int, expected: int
) -> None:
    folders = ["A", "A b", "Açaí+%2F", "B", "B-", "Z", ""]
    keys = [f"images/{folder}/{number:03}.jpg" for folder in folders for number in range(150)] + STRAYS
    client = hook.get_conn()
    for key in keys:
        client.put_object(Bucket="fruits", Key=key, Body=b"")
    monkeypatch.setattr(listing, "RANGES", limit)

    ranges, found = listed(hook)

    assert len(ranges) == expected
    assert found == sorted(keys)


def test_folders_that_are_left_out_are_not_listed(hook: S3Hook) -> None:
    folders = ["A", "artifacts", "features", "features0", "logs", "Z"]
    client = hook.get_conn()
    for key in [f"{folder}/{number:03}.jpg" for folder in folders for number in range(200)] + ["a.jpg", "zz.jpg"]:
        client.put_object(Bucket="fruits", Key=key, Body=b"")
    skipped = {"artifacts/", "features/", "logs/"}

    with listing.own_parser(client):
        ranges = listing.ranges(client, "fruits", "", skipped.__contains__)
        pages = [page for keys in ranges for page in listing.pages(client, "fruits", "", *keys)]

    kept = [f"{folder}/{number:03}.jpg" for folder in ("A", "Z", "features0") for number in range(200)]
    assert [item.key for page in pages for item in page] == sorted([*kept, "a.jpg", "zz.jpg"])


def test_a_small_bucket_costs_two_requests(hook: S3Hook) -> None:
    hook.load_bytes(b"image", "images/A/1.jpg", "fruits")
    requests: list[Any] = []
    hook.get_conn().meta.events.register("before-send.s3", lambda request, **_: requests.append(request.url))

    assert listed(hook) == ([("", None)], ["images/A/1.jpg"])
    assert len(requests) == 2


def test_botocore_looks_for_an_error_in_what_is_left_of_an_answer(
    hook: S3Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        hook.load_bytes(b"image", f"images/A/{number:03}.jpg", "fruits")
    looked_at: list[int] = []
    look = handlers._looks_like_special_case_error
    monkeypatch.setattr(
        handlers,
        "_looks_like_special_case_error",
        lambda status, body: (looked_at.append(len(body)), look(status, body))[1],
    )

    assert len(listed(hook)[1]) == 100
    assert len(looked_at) == 2
    assert max(looked_at) < 1000


def test_an_answer_that_is_cut_off_is_asked_for_again(hook: S3Hook) -> None:
    hook.load_bytes(b"image", "images/A/1.jpg", "fruits")
    cut = AWSResponse("", 200, {}, None)
    cut._content = b"<ListBucketResult><Contents><Key>images/A/1.jpg</Key>"
    answers = [cut]
    hook.get_conn().meta.events.register("before-send.s3.ListObjectsV2", lambda **_: answers.pop() if answers else None)

    assert listed(hook)[1] == ["images/A/1.jpg"]
    assert not answers


@pytest.mark.parametrize("names", [["a%2Bb+c", "Aça%C3%AD+100%25"], ["a%0Ab", "c+d"], ["%0A"], []])
def test_encoded_keys_are_decoded_one_by_one(names: list[str]) -> None:
    assert listing._unquoted(names) == [unquote_plus(name) for name in names]


def test_other_listings_are_botocores_own_again(hook: S3Hook) -> None:
    hook.load_bytes(b"image", "images/A/1.jpg", "fruits")
    listed(hook)

    assert hook.list_keys("fruits") == ["images/A/1.jpg"]


def test_a_table_has_every_row_that_was_added() -> None:
    schema = pa.schema([("number", pa.int64())])
    with workspace() as work:
        with work.collect("numbers", schema) as numbers:
            for start in range(0, 3 * ROWS_PER_FILE, 1000):
                numbers.add(pa.table({"number": range(start, start + 1000)}, schema))
        with work.collect("nothing", schema):
            pass
        rows = [
            row
            for batch in work.stream("", "FROM numbers ORDER BY number", schema, 5000)
            for row in batch[0].to_pylist()
        ]
        assert rows == list(range(numbers.rows))
        assert work.row("SELECT count(*) FROM nothing") == (0,)
        with work.collect("more", schema) as more:
            more.add(pa.table({"number": [1]}, schema))
        assert work.row("SELECT count(*) FROM numbers SEMI JOIN more USING (number)") == (1,)


def test_a_long_listing_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter([0.0, 4.0, 10.5, 10.6, 12.0, 20.7, 20.8])
    monkeypatch.setattr("fruit_features.workspace.time.monotonic", lambda: next(seconds))
    schema = pa.schema([("path", pa.string())])
    with caplog.at_level("INFO"), workspace() as work, work.collect("images", schema) as rows:
        for _ in range(4):
            rows.add(pa.table([["path"] * 1500], schema))

    assert caplog.messages == ["images: 3,000 rows so far", "images: 6,000 rows so far"]
