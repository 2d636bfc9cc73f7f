"""What is listed, what is new, and which inputs are refused before a cluster exists."""

import hashlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError
from fruit_features import datasets, inventory, outputs
from fruit_features.config import RunConfig

WEIGHTS = inventory.HDF5_SIGNATURE + b"weights"
MODEL_ID = f"mobilenetv2-{hashlib.sha256(WEIGHTS).hexdigest()[:16]}-224-v1"
Build = Callable[..., RunConfig]


@pytest.fixture
def run(hook: S3Hook, config: Build) -> Build:
    """Configurations with weights that exist."""
    hook.load_bytes(WEIGHTS, "weights/w.h5", "fruits")
    return lambda **params: config(**{"weights": "s3://fruits/weights/w.h5", **params})


def put_images(hook: S3Hook, *keys: str, content: bytes = b"image") -> None:
    for key in keys:
        hook.load_bytes(content, f"images/{key}", "fruits", replace=True)


def etag(content: bytes = b"image") -> str:
    return hashlib.md5(content).hexdigest()


def extracted(hook: S3Hook, folder: str, paths: list[str], *, model_id: str = MODEL_ID, finished: bool = True) -> None:
    """Write features as a Spark job would."""
    rows = [
        {
            "path": path,
            "label": "L",
            "etag": etag(),
            "size": 5,
            "model_id": model_id,
            "width": 1,
            "height": 1,
            "features": [0.0],
        }
        for path in paths
    ]
    _write(hook, f"features/{folder}", pa.Table.from_pylist(rows, datasets.FEATURES), finished)


def rejected(hook: S3Hook, folder: str, path: str, reason: str) -> None:
    row = {"path": path, "label": "L", "etag": etag(), "size": 5, "reason": reason, "detail": ""}
    _write(hook, f"rejects/{folder}", pa.Table.from_pylist([row], datasets.REJECTS), True)


def _write(hook: S3Hook, folder: str, table: pa.Table, finished: bool) -> None:
    datasets.write(datasets.filesystem(hook), "fruits", f"{folder}/part-0.parquet", table)
    if finished:
        hook.load_bytes(b"", f"{folder}/_SUCCESS", "fruits")


def written(hook: S3Hook, key: str) -> list[dict[str, Any]]:
    table = datasets.dataset(
        datasets.filesystem(hook), "fruits", [key.rsplit("/", 1)[0]], datasets.INVENTORY
    ).to_table()
    return table.to_pylist()


NAMES = [
    "Apple Pink Lady/r 1 100.jpg",
    "Açaí/ü%41+b=c#d&e'f\"g.jpg",
    "Kiwi = 2/%2F.jpg",
    "Pear/🍐.png",
    "Pear/deep/er/1.jpg",
]


def test_inventory_takes_names_as_they_are(hook: S3Hook, run: Build) -> None:
    put_images(hook, *NAMES)
    config = run()

    found = inventory.find_new(hook, config)

    rows = {row["path"]: row for row in written(hook, config.inventory_key)}
    assert sorted(rows) == sorted(f"s3://fruits/images/{name}" for name in NAMES)
    assert {row["label"] for row in rows.values()} == {"Apple Pink Lady", "Açaí", "Kiwi = 2", "Pear", "er"}
    first = rows[f"s3://fruits/images/{NAMES[0]}"]
    assert (first["etag"], first["size"], first["last_modified"].tzname()) == (etag(), 5, "UTC")
    assert (found["images"], found["new"], found["work"], found["model_id"]) == (5, 5, True, MODEL_ID)
    assert written(hook, config.manifest_key) == written(hook, config.inventory_key)


def test_only_what_no_run_has_done_is_new(hook: S3Hook, run: Build) -> None:
    put_images(
        hook,
        "A/done.jpg",
        "A/bad.jpg",
        "A/unlucky.jpg",
        "A/unfinished.jpg",
        "A/other model.jpg",
        "A/new.jpg",
        "A/locked.jpg",
    )
    put_images(hook, "A/changed.jpg", content=b"changed")
    path = "s3://fruits/images/A/{}.jpg".format
    extracted(hook, "run=1", [path("done"), path("changed")])
    rejected(hook, "run=1", path("bad"), "truncated")
    rejected(hook, "run=2", path("unlucky"), "read_timeout")
    for run_number in (5, 6, 7):  # three times is no bad luck
        rejected(hook, f"run={run_number}", path("locked"), "access_denied")
    extracted(hook, "run=2", [path("unfinished")], finished=False)
    extracted(hook, "run=3", [path("other model")], model_id="mobilenetv2-other-224-v1")
    config = run()

    found = inventory.find_new(hook, config)

    new = [row["path"] for row in written(hook, config.manifest_key)]
    assert new == [path(name) for name in ("changed", "new", "other model", "unfinished", "unlucky")]
    assert (found["images"], found["new"]) == (8, 5)


def test_a_cleared_run_does_its_own_work_again(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    config = run()
    extracted(hook, f"run={config.run}", ["s3://fruits/images/A/1.jpg"])

    assert inventory.find_new(hook, config)["new"] == 1


def test_a_thousand_and_more_images_are_all_listed(hook: S3Hook, run: Build) -> None:
    put_images(hook, *(f"A/{number:04}.jpg" for number in range(1203)))  # S3 lists 1000 at a time

    assert inventory.find_new(hook, run())["images"] == 1203


def test_without_news_there_is_no_work(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg"])
    config = run()
    publish(hook, config)

    assert inventory.find_new(hook, config) == {
        "images": 1,
        "new": 0,
        "model_id": MODEL_ID,
        "pca_model": None,
        "work": False,
    }


@pytest.mark.parametrize("change", ["an image was deleted", "the asked variance changed", "nothing was published yet"])
def test_results_that_do_not_show_the_present_are_work_too(hook: S3Hook, run: Build, change: str) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg", "s3://fruits/images/A/2.jpg"])
    config = run()
    if change != "nothing was published yet":
        publish(hook, config)
    if change == "an image was deleted":
        hook.delete_objects("fruits", "images/A/2.jpg")
    if change == "the asked variance changed":
        config = run(variance=0.9)

    found = inventory.find_new(hook, config)

    assert (found["new"], found["work"]) == (0, True)


def test_the_space_is_kept_when_asked(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    publish(hook, run())

    assert inventory.find_new(hook, run(refit=True))["pca_model"] is None
    assert inventory.find_new(hook, run(refit=False))["pca_model"] == "s3://fruits/results/run=1/model"


def publish(hook: S3Hook, config: RunConfig) -> None:
    """What publish would write for the images that are there now."""
    table = inventory.inventory_table(config, inventory.list_images(hook, config))
    fingerprint = inventory.fingerprint(config, table, MODEL_ID)
    outputs.publish(hook, config, {"fingerprint": fingerprint, "pca_model": "s3://fruits/results/run=1/model"})


def test_files_that_desktops_leave_behind_are_no_images(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg", "A/.DS_Store", "A/Thumbs.db", "A/_SUCCESS")
    put_images(hook, "A/_DSC1234.jpg", "A/_MG_0001.JPG")  # cameras name photographs so
    hook.load_bytes(b"", "images/A/", "fruits")  # the console makes such an object for "new folder"

    assert inventory.find_new(hook, run())["images"] == 3


def test_a_missing_bucket_is_named(hook: S3Hook, run: Build) -> None:
    with pytest.raises(AirflowFailException, match=r"^bucket 'no-such-bucket' does not exist: create it in eu-west-3"):
        inventory.find_new(hook, run(bucket="no-such-bucket"))


def test_no_images_is_an_error_that_names_the_prefix(hook: S3Hook, run: Build) -> None:
    with pytest.raises(AirflowFailException, match=r"^no images under s3://fruits/images/: upload them"):
        inventory.find_new(hook, run())


def test_an_image_without_variety_folder_is_named(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg", "stray.jpg")

    with pytest.raises(AirflowFailException, match=r"^1 image\(s\) under .* e\.g\. 'images/stray\.jpg'"):
        inventory.find_new(hook, run())


def test_a_folder_without_a_name_is_no_variety(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg", "/2.jpg")

    with pytest.raises(AirflowFailException, match=r"^1 image\(s\) under .* e\.g\. 'images//2\.jpg'"):
        inventory.find_new(hook, run())


def test_a_bucket_elsewhere_is_named(hook: S3Hook, run: Build) -> None:
    with pytest.raises(
        AirflowFailException, match=r"^bucket 'fruits' is in eu-west-3, the cluster would be in us-west-2"
    ):
        inventory.find_new(hook, run(region="us-west-2"))


def test_a_published_run_is_not_overwritten(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    config = run()
    outputs.publish(hook, config, {"run": config.run})

    with pytest.raises(AirflowFailException, match=r"is published: clearing it would overwrite it; trigger a new run$"):
        inventory.find_new(hook, config)


def test_the_space_of_another_network_cannot_be_kept(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    outputs.publish(hook, run(), {"run": "earlier", "model_id": "mobilenetv2-other-224-v1"})

    with pytest.raises(
        AirflowFailException, match=r"^refit is off, but the published space is of the network mobilenetv2-other"
    ):
        inventory.find_new(hook, run(refit=False))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("HeadBucket", r"^bucket 'fruits' refuses s3:ListBucket"),
        ("ListObjectsV2", r"^bucket 'fruits' refuses s3:ListBucket"),
        ("GetObject", r"^weights s3://fruits/weights/w\.h5 are refused to Airflow's credentials"),
    ],
)
def test_what_is_refused_is_named(hook: S3Hook, run: Build, operation: str, message: str) -> None:
    put_images(hook, "A/1.jpg")
    config = run()

    def refuse(**_: Any) -> None:  # what botocore makes of an answer with status 403
        response = {"Error": {"Code": "403", "Message": "Forbidden"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(response, operation)

    hook.get_conn().meta.events.register(f"before-parameter-build.s3.{operation}", refuse)
    with pytest.raises(AirflowFailException, match=message):
        inventory.find_new(hook, config)


def test_missing_weights_are_named(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    with pytest.raises(AirflowFailException, match=r"^weights s3://fruits/weights/none\.h5 do not exist"):
        inventory.find_new(hook, run(weights="s3://fruits/weights/none.h5"))


def test_weights_that_are_not_hdf5_are_named(hook: S3Hook, run: Build) -> None:
    put_images(hook, "A/1.jpg")
    hook.load_string("<html>404</html>", "weights/page.h5", "fruits")

    with pytest.raises(AirflowFailException, match=r"^weights s3://fruits/weights/page\.h5 are not an HDF5 file"):
        inventory.find_new(hook, run(weights="s3://fruits/weights/page.h5"))


def test_the_id_of_imagenet_weights_comes_from_their_first_export(hook: S3Hook, run: Build) -> None:
    config = run(weights="imagenet")
    assert inventory.network_id(hook, config) is None

    hook.load_string('{"model_id": "mobilenetv2-aa-224-v1"}', "models/imagenet-224-v1.json", "fruits")
    assert inventory.network_id(hook, config) == "mobilenetv2-aa-224-v1"
