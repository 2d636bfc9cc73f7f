"""The figures of the row `inventory`, in Airflow's environment: python -m benchmarks.inventory_figures WHAT FOLDER IMAGES RUNS.

`find` and `check` run a task, and print its seconds and its peak of memory in MB as JSON. `history` and `results` write what they
find in the bucket's folder: features of all images by as many runs as RUNS says; the results of the first of them.
"""

import fruit_features  # noqa: F401 - before Arrow, as in Airflow: it says how Arrow gets its memory

# isort: split
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from benchmarks.bucket import BUCKET, REGION, etag, image
from fruit_features import datasets, history, inventory, outputs
from fruit_features.checksums import FileChecksums
from fruit_features.model import HDF5_SIGNATURE, weights_model_id
from fruit_features.run import Plan, Run

ROWS, COMPONENTS = 2_000, 40  # of a file of features, as extract_features writes it; of a vector
VECTORS = 64 * 2**20 // (4 * COMPONENTS)  # of a file of them, as reduce_dimensions writes it


def make_run(name: str) -> Run:
    return Run.from_params({"bucket": BUCKET, "weights": f"s3://{BUCKET}/weights.h5"}, name)


def write_images(file: Path, images: int, rows: range, schema: pa.Schema, **values: Any) -> pa.Table:
    """Write rows of one dataset: the images of these numbers, each with the same values; return them."""
    found = [image(number, images) for number in rows]
    columns = {
        "path": pa.array([f"s3://{BUCKET}/{key}" for key, _ in found]),
        "label": pa.array([key.split("/")[1] for key, _ in found]),
        "etag": pa.array([etag for _, etag in found]),
        **{name: repeated(value, len(found)) for name, value in values.items()},
    }
    table = pa.table(
        [columns.get(name, pa.nulls(len(found), schema.field(name).type)) for name in schema.names], schema
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd", row_group_size=4096)
    return table


def stored(file: Path) -> dict[str, Any]:
    """Return what a step says of a file's bytes."""
    return {"size": file.stat().st_size, "etag": etag(file).strip('"')}


def facts(file: Path, rows: pa.Table) -> dict[str, Any]:
    """Return what a step says of a file with these rows."""
    found = FileChecksums()
    for batch in rows.to_batches(16 * 1024):
        found.add(batch)
    return stored(file) | {"rows": found.rows, "images": found.images, "content": found.content}


def repeated(value: str | list[float], rows: int) -> pa.Array:
    """Return a column of one text, or of lists of one number."""
    if isinstance(value, str):
        return pa.repeat(value, rows)
    numbers = pa.repeat(pa.scalar(value[0], pa.float32()), rows * len(value))
    return pa.ListArray.from_arrays(pa.array(range(0, len(numbers) + 1, len(value)), pa.int32()), numbers)


def numbers(images: int, files: int) -> Iterator[tuple[int, range]]:
    for number in range(files):
        yield number, range(number * images // files, (number + 1) * images // files)


def write_history(folder: Path, images: int, runs: int, model_id: str) -> None:
    """Write what earlier runs have left: features of all images, and no rejects."""
    said: dict[int, dict[str, Any]] = {run: {} for run in range(runs)}
    values = {"model_id": model_id, "features": [0.5] * (1280 if runs == 1 else 1)}

    def write(number: int, rows: range) -> None:
        file = folder / f"features/run={number % runs}/part-{number:05}.parquet"
        said[number % runs][file.name] = facts(file, write_images(file, images, rows, datasets.FEATURES, **values))

    with ThreadPoolExecutor(2) as pool:  # the 50 GB of ten million images take twenty minutes otherwise
        list(pool.map(write, *zip(*numbers(images, max(runs, -(-images // ROWS))), strict=True)))
    for run, files in said.items():
        for finished, written in (("features", files), ("rejects", {})):
            marker = folder / f"{finished}/run={run}/_SUCCESS"
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text(json.dumps({"model_id": model_id, "files": written}))


def write_results(folder: Path, images: int, run: Run, model_id: str) -> None:
    """Write what a run on all images would have left, beside its features."""
    written = {}
    for number, rows in numbers(images, -(-images // VECTORS)):
        file = folder / f"results/run={run.name}/pca/part-{number:05}.parquet"
        written[file.name] = facts(
            file, write_images(file, images, rows, datasets.PCA, features_pca=[0.5] * COMPONENTS)
        )
    (folder / f"results/run={run.name}/pca/_SUCCESS").touch()
    figures = {"components": COMPONENTS, "variance_curve": [0.0] * (COMPONENTS - 1) + [0.9]}
    figures |= {"rejects_by_reason": {}, "explained_variance": 0.9, "written": {"pca": written}}
    (folder / f"results/run={run.name}/report.json").write_text(json.dumps(figures))
    (folder / f"runs/{run.name}").mkdir(parents=True, exist_ok=True)
    (folder / f"runs/{run.name}/model.json").write_text(json.dumps({"model_id": model_id}))


def main(what: str, folder: str, images: str, runs: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    (Path(folder) / "weights.h5").write_bytes(HDF5_SIGNATURE + b"weights")
    hook, run, number = S3Hook(region_name=REGION), make_run("next" if int(runs) else "0"), int(images)
    model_id = weights_model_id(hook, run.settings.weights)
    started = time.monotonic()
    if what == "history":
        write_history(Path(folder), number, int(runs), model_id)
        history.extend_ledger(hook, run.layout)
    elif what == "results":
        write_results(Path(folder), number, make_run("0"), model_id)
    elif what == "find":
        inventory.find_new(hook, run)
    else:
        plan = Plan(
            images=number, new=number, model_id=model_id, model_exported=True, pca_model=None, needs_cluster=True
        )
        outputs.check_outputs(hook, make_run("0"), plan)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
