"""A run may take some of the new images: all are taken in the end, each once, and nothing is published half done."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import datasets, inventory, outputs, publishing
from fruit_features.conclusion import check_conclusion
from fruit_features.layout import RunLayout
from fruit_features.requests import emr_requests
from fruit_features.run import Plan, Run
from fruit_features.settings import ConfigError
from tests.dags.test_inventory import (
    LISTED,
    MODEL_ID,
    WEIGHTS,
    extracted,
    publish_results,
    put_images,
    rejected,
    written,
)
from tests.dags.test_requests import ARTIFACTS

Build = Callable[..., Run]


@pytest.fixture
def build(hook: S3Hook, make_run: Build) -> Build:
    """Build runs that take two images each."""
    hook.load_bytes(WEIGHTS, "weights/w.h5", "fruits")

    def built(name: str, **params: Any) -> Run:
        run = make_run(**{"weights": "s3://fruits/weights/w.h5", "max_images_per_run": 2, **params})
        return replace(run, name=name, layout=RunLayout(run.settings, name))

    return built


def slices(hook: S3Hook, build: Build) -> Iterator[tuple[Plan, list[str]]]:
    """Yield what each run takes, until none leaves any; a run extracts what its manifest says."""
    for number in range(10):
        run = build(str(number))
        plan = inventory.find_new(hook, run)
        paths = [row["path"] for row in written(hook, run.layout.manifest)] if plan.new else []
        yield plan, [path.removeprefix("s3://fruits/images/") for path in paths]
        extracted(hook, f"run={number}", paths)
        if not plan.left:
            return


def test_each_new_image_is_taken_once_the_oldest_first(hook: S3Hook, build: Build) -> None:
    put_images(hook, "Z/1.jpg", "Y/1.jpg", "Y/2.jpg")
    time.sleep(1.1)  # S3 counts seconds
    put_images(hook, "A/1.jpg", "A/2.jpg")
    rejected(hook, "run=earlier", "s3://fruits/images/Y/2.jpg", "truncated")
    extracted(hook, "run=earlier", [])

    found = list(slices(hook, build))

    assert [taken for _, taken in found] == [["Y/1.jpg", "Z/1.jpg"], ["A/1.jpg", "A/2.jpg"]]
    assert [(plan.images, plan.new, plan.left, plan.unfinished) for plan, _ in found] == [
        (5, 2, 2, False),
        (5, 2, 0, False),
    ]


def test_what_a_lost_run_has_taken_and_not_done_is_taken_again(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg", "A/3.jpg")
    assert inventory.find_new(hook, build("lost")).left == 1
    extracted(hook, "run=lost", ["s3://fruits/images/A/1.jpg"], finished=False)

    assert [taken for _, taken in slices(hook, build)] == [["A/2.jpg", "A/3.jpg"]]


def test_the_log_says_what_is_left(hook: S3Hook, build: Build, caplog: pytest.LogCaptureFixture) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg", "A/3.jpg")
    with caplog.at_level("INFO"):
        inventory.find_new(hook, build("1", dry_run=True))
    assert "3 images under s3://fruits/images/, 3 of them new: this run takes the 2 oldest and leaves 1" in caplog.text


def test_a_new_network_takes_over_when_it_has_all_images(hook: S3Hook, build: Build) -> None:
    """The old results are served meanwhile, then the pointer moves once."""
    put_images(hook, *(f"A/{number}.jpg" for number in range(5)))
    paths = [f"s3://fruits/images/A/{number}.jpg" for number in range(5)]
    extracted(hook, "run=old", paths, model_id="old network")
    publish_results(hook, build("old"), {"run": "old", "listed": LISTED, "model_id": "old network"})

    found = []
    for plan, taken in slices(hook, build):
        found.append((taken, plan.left, plan.unfinished, plan.needs_cluster))
        asked = emr_requests(build("next"), plan, ARTIFACTS)
        assert bool(asked["reduce_dimensions"]) is not plan.unfinished
        assert any("/results/" in uri for uri in asked["outputs"]) is not plan.unfinished
        assert asked["extract_features"]

    assert found == [
        (["A/0.jpg", "A/1.jpg"], 3, True, True),
        (["A/2.jpg", "A/3.jpg"], 1, True, True),
        (["A/4.jpg"], 0, False, True),
    ]


def test_results_that_show_some_images_do_not_look_finished(hook: S3Hook, build: Build) -> None:
    """An extraction that succeeds and a reduction that fails leave nothing new, and something to publish."""
    put_images(hook, "A/1.jpg", "A/2.jpg", "A/3.jpg")
    first, taken = next(slices(hook, build))
    extracted(hook, "run=0", [f"s3://fruits/images/{name}" for name in taken])
    published = {"run": "0", "listed": LISTED, "model_id": MODEL_ID, "left": first.left, "fingerprint": None}
    publish_results(hook, build("0"), published)
    extracted(hook, "run=failed", ["s3://fruits/images/A/3.jpg"])

    last = inventory.find_new(hook, build("2"))

    assert (last.new, last.left, last.needs_cluster) == (0, 0, True)


@pytest.mark.parametrize("param", ["full_refresh", "retry_rejects"])
def test_a_series_of_runs_that_would_never_end_is_refused(build: Build, param: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{param} is set with max_images_per_run: each run would take the same"):
        build("1", **{param: True})


def test_a_run_that_leaves_publishing_to_a_later_one_passes() -> None:
    states = {"find_new_images": "success", "publish": "skipped", "terminate_cluster": "success"}
    check_conclusion(states, has_work=True, leaves_images=True)


def test_an_unfinished_run_is_checked_and_moves_nothing(hook: S3Hook, build: Build) -> None:
    put_images(hook, "A/1.jpg", "A/2.jpg", "A/3.jpg")
    run = build("1")
    plan = inventory.find_new(hook, run).model_copy(update={"unfinished": True})
    hook.load_string(json.dumps({"model_id": MODEL_ID, "uri": ""}), run.layout.model_pointer.key, "fruits")
    for folder in (run.layout.run_features, run.layout.run_rejects):
        hook.load_bytes(b"", (folder / "_SUCCESS").key, "fruits")
    with pytest.raises(outputs.checks.OutputError, match=r"2 image\(s\) of the manifest are in neither"):
        outputs.check_outputs(hook, run, plan)

    features = [
        {**row, "model_id": MODEL_ID, "width": 1, "height": 1, "features": [0.5] * 1280}
        for row in written(hook, run.layout.manifest)
    ]
    table = pa.Table.from_pylist(features, datasets.FEATURES)
    datasets.write(datasets.filesystem(hook), run.layout.run_features / "part-0.parquet", table)

    results = outputs.check_outputs(hook, run, plan)
    assert {name: results[name] for name in ("run", "images", "extracted", "rejects", "left", "model_id")} == {
        "run": "1",
        "images": 3,
        "extracted": 2,
        "rejects": 0,
        "left": 1,
        "model_id": MODEL_ID,
    }
    assert "1 of 3 left: s3://fruits/results/latest.json stays" in publishing.leave_for_later(hook, run, results)
    assert not hook.check_for_key("results/latest.json", "fruits")
