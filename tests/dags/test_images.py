"""Images of another bucket, and among other things: which keys are taken, and what is said where none can be."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import inventory, model
from fruit_features.image_keys import ImageKeys
from fruit_features.run import Run
from tests.dags.test_inventory import written

Build = Callable[..., Run]

KEYS = [
    "photos/Apple Red/1.jpg",
    "photos/Apple Red/deep/2.jpg",
    "photos/Apple [x]/1.jpg",
    "photos/Banana/1.png",
    "photos/logs/j-1/1.jpg",
]


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        ((), (), KEYS),
        (("Apple*",), (), KEYS[:3]),
        (("*.jpg",), ("logs/*",), KEYS[:3]),
        (("Apple Red/?.jpg",), (), KEYS[:1]),
        (("apple*",), (), []),
        (("Apple*", "Banana/*"), ("*/deep/*", "Banana/*"), [KEYS[0], KEYS[2]]),
        (("Apple [[]x]/*",), (), [KEYS[2]]),
        (("[!AB]*",), (), [KEYS[4]]),
        (("Apple",), (), []),
    ],
)
def test_patterns_are_those_of_aws_s3_cp(include: tuple[str, ...], exclude: tuple[str, ...], taken: list[str]) -> None:
    keys = ImageKeys("photos/", include, exclude)

    assert [key for key in [*KEYS, "elsewhere/Apple Red/1.jpg"] if key in keys] == taken
    for key in taken:
        assert not keys.skip(f"photos/{key.split('/')[1]}/")


@pytest.mark.parametrize(
    ("include", "exclude", "skipped"),
    [
        ((), ("logs/*", "results/*.json"), {"logs"}),
        ((), ("l*",), {"logs"}),
        ((), ("logs",), set()),
        (("Apple*/*", "Ban*"), (), {"logs", "results"}),
        (("*.jpg",), (), set()),
        (("Apple Red/a/*",), (), {"Banana", "logs", "results"}),
    ],
)
def test_folders_without_images_need_no_listing(
    include: tuple[str, ...], exclude: tuple[str, ...], skipped: set[str]
) -> None:
    keys = ImageKeys("photos/", include, exclude)

    assert {name for name in ("Apple Red", "Banana", "logs", "results") if keys.skip(f"photos/{name}/")} == skipped


@pytest.fixture
def photos(hook: S3Hook) -> Iterator[Any]:
    """Another bucket, with varieties at its top and other things beside them."""
    bucket = boto3.resource("s3").Bucket("photos")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    for key in ("Apple/1.jpg", "Apple/2.jpg", "Kiwi/1.jpg", "logs/j-1/stderr.gz", "bootstrap.sh"):
        bucket.put_object(Key=key, Body=b"image")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture
def build(hook: S3Hook, make_run: Build) -> Build:
    hook.load_bytes(model.HDF5_SIGNATURE, "weights/w.h5", "fruits")
    given = {"weights": "s3://fruits/weights/w.h5", "images_bucket": "photos", "images_prefix": "/"}
    return lambda **params: make_run(**given | params)


def test_varieties_at_the_top_of_another_bucket(hook: S3Hook, build: Build, photos: Any) -> None:
    run = build(exclude=["logs/*", "*.sh"])

    assert inventory.find_new(hook, run).new == 3

    rows = [(row["path"], row["label"]) for row in written(hook, run.layout.manifest)]
    assert rows == [
        ("s3://photos/Apple/1.jpg", "Apple"),
        ("s3://photos/Apple/2.jpg", "Apple"),
        ("s3://photos/Kiwi/1.jpg", "Kiwi"),
    ]
    assert run.layout.manifest.bucket == "fruits"


def test_what_no_pattern_leaves_out_is_named(hook: S3Hook, build: Build, photos: Any) -> None:
    with pytest.raises(
        AirflowFailException, match=r"^1 image\(s\) .* no variety folder, e\.g\. 'bootstrap.sh': .* exclude"
    ):
        inventory.find_new(hook, build(exclude=["logs/*"]))
    with pytest.raises(
        AirflowFailException, match=r"^no images under s3://photos/ match include and exclude \(5 objects do not\)"
    ):
        inventory.find_new(hook, build(include=["apple/*"]))


def test_a_missing_bucket_of_images_is_named_with_its_param(hook: S3Hook, build: Build) -> None:
    with pytest.raises(
        AirflowFailException, match=r"^bucket 'no-such' does not exist: .* set the images_bucket param$"
    ):
        inventory.find_new(hook, build(images_bucket="no-such"))


def deny(hook: S3Hook, operation: str, keys: Callable[[str], bool]) -> None:
    """Let S3 refuse an operation on some keys of the images' bucket."""
    client = hook.get_conn()

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if params["Bucket"] == "photos" and keys(params.get("Key", "")):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, operation)

    client.meta.events.register(f"before-parameter-build.s3.{operation}", refuse)


def test_a_bucket_that_shows_its_images_and_closes_them_is_named(hook: S3Hook, build: Build, photos: Any) -> None:
    deny(hook, "GetObject", lambda key: key.startswith("Apple"))
    inventory.find_new(hook, build(exclude=["logs/*", "*.sh"]))  # some are open

    deny(hook, "GetObject", lambda _: True)
    with pytest.raises(
        AirflowFailException, match=r"^the images cannot be read, .* must allow s3:GetObject to Airflow and"
    ):
        inventory.find_new(hook, build(exclude=["logs/*", "*.sh"]))


def test_a_closed_bucket_of_images_is_named(hook: S3Hook, build: Build, photos: Any) -> None:
    deny(hook, "ListObjectsV2", lambda _: True)
    with pytest.raises(
        AirflowFailException, match=r"^bucket 'photos' refuses s3:ListBucket .* and in the bucket's own"
    ):
        inventory.find_new(hook, build())
