"""The invariants of a run's outputs, each a function that returns nothing or raises `OutputError`. Nothing here reads S3."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from airflow.sdk.exceptions import AirflowFailException

from fruit_features import datasets

FEATURES_PER_IMAGE = 1280
# A share of variance counts as reached within this, as in the job that chose the components (spark_jobs/reduction/pca.py).
VARIANCE_TOLERANCE = 1e-12


class OutputError(AirflowFailException):
    """An output violates an invariant; the message says which and where. Running the check again would not help."""


def check(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence: check(that, or else)
    """Raise OutputError with the message unless the condition holds."""
    if not condition:
        raise OutputError(message)


def check_schema(where: str, actual: pa.Schema, expected: pa.Schema) -> None:
    """Compare field names, order and types; nullability and metadata do not count, Spark writes them its own way."""
    found = [(field.name, datasets.plain_type(field.type)) for field in actual]
    wanted = [(field.name, datasets.plain_type(field.type)) for field in expected]
    check(found == wanted, f"{where} has the columns {found}, expected {wanted}")


def check_extraction(manifest: pa.Table, features: pa.Table, rejects: pa.Table, where: str) -> None:
    """Check that every image of the manifest is in features or in rejects, once. Tables need `path` and `etag`."""
    asked = Counter(datasets.identity_keys(manifest))
    done = Counter(datasets.identity_keys(features)) + Counter(datasets.identity_keys(rejects))
    if lost := asked - done:
        raise OutputError(
            f"{where}: {lost.total()} image(s) of the manifest are in neither features nor rejects, e.g. {min(lost)[0]!r}"
        )
    if added := done - asked:
        raise OutputError(
            f"{where}: {added.total()} row(s) of features and rejects are there twice or were not asked for, "
            f"e.g. {min(added)[0]!r}"
        )


def check_feature_batch(batch: pa.RecordBatch, model_id: str, where: str) -> None:
    """Check that every row has 1280 finite floats of the run's network. Needs `path`, `model_id` and `features`."""
    _check_lists(batch, "features", FEATURES_PER_IMAGE, where)
    other = pc.index(pc.fill_null(pc.equal(batch["model_id"], model_id), False), False).as_py()
    if other >= 0:
        raise OutputError(f"{where}: {batch['path'][other].as_py()!r} was not made by the network {model_id}")


def check_components(report: dict[str, Any], variance: float, *, fitted: bool, where: str) -> None:
    """Check that `components` is the smallest number that reaches the asked share of the variance.

    Args:
        report: with `components` and `variance_curve`, the share that the first 1, 2, 3… components explain together.
        variance: the share that was asked for.
        fitted: whether the model was fitted by this run; one that was kept has the number of components that it has.
        where: what an error calls the report.
    """
    k, curve = report["components"], report["variance_curve"]
    check(len(curve) >= k > 0, f"{where}: components is {k}, its variance curve has {len(curve)} points")
    if not fitted:
        return
    reaching = (number for number, share in enumerate(curve, start=1) if share >= variance - VARIANCE_TOLERANCE)
    fewest = next(reaching, len(curve))
    check(
        k == fewest, f"{where}: {k} components, but {fewest} are the fewest that explain {variance:.4g} of the variance"
    )


def check_vectors(pca: Any, k: int, usable: set[str], where: str) -> None:
    """Check that each usable image, and nothing else, has one vector of k finite numbers. `pca` is a dataset."""
    seen: set[str] = set()
    for batch in pca.to_batches(columns=["path", "features_pca"], batch_size=16384):
        _check_lists(batch, "features_pca", k, where)
        for path in batch["path"].to_pylist():
            check(path in usable, f"{where}: {path!r} is not an image of the inventory that has features")
            check(path not in seen, f"{where}: {path!r} is there twice")
            seen.add(path)
    missing = usable - seen
    check(
        not missing,
        f"{where}: {len(missing)} image(s) that have features are missing, e.g. {min(missing, default='')!r}",
    )


def check_reject_share(images: int, usable: int, max_reject_share: float, where: str) -> None:
    """Check that some images could be used, and that not too many could not."""
    rejected = images - usable
    check(usable > 0, f"none of the {images} images could be used: see {where}")
    check(
        rejected <= max_reject_share * images,
        f"{rejected} of {images} images are unusable, more than max_reject_share = {max_reject_share}: see {where}",
    )


def _check_lists(batch: pa.RecordBatch, column: str, length: int, where: str) -> None:
    """Check that each list of `column` has `length` elements, all of them finite numbers."""
    right_length = pc.fill_null(pc.equal(pc.list_value_length(batch[column]), length), False)
    wrong = pc.index(right_length, False).as_py()
    if wrong >= 0:
        raise OutputError(f"{where}: {batch['path'][wrong].as_py()!r} does not have {length} numbers in {column}")
    finite = pc.fill_null(pc.is_finite(batch[column].flatten()), False)
    infinite = pc.index(finite, False).as_py()
    if infinite >= 0:
        path = batch["path"][infinite // length].as_py()
        raise OutputError(f"{where}: {path!r} has a number in {column} that is not finite")
