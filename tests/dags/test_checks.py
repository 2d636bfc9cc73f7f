"""The checks refuse what violates an invariant, and name where. Each row of a table is one way to break it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from fruit_features import checks, datasets
from fruit_features.checks import OutputError
from fruit_features.workspace import Workspace, workspace

GOOD = [0.5] * 1280


def images(*names: str, etag: str = "e") -> pa.Table:
    return pa.table({"path": pa.array(names, pa.string()), "etag": pa.array([etag] * len(names), pa.string())})


@contextmanager
def tables(**rows: pa.Table) -> Iterator[Workspace]:
    with workspace() as work:
        for name, table in rows.items():
            with work.collect(name, table.schema) as collector:
                collector.add(table)
        yield work


def test_every_image_in_one_of_the_two_is_right() -> None:
    with tables(manifest=images("a", "b", "c"), features=images("a", "c"), rejects=images("b")) as work:
        checks.check_extraction(work, "run")


@pytest.mark.parametrize(
    ("features", "rejects", "message"),
    [
        (images("a"), images("b"), r"1 image\(s\) of the manifest are in neither .* e\.g\. 'c'"),
        (images("a", "b", "c"), images("c"), r"1 row\(s\) of features and rejects are there twice .* e\.g\. 'c'"),
        (images("a", "b", "c", "c"), images(), r"are there twice .* e\.g\. 'c'"),
        (images("a", "b", "c", "d"), images(), r"were not asked for, e\.g\. 'd'"),
        (images("a", "b", "c", etag="another"), images(), r"3 image\(s\) of the manifest are in neither"),
    ],
)
def test_lost_and_doubled_images_are_named(features: pa.Table, rejects: pa.Table, message: str) -> None:
    with (
        tables(manifest=images("a", "b", "c"), features=features, rejects=rejects) as work,
        pytest.raises(OutputError, match=message),
    ):
        checks.check_extraction(work, "run")


def test_an_error_says_the_invariant_what_was_expected_and_found_an_example_and_where_to_look() -> None:
    with (
        tables(manifest=images("a", "b", "c"), features=images("a"), rejects=images("b")) as work,
        pytest.raises(OutputError) as raised,
    ):
        checks.check_extraction(work, "s3://b/features/run=r")
    first, *details = str(raised.value).splitlines()
    assert first.startswith("s3://b/features/run=r: 1 image(s)"), "one line that can be quoted"
    assert [line.split(None, 1)[0] for line in details] == ["invariant", "expected", "found", "example", "look"]
    assert details[0].endswith("each image of the manifest is in features or in rejects, once")
    assert details[1].endswith("3 images")
    assert details[3].endswith(" c")


def feature_batch(*rows: tuple[str, str | None, list[Any] | None]) -> pa.RecordBatch:
    names = ["path", "model_id", "features"]
    types = [pa.string(), pa.string(), pa.list_(pa.float32())]
    return pa.record_batch(
        [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)], names
    )


def test_good_features_pass() -> None:
    checks.check_feature_batch(feature_batch(("a", "m", GOOD), ("b", "m", GOOD)), "m", "features")
    checks.check_feature_batch(feature_batch(("a", "m", GOOD)).slice(0, 0), "m", "features")


@pytest.mark.parametrize(
    ("model_id", "features", "message"),
    [
        ("m", GOOD[:-1], "'bad' does not have 1280 numbers in features"),
        ("m", None, "'bad' does not have 1280 numbers in features"),
        ("m", [*GOOD[:-1], float("nan")], "'bad' has a number in features that is not finite"),
        ("m", [float("inf"), *GOOD[1:]], "'bad' has a number in features that is not finite"),
        ("m", [None, *GOOD[1:]], "'bad' has a number in features that is not finite"),
        ("other", GOOD, "'bad' was not made by the network m"),
        (None, GOOD, "'bad' was not made by the network m"),
    ],
)
def test_bad_features_are_named(model_id: str | None, features: list[Any] | None, message: str) -> None:
    batch = feature_batch(("good", "m", GOOD), ("bad", model_id, features), ("good too", "m", GOOD))
    with pytest.raises(OutputError, match=message):
        checks.check_feature_batch(batch, "m", "features")


CURVE = [0.5, 0.7, 0.80001, 0.9, 1.0 - 1e-13]


@pytest.mark.parametrize(("k", "variance"), [(1, 0.5), (2, 0.7), (3, 0.8), (5, 1.0)])
def test_the_smallest_number_of_components_passes(k: int, variance: float) -> None:
    checks.check_components({"components": k, "variance_curve": CURVE}, variance, fitted=True, where="report")


@pytest.mark.parametrize(("k", "variance", "fewest"), [(4, 0.8, 3), (2, 0.8, 3), (4, 1.0, 5)])
def test_any_other_number_of_components_is_refused(k: int, variance: float, fewest: int) -> None:
    with pytest.raises(OutputError, match=f"{k} components, but {fewest} are the fewest"):
        checks.check_components({"components": k, "variance_curve": CURVE}, variance, fitted=True, where="report")


def test_a_kept_model_keeps_its_number_of_components() -> None:
    checks.check_components({"components": 4, "variance_curve": CURVE}, 0.8, fitted=False, where="report")


def check_vectors(*rows: tuple[str, list[float] | None]) -> None:
    """Check vectors of two components; the images `a` and `b` are usable."""
    table = pa.Table.from_pylist([{"path": path, "label": "L", "features_pca": v} for path, v in rows], datasets.PCA)
    for batch in table.to_batches():
        checks.check_vector_batch(batch, 2, "pca")
    with tables(vectors=table, usable=images("a", "b")) as work:
        checks.check_vectors(work, "pca")


def test_good_vectors_pass() -> None:
    check_vectors(("a", [1.0, 2.0]), ("b", [0.0, 0.0]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", [1.0, 2.0])], r"1 image\(s\) that have features are missing, e\.g\. 'b'"),
        ([("a", [1.0, 2.0]), ("b", [1.0])], "'b' does not have 2 numbers in features_pca"),
        ([("a", [1.0, 2.0]), ("b", [1.0, float("nan")])], "'b' has a number in features_pca that is not finite"),
        ([("a", [1.0, 2.0]), ("b", [1.0, 2.0]), ("b", [1.0, 2.0])], "'b' is there twice"),
        ([("a", [1.0, 2.0]), ("b", [1.0, 2.0]), ("c", [1.0, 2.0])], "'c' is not an image of the inventory"),
    ],
)
def test_bad_vectors_are_named(rows: list[tuple[str, list[float]]], message: str) -> None:
    with pytest.raises(OutputError, match=message):
        check_vectors(*rows)


def test_too_many_rejects_are_refused() -> None:
    checks.check_reject_share(100, 95, 0.05, "rejects")
    with pytest.raises(
        OutputError, match=r"^6 of 100 images are unusable, more than max_reject_share = 0\.05: see rejects"
    ):
        checks.check_reject_share(100, 94, 0.05, "rejects")
    with pytest.raises(OutputError, match=r"^none of the 3 images could be used: see rejects"):
        checks.check_reject_share(3, 0, 1, "rejects")


def test_columns_are_checked_by_name_order_and_type() -> None:
    checks.check_schema("features", datasets.FEATURES, datasets.FEATURES)
    doubles = datasets.FEATURES.set(7, pa.field("features", pa.list_(pa.float64())))
    swapped = pa.schema([datasets.FEATURES.field(1), datasets.FEATURES.field(0), *list(datasets.FEATURES)[2:]])
    for wrong in (doubles, swapped, datasets.REJECTS):
        with pytest.raises(OutputError, match=r"^features has the columns"):
            checks.check_schema("features", wrong, datasets.FEATURES)
