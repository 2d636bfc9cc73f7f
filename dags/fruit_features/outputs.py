"""Reading back what a run's steps have written: the checks judge what is there, not what a job says of itself."""

import random
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from fruit_features import checks, datasets, history, objects, publishing
from fruit_features.layout import Location
from fruit_features.run import Plan, Run

SAMPLED_FILES = 16  # of at most 2,000 rows, 10 MB each
READ_AHEAD: dict[str, int] = {"batch_readahead": 1, "fragment_readahead": 1}  # Arrow reads 16 and 4 ahead: 400 MB here


class Outputs:
    """The datasets and documents of a run in S3."""

    def __init__(self, hook: S3Hook, run: Run) -> None:
        self.hook = hook
        self.run = run
        self.files = datasets.filesystem(hook)

    def committed(self, folder: Location, schema: pa.Schema) -> ds.Dataset:
        """Return a dataset that a Spark job has finished.

        Raises:
            OutputError: it is not finished, or a file of it has other columns.
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
        data = datasets.dataset(self.files, [folder], schema)
        for fragment in data.get_fragments():
            checks.check_schema(f"s3://{fragment.path}", fragment.physical_schema, schema)
        return data

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
    model_id, report = outputs.model_id(), outputs.report()
    check_run_outputs(outputs, model_id)
    inventory = datasets.read(outputs.files, run.layout.inventory, datasets.KEY)
    rows = check_results(outputs, plan, inventory, model_id, report)
    checks.check_reject_share(plan.images, rows, run.settings.max_reject_share, run.layout.rejects.uri)
    return summary(run, plan, report, rows) | {
        "model_id": model_id,
        "fingerprint": publishing.fingerprint(run, inventory, model_id),
    }


def check_run_outputs(outputs: Outputs, model_id: str) -> None:
    """Check what this run has extracted against its manifest.

    That every row's numbers are finite, `reduce_dimensions` proves where the rows are, and fails otherwise. A few files confirm
    it here: a million images have 5 GB of features, and an Airflow worker must not read them all.
    """
    layout = outputs.run.layout
    features = outputs.committed(layout.run_features, datasets.FEATURES)
    rejects = outputs.committed(layout.run_rejects, datasets.REJECTS)
    checks.check_extraction(
        datasets.read(outputs.files, layout.manifest, datasets.KEY),
        features.to_table(datasets.KEY),
        rejects.to_table(datasets.KEY),
        layout.run_features.uri,
    )
    sample = random.Random(outputs.run.name).sample(features.files, min(SAMPLED_FILES, len(features.files)))  # noqa: S311
    rows = datasets.open_parts(outputs.files, sorted(sample), datasets.FEATURES)
    for batch in rows.to_batches(["path", "model_id", "features"], batch_size=2048, **READ_AHEAD):
        checks.check_feature_batch(batch, model_id, layout.run_features.uri)


def check_results(outputs: Outputs, plan: Plan, inventory: pa.Table, model_id: str, report: dict[str, Any]) -> int:
    """Check the components and the vectors of all images; return how many vectors there are."""
    layout = outputs.run.layout
    where = (layout.run_results / "report.json").uri
    checks.check_components(report, outputs.run.settings.variance, fitted=not plan.pca_model, where=where)
    pca = outputs.committed(layout.run_results / "pca", datasets.PCA)
    extracted = history.extracted_images(outputs.hook, layout.features, model_id)
    usable = set(datasets.identity_keys(inventory)) & set(datasets.identity_keys(extracted))
    checks.check_vectors(pca, report["components"], {path for path, _ in usable}, (layout.run_results / "pca").uri)
    return pca.count_rows()


def summary(run: Run, plan: Plan, report: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return the run's figures, and where its results are."""
    results = run.layout.run_results
    return {
        "run": run.name,
        "listed": plan.listed,
        "images": plan.images,
        "features": rows,
        "rejects": plan.images - rows,
        "rejects_by_reason": report["rejects_by_reason"],
        "components": report["components"],
        "explained_variance": report["explained_variance"],
        "pca": (results / "pca").uri,
        "pca_model": (results / "model").uri,
        "report": (results / "report.html").uri,
    }
