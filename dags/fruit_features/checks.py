"""The invariants of a run's outputs, each a function that returns nothing or raises `OutputError`. Nothing here reads S3."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets
from fruit_features.workspace import Workspace

FEATURES_PER_IMAGE = 1280
# A share of variance counts as reached within this, as in the job that chose the components (spark_jobs/reduction/pca.py).
VARIANCE_TOLERANCE = 1e-12
EXACTLY_ONCE = "each image of the manifest is in features or in rejects, once"
ONE_VECTOR = "each image of the inventory that has features has one vector, and nothing else has"


EXTRACTION = """
    WITH images AS (
        SELECT path, etag, sum(asked) AS asked, sum(done) AS done, sum(asked) - sum(done) AS missing
        FROM (
            SELECT path, etag, 1 AS asked, 0 AS done FROM manifest
            UNION ALL SELECT path, etag, 0, 1 FROM features
            UNION ALL SELECT path, etag, 0, 1 FROM rejects
        )
        GROUP BY path, etag
    )
    SELECT sum(asked), sum(done), sum(missing) FILTER (missing > 0), min(path) FILTER (missing > 0),
        -sum(missing) FILTER (missing < 0), min(path) FILTER (missing < 0)
    FROM images
"""
VECTORS = """
    WITH images AS (
        SELECT path, sum(usable) AS usable, sum(vectors) AS vectors
        FROM (SELECT path, 1 AS usable, 0 AS vectors FROM usable UNION ALL SELECT path, 0, 1 FROM vectors)
        GROUP BY path
    )
    SELECT sum(usable), sum(vectors), min(path) FILTER (usable = 0), min(path) FILTER (vectors > 1),
        count(*) FILTER (vectors = 0), min(path) FILTER (vectors = 0)
    FROM images
"""


class OutputError(AirflowFailException):
    """An output violates an invariant. Running the check again would not help.

    Args:
        message: what is wrong, in one line: the run's own message quotes it.
        details: further lines: `invariant`, `expected`, `found`, `example`, `look_at`.
    """

    def __init__(self, message: str, **details: object) -> None:
        lines = [f"  {name.replace('_', ' '):<10} {value}" for name, value in details.items()]
        super().__init__("\n".join([message, *lines]))


def check(condition: bool, message: str, **details: object) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise OutputError with the message and its details unless the condition holds."""
    if not condition:
        raise OutputError(message, **details)


def check_schema(where: str, actual: pa.Schema, expected: pa.Schema) -> None:
    """Compare field names, order and types; nullability and metadata do not count, Spark writes them its own way."""
    found = [(field.name, datasets.plain_type(field.type)) for field in actual]
    wanted = [(field.name, datasets.plain_type(field.type)) for field in expected]
    check(
        found == wanted,
        f"{where} has the columns {found}, expected {wanted}",
        invariant="each file of a dataset has its schema's columns",
        expected=wanted,
        found=found,
        look_at=where,
    )


def check_extraction(work: Workspace, where: str) -> None:
    """Check that every image of the table `manifest` is in `features` or in `rejects`, once. Tables need `path` and `etag`."""
    asked, done, lost, a_lost, added, an_added = work.row(EXTRACTION)
    check(
        not lost,
        f"{where}: {lost} image(s) of the manifest are in neither features nor rejects, e.g. {a_lost!r}",
        invariant=EXACTLY_ONCE,
        expected=f"{asked} images",
        found=f"{done} rows, {lost} image(s) without one",
        example=a_lost,
        look_at=f"{where}: the log of extract_features; the images may have changed during the run",
    )
    check(
        not added,
        f"{where}: {added} row(s) of features and rejects are there twice or were not asked for, e.g. {an_added!r}",
        invariant=EXACTLY_ONCE,
        expected=f"{asked} images",
        found=f"{done} rows, {added} too many",
        example=an_added,
        look_at=f"{where}: something else may have written there",
    )


def check_network(work: Workspace, model_id: str, where: str) -> None:
    """Check that every row of the table `features` is of the run's network."""
    work.set(network=model_id)
    others, path, network = work.row(
        """
        SELECT count(*), min(path), min_by(model_id, path) FROM features
        WHERE model_id IS DISTINCT FROM getvariable('network')
        """
    )
    check(
        not others,
        f"{where}: {others} image(s), e.g. {path!r}, were not made by the network {model_id}",
        invariant="all features of a run are made by its network",
        expected=model_id,
        found=network,
        example=path,
        look_at=where,
    )


def check_feature_batch(batch: pa.RecordBatch, model_id: str, where: str) -> None:
    """Check that every row has 1280 finite floats of the run's network. Needs `path`, `model_id` and `features`."""
    _check_lists(batch, "features", FEATURES_PER_IMAGE, where)
    other = pc.index(pc.fill_null(pc.equal(batch["model_id"], model_id), False), False).as_py()
    if other >= 0:
        path = batch["path"][other].as_py()
        raise OutputError(
            f"{where}: {path!r} was not made by the network {model_id}",
            invariant="all features of a run are made by its network",
            expected=model_id,
            found=batch["model_id"][other].as_py(),
            example=path,
            look_at=where,
        )


def check_components(report: dict[str, Any], variance: float, *, fitted: bool, where: str) -> None:
    """Check that `components` is the smallest number that reaches the asked share of the variance.

    Args:
        report: with `components` and `variance_curve`, the share that the first 1, 2, 3… components explain together.
        variance: the share that was asked for.
        fitted: whether the model was fitted by this run; one that was kept has the number of components that it has.
        where: what an error calls the report.
    """
    k, curve = report["components"], report["variance_curve"]
    check(
        len(curve) >= k > 0,
        f"{where}: components is {k}, its variance curve has {len(curve)} points",
        invariant="the report has a point of the variance curve for each component",
        expected=f"1 to {len(curve)} components",
        found=k,
        look_at=where,
    )
    if not fitted:
        return
    reaching = (number for number, share in enumerate(curve, start=1) if share >= variance - VARIANCE_TOLERANCE)
    fewest = next(reaching, len(curve))
    check(
        k == fewest,
        f"{where}: {k} components, but {fewest} are the fewest that explain {variance:.4g} of the variance",
        invariant="k is the smallest number of components that reaches the asked variance",
        expected=fewest,
        found=k,
        example=f"{fewest} components explain {curve[fewest - 1]:.6f}",
        look_at=where,
    )


def check_vector_batch(batch: pa.RecordBatch, k: int, where: str) -> None:
    """Check that every row has k finite numbers. Needs `path` and `features_pca`."""
    _check_lists(batch, "features_pca", k, where)


def check_vectors(work: Workspace, where: str) -> None:
    """Check that each image of the table `usable`, and nothing else, has one row in `vectors`. Tables need `path`."""
    usable, found, foreign, twice, missing, a_missing = work.row(VECTORS)
    for path, problem in (
        (foreign, "is not an image of the inventory that has features"),
        (twice, "is there twice"),
    ):
        check(
            path is None,
            f"{where}: {path!r} {problem}",
            invariant=ONE_VECTOR,
            expected=f"{usable} vectors",
            found=f"one that {problem}",
            example=path,
            look_at=where,
        )
    check(
        not missing,
        f"{where}: {missing} image(s) that have features are missing, e.g. {a_missing!r}",
        invariant=ONE_VECTOR,
        expected=f"{usable} vectors",
        found=found,
        example=a_missing,
        look_at=f"{where}, and the log of reduce_dimensions",
    )


def check_reject_share(images: int, usable: int, max_reject_share: float, where: str) -> None:
    """Check that some images could be used, and that not too many could not."""
    rejected = images - usable
    check(usable > 0, f"none of the {images} images could be used: see {where}", look_at=f"the reasons in {where}")
    check(
        rejected <= max_reject_share * images,
        f"{rejected} of {images} images are unusable, more than max_reject_share = {max_reject_share}: see {where}",
        invariant="the share of rejects is at most max_reject_share",
        expected=f"{max_reject_share:.2%} at most",
        found=f"{rejected / images:.2%}",
        look_at=f"the reasons in {where}",
    )


def _check_lists(batch: pa.RecordBatch, column: str, length: int, where: str) -> None:
    """Check that each list of `column` has `length` elements, all of them finite numbers."""
    right_length = pc.fill_null(pc.equal(pc.list_value_length(batch[column]), length), False)
    wrong = pc.index(right_length, False).as_py()
    if wrong >= 0:
        path, numbers = batch["path"][wrong].as_py(), batch[column][wrong].as_py()
        raise OutputError(
            f"{where}: {path!r} does not have {length} numbers in {column}",
            invariant=f"each list in {column} has {length} finite numbers",
            expected=length,
            found="no list" if numbers is None else len(numbers),
            example=path,
            look_at=where,
        )
    finite = pc.fill_null(pc.is_finite(batch[column].flatten()), False)
    infinite = pc.index(finite, False).as_py()
    if infinite >= 0:
        row, position = divmod(infinite, length)
        path = batch["path"][row].as_py()
        raise OutputError(
            f"{where}: {path!r} has a number in {column} that is not finite",
            invariant=f"each list in {column} has {length} finite numbers",
            expected="finite numbers",
            found=f"{batch[column][row][position].as_py()} at position {position}",
            example=path,
            look_at=where,
        )
