"""Reading back what a run's steps have written: the checks judge what is there, not what a job says of itself."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import checks, datasets, history, objects, publishing
from fruit_features.layout import Location
from fruit_features.run import Plan, Run
from fruit_features.workspace import Workspace, workspace

SAMPLED_FILES = 16  # of at most 2,000 rows, 10 MB each
FILES_AT_ONCE = 32  # of which only the images' keys are read
READ_AHEAD: dict[str, int] = {"batch_readahead": 1, "fragment_readahead": 1}  # Arrow reads 16 and 4 ahead: 400 MB here
NOT_PROCESSED = "not processed"  # of reduce_dimensions: no run has seen the image
NETWORK = [*datasets.KEY, "model_id"]

PATHS = pa.schema([("path", pa.string())])
KEYS = pa.schema([(name, pa.string()) for name in datasets.KEY])


class Outputs:
    """The datasets and documents of a run in S3."""

    def __init__(self, hook: S3Hook, run: Run) -> None:
        self.hook = hook
        self.run = run
        self.files = datasets.filesystem(hook)

    def committed(self, folder: Location) -> list[str]:
        """Return the paths of the files of a dataset that a Spark job has finished.

        Raises:
            OutputError: it is not finished.
        """
        finished = objects.exists(self.hook, folder / "_SUCCESS")
        checks.check(
            finished,
            f"{folder} is not finished: it has no _SUCCESS marker",
            invariant="what a step has written is complete",
            expected=f"{folder / '_SUCCESS'}",
            found="no such object",
            look_at="the log of the step that writes it",
        )
        return datasets.parts(self.files, [folder])

    def collect(self, work: Workspace, name: str, paths: list[str], schema: pa.Schema, columns: list[str]) -> None:
        """Make a table of columns of many files, each of which must have the columns of `schema` and no others."""

        def read(path: str) -> None:
            with self.files.open_input_file(path) as source:
                found = pq.ParquetFile(source)
                checks.check_schema(f"s3://{path}", found.schema_arrow, schema)
                rows.add(found.read(columns, use_threads=False).cast(kept))

        kept = pa.schema([(column, pa.string()) for column in columns])
        with work.collect(name, kept) as rows, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            for _ in pool.map(read, paths):
                pass

    def model_id(self) -> str:
        """Return the network that the run has used."""
        return objects.read_json(self.hook, self.run.layout.model_pointer, "model_id")["model_id"]

    def report(self) -> dict[str, Any]:
        """Return report.json."""
        return objects.read_json(self.hook, self.run.layout.run_results / "report.json")


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

    That every row's numbers are finite, `reduce_dimensions` proves where the rows are, and fails otherwise. A few files confirm
    it here: a million images have 5 GB of features, and an Airflow worker must not read them all.
    """
    layout = outputs.run.layout
    features, rejects = outputs.committed(layout.run_features), outputs.committed(layout.run_rejects)
    outputs.collect(work, "features", features, datasets.FEATURES, NETWORK)
    outputs.collect(work, "rejects", rejects, datasets.REJECTS, datasets.KEY)
    with work.collect("manifest", KEYS) as rows:
        for batch in datasets.stream(outputs.files, layout.manifest, datasets.KEY):
            rows.add(pa.Table.from_batches([batch]))
    checks.check_extraction(work, layout.run_features.uri)
    checks.check_network(work, model_id, layout.run_features.uri)
    sample = random.Random(outputs.run.name).sample(features, min(SAMPLED_FILES, len(features)))  # noqa: S311
    sampled = datasets.open_parts(outputs.files, sorted(sample), datasets.FEATURES)
    for batch in sampled.to_batches(["path", "model_id", "features"], batch_size=2048, **READ_AHEAD):
        checks.check_feature_batch(batch, model_id, layout.run_features.uri)
    return int(work.row("SELECT count(*) FROM rejects")[0])


def collect_inventory(outputs: Outputs, model_id: str, work: Workspace) -> str:
    """Make the table `inventory`; return the fingerprint of the results."""
    fingerprint = publishing.Fingerprint(outputs.run, model_id)
    with work.collect("inventory", KEYS) as rows:
        for batch in datasets.stream(outputs.files, outputs.run.layout.inventory, datasets.KEY):
            fingerprint.add(batch)
            rows.add(pa.Table.from_batches([batch]))
    return fingerprint.hexdigest()


def check_results(outputs: Outputs, plan: Plan, model_id: str, report: dict[str, Any], work: Workspace) -> int:
    """Check the components and the vectors of all images of the table `inventory`; return how many vectors there are."""
    layout = outputs.run.layout
    where = (layout.run_results / "report.json").uri
    checks.check_components(report, outputs.run.settings.variance, fitted=not plan.pca_model, where=where)
    folder = layout.run_results / "pca"
    vectors = datasets.open_parts(outputs.files, outputs.committed(folder), datasets.PCA)
    for fragment in vectors.get_fragments():
        checks.check_schema(f"s3://{fragment.path}", fragment.physical_schema, datasets.PCA)
    with work.collect("vectors", PATHS) as rows:
        for batch in vectors.to_batches(["path", "features_pca"], batch_size=16384, **READ_AHEAD):
            checks.check_vector_batch(batch, report["components"], folder.uri)
            rows.add(pa.table([batch["path"]], PATHS))
    history.collect_outcomes(outputs.hook, layout, work, model_id)
    work.run("CREATE VIEW usable AS SELECT path FROM inventory SEMI JOIN extracted USING (path, etag)")
    checks.check_vectors(work, folder.uri)
    return rows.rows


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
