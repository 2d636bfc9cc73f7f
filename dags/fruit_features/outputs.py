"""What a run has written, judged: by what the cluster says of each file, by what is there, and by rows that are read again."""

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import checks, checksums, datasets, file_checks, history, publishing
from fruit_features.checksums import FileChecksums
from fruit_features.output_files import Dataset, Outputs
from fruit_features.run import Plan, Run
from fruit_features.workspace import Workspace, workspace

SAMPLED_FILES = 16  # of features: of at most 2,000 rows, 10 MB each
SAMPLED_VECTOR_FILES = 4  # of at most 64 MB each
NOT_PROCESSED = "not processed"  # of reduce_dimensions: no run has seen the image
NETWORK = [*datasets.KEY, "model_id"]

PATHS = pa.schema([("path", pa.string())])
KEYS = pa.schema([(name, pa.string()) for name in datasets.KEY])


def check_outputs(hook: S3Hook, run: Run, plan: Plan) -> dict[str, Any]:
    """Prove the invariants of the run's outputs; return what `publish` writes into `latest.json`.

    Raises:
        OutputError: naming the invariant that does not hold, and an image or a file where it does not.
    """
    outputs = Outputs(hook, run)
    model_id = outputs.model_id()
    if plan.unfinished:
        with workspace() as work:
            rejects = check_run_outputs(outputs, model_id, work)
        return progress(run, plan, rejects) | {"model_id": model_id}
    report = outputs.report()
    with workspace() as work:
        check_run_outputs(outputs, model_id, work)
        fingerprint = collect_inventory(outputs, model_id, work)
        rows = check_results(outputs, plan, model_id, report, work)
    checks.check_reject_share(plan.images - plan.left, rows, run.settings.max_reject_share, run.layout.rejects.uri)
    # What shows some images only is not what a run that finds nothing new would make.
    return summary(run, plan, report, rows) | {"model_id": model_id, "fingerprint": None if plan.left else fingerprint}


def check_run_outputs(outputs: Outputs, model_id: str, work: Workspace) -> int:
    """Check what this run has extracted against its manifest: each image once, each of the run's network; return its rejects.

    What the rows are, the cluster has computed where they are; a listing says that every byte is still as it was then, and a few
    files that are read again confirm it: a million images have 5 GB of features, and an Airflow worker must not read them all.
    Likewise `reduce_dimensions` has proven that every number is finite.
    """
    layout = outputs.run.layout
    features, rejects = outputs.extracted(layout.run_features), outputs.extracted(layout.run_rejects)
    for dataset in (features, rejects):
        if dataset.written:
            file_checks.check_network(dataset.written, model_id)
    with work.collect("manifest", KEYS) as rows:
        for batch in datasets.stream(outputs.files, layout.manifest, datasets.KEY):
            rows.add(pa.Table.from_batches([batch]))
    sums, done = given(work, "manifest"), said(features, rejects)
    if sums != done:  # or nothing is said
        check_rows(outputs, features, rejects, model_id, work)
        file_checks.check_sums(sums, done or sums, layout.run_features.uri, checks.EXACTLY_ONCE)
    for name in some(features, SAMPLED_FILES):
        check_again(
            outputs,
            features,
            name,
            datasets.FEATURES,
            [*NETWORK, "features"],
            lambda batch: checks.check_feature_batch(batch, model_id, features.where.uri),
        )
    return sum(check_again(outputs, rejects, name, datasets.REJECTS, datasets.KEY) for name in rejects.names)


def given(work: Workspace, table: str) -> tuple[int, str]:
    """Return how many images a table has, and their checksum."""
    rows, total = work.row(checksums.ROWS_AND_SUM.format(table))
    return rows, checksums.images_checksum(total)


def said(*parts: Dataset) -> tuple[int, str] | None:
    """Return how many images these files are of, and their checksum; None if earlier versions have written some of them."""
    written = [dataset.written for dataset in parts if dataset.written]
    sums = [images for each in written if (images := each.images()) is not None]
    return (sum(each.rows() for each in written), checksums.added(sums)) if len(sums) == len(parts) else None


def some(dataset: Dataset, most: int) -> list[str]:
    """Return the names of some files, at most so many: of the same dataset always the same."""
    return random.Random(dataset.where.uri).sample(dataset.names, min(most, len(dataset.names)))  # noqa: S311


def check_rows(outputs: Outputs, features: Dataset, rejects: Dataset, model_id: str, work: Workspace) -> None:
    """Find, by the keys of all rows, which images do not add up to those of the table `manifest`."""
    outputs.collect(work, "features", features.paths, datasets.FEATURES, NETWORK)
    outputs.collect(work, "rejects", rejects.paths, datasets.REJECTS, datasets.KEY)
    checks.check_extraction(work, features.where.uri)
    checks.check_network(work, model_id, features.where.uri)


def check_again(
    outputs: Outputs,
    dataset: Dataset,
    name: str,
    schema: pa.Schema,
    columns: list[str],
    check_batch: Callable[[pa.RecordBatch], None] = lambda _: None,
) -> int:
    """Check the rows of a file by `check_batch`, and that they are what its step says; return how many they are."""
    found = FileChecksums()
    for batch in outputs.rows(dataset, name, schema, columns):
        check_batch(batch)
        found.add(batch)
    if dataset.written:
        file_checks.check_sample((dataset.where / name).uri, dataset.written.files[name], found)
    return found.rows


def collect_inventory(outputs: Outputs, model_id: str, work: Workspace) -> str:
    """Make the table `inventory`; return the fingerprint of the results."""
    fingerprint = publishing.Fingerprint(outputs.run, model_id)
    with work.collect("inventory", KEYS) as rows:
        for batch in datasets.stream(outputs.files, outputs.run.layout.inventory, datasets.KEY):
            fingerprint.add(batch)
            rows.add(pa.Table.from_batches([batch]))
    return fingerprint.hexdigest()


def check_results(outputs: Outputs, plan: Plan, model_id: str, report: dict[str, Any], work: Workspace) -> int:
    """Check the components and the vectors of all images of the table `inventory`; return how many vectors there are.

    As with features, the cluster says of which images its files are, and only some are read.
    """
    layout = outputs.run.layout
    where = (layout.run_results / "report.json").uri
    checks.check_components(report, outputs.run.settings.variance, fitted=not plan.pca_model, where=where)
    vectors = outputs.vectors(report)
    history.collect_outcomes(outputs.hook, layout, work, model_id)
    work.run("CREATE VIEW usable AS SELECT path, '' AS etag FROM inventory SEMI JOIN extracted USING (path, etag)")
    sums, done = given(work, "usable"), said(vectors)
    if sums != done:  # or nothing is said
        with work.collect("vectors", PATHS) as rows:
            for name in vectors.names:
                for batch in outputs.rows(vectors, name, datasets.PCA, PATHS.names):
                    rows.add(pa.Table.from_batches([batch], PATHS))
        checks.check_vectors(work, vectors.where.uri)
        file_checks.check_sums(sums, done or sums, vectors.where.uri, checks.ONE_VECTOR)
    for name in some(vectors, SAMPLED_VECTOR_FILES):
        check_again(
            outputs,
            vectors,
            name,
            datasets.PCA,
            ["path", "features_pca"],
            lambda batch: checks.check_vector_batch(batch, report["components"], vectors.where.uri),
        )
    return sums[0]


def progress(run: Run, plan: Plan, rejects: int) -> dict[str, Any]:
    """Return the figures of a run that has extracted some of the images, for a later one to publish."""
    counts = {"images": plan.images, "left": plan.left, "extracted": plan.new - rejects, "rejects": rejects}
    return {"run": run.name, "listed": plan.listed, **counts}


def summary(run: Run, plan: Plan, report: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return the run's figures, and where its results are."""
    results = run.layout.run_results
    reasons = {reason: count for reason, count in report["rejects_by_reason"].items() if reason != NOT_PROCESSED}
    return {
        "run": run.name,
        "listed": plan.listed,
        "images": plan.images,
        "features": rows,
        "rejects": plan.images - plan.left - rows,
        "left": plan.left,
        "rejects_by_reason": reasons if plan.left else report["rejects_by_reason"],
        "components": report["components"],
        "explained_variance": report["explained_variance"],
        "pca": (results / "pca").uri,
        "pca_model": (results / "model").uri,
        "report": (results / "report.html").uri,
    }
