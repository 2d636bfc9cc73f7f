"""Listing a bucket: a thousand objects a request, several requests at a time, an eighth of botocore's processor time."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

RANGES = 256  # at most; each costs up to one request more than the objects need
AT_ONCE = 10  # as many connections as boto3 keeps open


class Listed(NamedTuple):
    """An object; `size` in bytes, `last_modified` in ISO 8601, UTC."""

    key: str
    etag: str
    size: int
    last_modified: str


@contextmanager
def own_parser(client: Any) -> Iterator[None]:
    """Let the client leave the objects of a listing to `_take_objects`.

    Of a page of 1,000 botocore makes dictionaries in 145 ms, most of them for dates; this takes 5. With the wildcard it comes
    before botocore's own look for an error in each answer (`before-parse.s3.*`), which would parse all of it once more.

    botocore documents neither the event nor that its listeners may change the answer: verified on 1.43.117. Without them a page
    would have no `Objects`, and the tests in tests/dags/test_listing.py fail, of the wildcard
    `test_botocore_looks_for_an_error_in_what_is_left_of_an_answer`.
    """
    event = "before-parse.*.ListObjectsV2"
    client.meta.events.register(event, _take_objects, unique_id="fruit-features-listing")
    try:
        yield
    finally:
        client.meta.events.unregister(event, unique_id="fruit-features-listing")


def _take_objects(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Move the objects out of an answer; the rest of it is botocore's to parse."""
    if response_dict["status_code"] >= 300:
        return
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314 - S3's own answer, over TLS
    except ET.ParseError:
        return  # botocore says so
    space = root.tag.removesuffix("ListBucketResult")
    items = root.findall(f"{space}Contents")
    keys, etags, sizes, times = (
        [item.findtext(f"{space}{name}") or "" for item in items] for name in ("Key", "ETag", "Size", "LastModified")
    )
    if root.findtext(f"{space}EncodingType") == "url":  # botocore asks for it: XML cannot hold every character
        keys = _unquoted(keys)
    customized_response_dict["Objects"] = [
        Listed(key, etag.strip('"'), int(size), modified)
        for key, etag, size, modified in zip(keys, etags, sizes, times, strict=True)
    ]
    for item in items:
        root.remove(item)
    response_dict["body"] = ET.tostring(root)


def _unquoted(keys: list[str]) -> list[str]:
    """Return URL-encoded keys as they are: all at once, in a fifth of the time, unless one of them has a line break."""
    found = unquote_plus("\n".join(keys)).split("\n")
    return found if len(found) == len(keys) else [unquote_plus(key) for key in keys]


def pages(client: Any, bucket: str, prefix: str, after: str = "", before: str | None = None) -> Iterator[list[Listed]]:
    """Yield the objects below a prefix in key order, a request at a time; the client has `own_parser`.

    Args:
        client: of S3.
        bucket: its name.
        prefix: of all keys.
        after: the key after which to begin.
        before: the key before which to end; None for the last one.
    """
    where = {"Bucket": bucket, "Prefix": prefix} | ({"StartAfter": after} if after else {})
    while True:
        page = client.list_objects_v2(**where)
        objects = page["Objects"]
        ended = before is not None and bool(objects) and objects[-1].key >= before
        yield [found for found in objects if found.key < before] if ended and before else objects
        if ended or not page["IsTruncated"]:
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


def ranges(
    client: Any, bucket: str, prefix: str, skip: Callable[[str], bool] = lambda _: False
) -> list[tuple[str, str | None]]:
    """Return ranges of keys that together are all below a prefix, for `pages`: a few folders each, or one.

    What lies in no folder, between two that are skipped, is left out as well.

    Args:
        client: of S3, with `own_parser`.
        bucket: its name.
        prefix: of all keys.
        skip: says of a folder that it need not be listed.
    """
    if not client.list_objects_v2(Bucket=bucket, Prefix=prefix)["IsTruncated"]:
        return [("", None)]
    found = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    folders = [folder["Prefix"] for page in found for folder in page.get("CommonPrefixes", [])]
    step = max(1, -(-len(folders) // RANGES))
    starts = set(folders[step::step])  # what is before the second of them begins at the top
    cut: list[tuple[str, str | None]] = []
    after, skipped = "", False
    for folder in folders:
        previous, skipped = skipped, skip(folder)
        if (skipped and not previous) or (folder in starts and not (skipped or previous)):
            cut.append((after, folder))
            after = folder
        if skipped:
            after = f"{folder[:-1]}0"  # "0" follows "/": the next key that is not in the folder
    return [*cut, (after, None)]
