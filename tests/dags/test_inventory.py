"""What is listed, what is new, and which inputs are refused before a cluster exists."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from fruit_features import datasets, history, images, inventory, model, objects, publishing
from fruit_features.layout import Location, RunLayout
from fruit_features.run import Plan, Run
from fruit_features.workspace import workspace
from tests import foreign_files
from tests.dags.conftest import RUN_ID, task

WEIGHTS = model.HDF5_SIGNATURE + b"weights"
MODEL_ID = f"mobilenetv2-{hashlib.sha256(WEIGHTS).hexdigest()[:16]}-224-v1"
MODEL = b"a model" + model.END_OF_ZIP + bytes(18)
Build = Callable[..., Run]
LISTED = "2026-11-22T10:00:00+00:00"


@pytest.fixture
def build(hook: S3Hook, make_run: Build) -> Build:
    """Build runs with weights that exist."""
    hook.load_bytes(WEIGHTS, "weights/w.h5", "fruits")
    return lambda **params: make_run(**{"weights": "s3://fruits/weights/w.h5", **params})


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
    _write(hook, f"features/{folder}", pa.Table.from_pylist(rows, datasets.FEATURES), finished=finished)


def rejected(hook: S3Hook, folder: str, path: str, reason: str, *, finished: bool = True) -> None:
    row = {"path": path, "label": "L", "etag": etag(), "size": 5, "reason": reason, "detail": ""}
    _write(hook, f"rejects/{folder}", pa.Table.from_pylist([row], datasets.REJECTS), finished=finished)


def _write(hook: S3Hook, folder: str, table: pa.Table, *, finished: bool) -> None:
    datasets.write(datasets.filesystem(hook), Location("fruits", folder) / "part-0.parquet", table)
    if finished:
        hook.load_bytes(b"", f"{folder}/_SUCCESS", "fruits")


def written(hook: S3Hook, where: Location) -> list[dict[str, Any]]:
    table = pq.read_table(where.path, filesystem=datasets.filesystem(hook), partitioning=None)
    assert table.schema.equals(datasets.INVENTORY)
    return table.to_pylist()


NAMES = [
    "Apple Pink Lady/r 1 100.jpg",
    "Açaí/ü%41+b=c#d&e'f\"g.jpg",
    "Kiwi = 2/%2F.jpg",
    "Pear/🍐.png",
    "Pear/deep/er/1.jpg",
]


def test_inventory_takes_names_as_they_are(hook: S3Hook, build: Build) -> None:
    put_images(hook, *NAMES)
    run = build()

    found = inventory.find_new(hook, run)

    rows = {row["path"]: row for row in written(hook, run.layout.inventory)}
    assert sorted(rows) == sorted(f"s3://fruits/images/{name}" for name in NAMES)
    assert {row["label"] for row in rows.values()} == {"Apple Pink Lady", "Açaí", "Kiwi = 2", "Pear", "er"}
    first = rows[f"s3://fruits/images/{NAMES[0]}"]
    assert (first["etag"], first["size"], first["last_modified"].tzname()) == (etag(), 5, "UTC")
    assert (found.images, found.new, found.needs_cluster, found.model_id) == (5, 5, True, MODEL_ID)
    assert written(hook, run.layout.manifest) == written(hook, run.layout.inventory)


def test_only_what_no_run_has_done_is_new(hook: S3Hook, build: Build) -> None:
    put_images(
        hook,
        "A/done.jpg",
        "A/bad.jpg",
        "A/unlucky.jpg",
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
    extracted(hook, "run=3", [path("other model")], model_id="mobilenetv2-other-224-v1")
    run = build()

    found = inventory.find_new(hook, run)

    new = [row["path"] for row in written(hook, run.layout.manifest)]
    assert new == [path(name) for name in ("changed", "new", "other model", "unlucky")]
    assert (found.images, found.new) == (7, 4)


def test_what_a_lost_run_has_done_is_not_done_again(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/done.jpg", "A/rest.jpg", "A/rejected.jpg", "A/refused.jpg")
    path = "s3://fruits/images/A/{}.jpg".format
    extracted(hook, "run=1", [path("done")], finished=False)
    rejected(hook, "run=1", path("rejected"), "truncated", finished=False)
    for number in (2, 3, 4):  # runs that failed, of an outage, say, are no tries
        rejected(hook, f"run={number}", path("refused"), "access_denied", finished=False)
    run = build()

    found = inventory.find_new(hook, run)

    new = [row["path"] for row in written(hook, run.layout.manifest)]
    assert new == [path("refused"), path("rejected"), path("rest")]
    assert (found.images, found.new) == (4, 3)


def test_the_images_of_a_part_file_that_is_removed_or_truncated_are_new_again(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/removed.jpg", "A/truncated.jpg", "A/whole.jpg")
    for name in ("removed", "truncated", "whole"):
        extracted(hook, f"run={name}", [f"s3://fruits/images/A/{name}.jpg"])
    assert inventory.find_new(hook, build(dry_run=True)).new == 0
    s3 = hook.get_conn()
    s3.delete_object(Bucket="fruits", Key="features/run=removed/part-0.parquet")
    part = s3.get_object(Bucket="fruits", Key="features/run=truncated/part-0.parquet")["Body"].read()
    s3.put_object(Bucket="fruits", Key="features/run=truncated/part-0.parquet", Body=part[: len(part) // 2])
    run = build()

    assert inventory.find_new(hook, run).new == 2
    new = [row["path"].rpartition("/")[2] for row in written(hook, run.layout.manifest)]
    assert new == ["removed.jpg", "truncated.jpg"]


def test_what_the_ledger_knows_is_not_new(hook: S3Hook, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg", "A/3.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg"])
    monkeypatch.setattr(history, "MANY_FOLDERS", 1)
    history.extend_ledger(hook, build().layout)
    extracted(hook, "run=2", ["s3://fruits/images/A/2.jpg"])
    run = build()

    assert inventory.find_new(hook, run).new == 1
    assert [row["path"] for row in written(hook, run.layout.manifest)] == ["s3://fruits/images/A/3.jpg"]


def test_files_that_are_no_features_are_named_and_break_nothing(
    hook: S3Hook, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg"])
    whole = hook.get_key("features/run=1/part-0.parquet", "fruits").get()["Body"].read()
    hook.load_bytes(whole[:-20], "features/run=1/part-1.parquet", "fruits")
    hook.load_bytes(b"", "features/run=2/part-0.parquet", "fruits")
    hook.load_bytes(b"Dear reader", "features/run=2/notes.txt", "fruits")
    hook.load_bytes(b"Dear reader", "features/readme.txt", "fruits")
    _write(hook, "features/run=3", datasets.REJECTS.empty_table(), finished=True)

    assert inventory.find_new(hook, build()).new == 1
    for name in ("run=1/part-1.parquet", "run=2/part-0.parquet", "run=3/part-0.parquet"):
        assert f"s3://fruits/features/{name} does not count as features" in caplog.text
    assert "wrong columns: model_id, width, height, features" in caplog.text


def test_what_counts_among_foreign_files_is_what_the_jobs_count(hook: S3Hook, make_run: Build) -> None:
    for folder, files in (("features", foreign_files.FEATURES), ("rejects", foreign_files.REJECTS)):
        for name, content in files.items():
            hook.load_bytes(content, f"{folder}/{name}", "fruits")

    with workspace() as work:
        history.collect_outcomes(hook, make_run().layout, work, "net")
        features = work.row("SELECT list(path ORDER BY path) FROM extracted")
        rejects = work.row("SELECT list(path ORDER BY path) FROM rejected")

    assert features == (foreign_files.FEATURES_THAT_COUNT,)
    assert rejects == (foreign_files.REJECTS_THAT_COUNT,)


def test_tasks_find_their_rows_of_the_manifest_in_small_groups(hook: S3Hook, build: Build) -> None:
    table = pa.table({"path": pa.array([""] * 40_000)})
    where = Location("fruits", "table.parquet")
    datasets.write(datasets.filesystem(hook), where, table)
    found = pq.ParquetFile(datasets.filesystem(hook).open_input_file(where.path)).metadata

    assert [found.row_group(number).num_rows for number in range(3)] == [16_384, 16_384, 7_232]


def test_a_cleared_run_does_its_own_work_again(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    run = build()
    extracted(hook, f"run={run.name}", ["s3://fruits/images/A/1.jpg"])

    assert inventory.find_new(hook, run).new == 1


def test_a_thousand_and_more_images_are_all_listed(hook: S3Hook, build: Build) -> None:
    put_images(hook, *(f"A/{number:04}.jpg" for number in range(1203)))  # S3 lists 1000 at a time

    assert inventory.find_new(hook, build()).images == 1203


def test_without_news_there_is_no_work(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg"])
    publish(hook, build())

    found = inventory.find_new(hook, build())
    assert found == Plan(
        listed=found.listed,
        images=1,
        new=0,
        model_id=MODEL_ID,
        model_exported=False,
        pca_model=None,
        needs_cluster=False,
    )


@pytest.mark.parametrize(
    "change",
    ["an image was deleted", "the asked variance changed", "nothing was published yet", "their inventory has expired"],
)
def test_results_that_do_not_show_the_present_are_work_too(hook: S3Hook, build: Build, change: str) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg", "s3://fruits/images/A/2.jpg"])
    run = build()
    if change != "nothing was published yet":
        publish(hook, run)
    if change == "an image was deleted":
        hook.delete_objects("fruits", "images/A/2.jpg")
    if change == "the asked variance changed":
        run = build(variance=0.9)
    if change == "their inventory has expired":  # of results of an earlier version, which kept no copy
        hook.delete_objects("fruits", [where.key for where in run.layout.inventories("1")])

    found = inventory.find_new(hook, run)

    assert (found.new, found.needs_cluster) == (0, True)


def test_the_space_is_kept_when_asked(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    publish(hook, build())

    assert inventory.find_new(hook, build(refit=True)).pca_model is None
    assert inventory.find_new(hook, build(refit=False)).pca_model == "s3://fruits/results/run=1/model"


def publish(hook: S3Hook, run: Run, **more: str) -> None:
    """Publish what a run on the images that are there now would."""
    fingerprint = publishing.Fingerprint(run, MODEL_ID)
    with workspace() as work:
        images.collect_images(hook, run, work)
        for batch in work.stream("", "FROM listed ORDER BY path", datasets.INVENTORY, 100):
            fingerprint.add(batch)
    results = {"fingerprint": fingerprint.hexdigest(), "pca_model": "s3://fruits/results/run=1/model", "listed": LISTED}
    publish_results(hook, replace(run, name="1", layout=RunLayout(run.settings, "1")), {"run": "1", **results, **more})


def publish_results(hook: S3Hook, run: Run, results: dict[str, Any]) -> None:
    """Publish what somebody says of a run, which has an inventory without content."""
    objects.put(hook, run.layout.inventory, b"")
    publishing.publish(hook, run, results)


def test_files_that_desktops_leave_behind_are_no_images(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "A/.DS_Store", "A/Thumbs.db", "A/_SUCCESS")
    put_images(hook, "A/_DSC1234.jpg", "A/_MG_0001.JPG")  # cameras name photographs so
    hook.load_bytes(b"", "images/A/", "fruits")  # the console makes such an object for "new folder"

    assert inventory.find_new(hook, build()).images == 3


def test_a_missing_bucket_is_named(hook: S3Hook, build: Build) -> None:
    with pytest.raises(AirflowFailException, match=r"^bucket 'no-such-bucket' does not exist: create it in eu-west-3"):
        inventory.find_new(hook, build(bucket="no-such-bucket"))


def test_no_images_is_an_error_that_names_the_prefix(hook: S3Hook, build: Build) -> None:
    with pytest.raises(AirflowFailException, match=r"^no images under s3://fruits/images/: upload them"):
        inventory.find_new(hook, build())


def test_an_image_without_variety_folder_is_named(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "stray.jpg")

    with pytest.raises(AirflowFailException, match=r"^1 image\(s\) under .* e\.g\. 'images/stray\.jpg'"):
        inventory.find_new(hook, build())


def test_a_folder_without_a_name_is_no_variety(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "/2.jpg")

    with pytest.raises(AirflowFailException, match=r"^1 image\(s\) under .* e\.g\. 'images//2\.jpg'"):
        inventory.find_new(hook, build())


def test_a_bucket_elsewhere_is_named(hook: S3Hook, build: Build) -> None:
    with pytest.raises(
        AirflowFailException, match=r"^bucket 'fruits' is in eu-west-3, the cluster would be in us-west-2"
    ):
        inventory.find_new(hook, build(region="us-west-2"))


@pytest.mark.parametrize("later_run", [False, True])
def test_a_published_run_is_not_overwritten(hook: S3Hook, build: Build, *, later_run: bool) -> None:
    put_images(hook, "A/1.jpg")
    run = build()
    publish_results(hook, run, {"run": run.name, "listed": LISTED})
    if later_run:
        another = replace(run, name="later", layout=RunLayout(run.settings, "later"))
        publish_results(hook, another, {"run": "later", "listed": LISTED})

    with pytest.raises(AirflowFailException, match=r"is published: clearing it would overwrite it; trigger a new run$"):
        inventory.find_new(hook, run)


def test_the_space_of_another_network_cannot_be_kept(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    run = build()
    earlier = replace(run, name="earlier", layout=RunLayout(run.settings, "earlier"))
    results = {"run": "earlier", "listed": LISTED, "model_id": "mobilenetv2-other-224-v1"}
    publish_results(hook, earlier, results)

    with pytest.raises(
        AirflowFailException, match=r"^refit is off, but the published components are of the network mobilenetv2-other"
    ):
        inventory.find_new(hook, build(refit=False))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("HeadBucket", r"^bucket 'fruits' refuses s3:ListBucket"),
        ("ListObjectsV2", r"^bucket 'fruits' refuses s3:ListBucket"),
        ("GetObject", r"^weights s3://fruits/weights/w\.h5 are refused to Airflow's credentials"),
    ],
)
def test_what_is_refused_is_named(hook: S3Hook, build: Build, operation: str, message: str) -> None:
    put_images(hook, "A/1.jpg")
    run = build()

    def refuse(**_: Any) -> None:  # what botocore makes of an answer with status 403
        response = {"Error": {"Code": "403", "Message": "Forbidden"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(response, operation)

    hook.get_conn().meta.events.register(f"before-parameter-build.s3.{operation}", refuse)
    with pytest.raises(AirflowFailException, match=message):
        inventory.find_new(hook, run)


def test_missing_weights_are_named(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    with pytest.raises(AirflowFailException, match=r"^weights s3://fruits/weights/none\.h5 do not exist"):
        inventory.find_new(hook, build(weights="s3://fruits/weights/none.h5"))


def test_weights_that_are_not_hdf5_are_named(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    hook.load_string("<html>404</html>", "weights/page.h5", "fruits")

    with pytest.raises(AirflowFailException, match=r"^weights s3://fruits/weights/page\.h5 are not an HDF5 file"):
        inventory.find_new(hook, build(weights="s3://fruits/weights/page.h5"))


def test_the_id_of_imagenet_weights_comes_from_their_first_export(hook: S3Hook, make_run: Build) -> None:
    run = make_run(weights="imagenet")
    assert model.model_id(hook, run) is None

    hook.load_string('{"model_id": "mobilenetv2-aa-224-v1"}', "models/imagenet-224-v1.json", "fruits")
    assert model.model_id(hook, run) == "mobilenetv2-aa-224-v1"


def test_a_model_that_is_there_is_pointed_to(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    run = build()
    assert not inventory.find_new(hook, run).model_exported
    assert not objects.exists(hook, run.layout.model_pointer)

    for broken_off in (b"", b"half of a model, which is longer than its end"):
        hook.load_bytes(broken_off, f"models/{MODEL_ID}/model.tflite", "fruits", replace=True)
        assert not inventory.find_new(hook, run).model_exported
    hook.load_bytes(MODEL, f"models/{MODEL_ID}/model.tflite", "fruits", replace=True)
    assert inventory.find_new(hook, run).model_exported
    assert objects.read_json(hook, run.layout.model_pointer) == {
        "model_id": MODEL_ID,
        "uri": f"s3://fruits/models/{MODEL_ID}/model.tflite",
    }


def test_a_damaged_pointer_to_the_network_is_named(hook: S3Hook, make_run: Build) -> None:
    hook.load_string("{}", "models/imagenet-224-v1.json", "fruits")
    with pytest.raises(
        AirflowFailException, match=r"^s3://fruits/models/imagenet-224-v1\.json is damaged \(it lacks model_id"
    ):
        model.model_id(hook, make_run(weights="imagenet"))


def test_the_listing_is_dated_by_s3s_clock(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    before = datetime.now(UTC).replace(microsecond=0)
    listed = datetime.fromisoformat(inventory.find_new(hook, build()).listed)
    assert before <= listed <= datetime.now(UTC)


def test_earlier_runs_cost_no_request_each(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    for number in range(30):  # each with an empty folder of either kind, as most nightly runs have
        hook.load_bytes(b"", f"features/run={number}/_SUCCESS", "fruits")
        hook.load_bytes(b"", f"rejects/run={number}/_SUCCESS", "fruits")
    requests: list[str] = []
    hook.get_conn().meta.events.register("before-send.s3", lambda request, **_: requests.append(request.url))

    inventory.find_new(hook, build())

    assert len(requests) < 20


@pytest.mark.parametrize(
    ("params", "new"),
    [
        ({}, ["new"]),
        ({"retry_rejects": True}, ["bad", "new"]),
        ({"full_refresh": True}, ["bad", "done", "new"]),
    ],
)
def test_more_is_new_when_asked(hook: S3Hook, build: Build, params: dict[str, Any], new: list[str]) -> None:
    put_images(hook, "A/done.jpg", "A/bad.jpg", "A/new.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/done.jpg"])
    rejected(hook, "run=1", "s3://fruits/images/A/bad.jpg", "truncated")
    run = build(**params)

    assert inventory.find_new(hook, run).new == len(new)
    assert [row["path"] for row in written(hook, run.layout.manifest)] == [f"s3://fruits/images/A/{n}.jpg" for n in new]


STOPS = "a run would stop here, as the published results already show these images"
DEFAULT = "0.3 h of 3 x m5.xlarge at $0.816 an hour, prices of 2 March 2025"
FLEET = {"fleet_instance_types": ["m5.xlarge", "m5a.xlarge"], "task_instance_count": 4}


@pytest.mark.parametrize(
    ("images", "params", "outlook"),
    [
        ([], {}, f"0 of 1 images are new; {STOPS}"),
        (
            ["A/2.jpg"],
            {},
            (
                "1 of 2 images are new; a run would create a cluster, extract 1 images and reduce the features of 2: about "
                f"$0.20 ({DEFAULT})"
            ),
        ),
        (
            ["A/2.jpg"],
            FLEET,
            (
                "1 of 2 images are new; a run would create a cluster, extract 1 images and reduce the features of 2: about "
                "0.3 h of 1 x m5.xlarge + (2 + 4 on Spot) x m5.xlarge or m5a.xlarge; no price known"
            ),
        ),
        (
            ["A/2.jpg", "A/3.jpg"],
            {"weights": "s3://fruits/weights/other.h5", "max_images_per_run": 1},
            (
                "3 of 3 images are new; a run would create a cluster, extract 1 images and leave 2 to later runs, which publish: about "
                f"$0.20 ({DEFAULT})"
            ),
        ),
        (["A/2.jpg"], {"max_cost_usd": 0.1}, f"$0.20 ({DEFAULT}); it would be refused, as max_cost_usd is 0.1"),
        (["A/2.jpg"], {"max_cost_usd": 5} | FLEET, "it would be refused, as max_cost_usd is 5"),
        (
            ["A/2.jpg"],
            {"approval_above_usd": 0.1},
            f"$0.20 ({DEFAULT}); a person would be asked, as approval_above_usd is 0.1",
        ),
    ],
)
def test_a_dry_run_says_what_a_run_would_do_and_cost_and_writes_nothing(
    hook: S3Hook, build: Build, images: list[str], params: dict[str, Any], outlook: str
) -> None:
    put_images(hook, "A/1.jpg")
    extracted(hook, "run=1", ["s3://fruits/images/A/1.jpg"])
    publish(hook, build(), model_id=MODEL_ID)
    put_images(hook, *images)
    hook.load_bytes(WEIGHTS + b"others", "weights/other.h5", "fruits")
    hook.load_bytes(MODEL, f"models/{MODEL_ID}/model.tflite", "fruits")
    before = hook.list_keys("fruits")
    run = build(dry_run=True, **params)

    plan = inventory.find_new(hook, run)
    assert not plan.needs_cluster
    said = inventory.why_nothing(run, plan)
    assert said.startswith("dry run: ")
    assert outlook in said
    assert said.endswith("; nothing is written")
    assert hook.list_keys("fruits") == before


def test_a_dry_run_tells_airflow_what_a_run_would_cost(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg")
    ti = MagicMock(name="task instance")

    assert task("find_new_images")(build(dry_run=True).settings.model_dump(), RUN_ID, ti) is None
    pushed = {call.kwargs["key"]: call.kwargs["value"] for call in ti.xcom_push.call_args_list}
    assert pushed["estimate"] == {"usd": pytest.approx(0.204, abs=0.001), "words": f"$0.20 ({DEFAULT})"}
    assert pushed["note"].endswith(f"about $0.20 ({DEFAULT}); nothing is written")
    assert "approval" not in pushed
