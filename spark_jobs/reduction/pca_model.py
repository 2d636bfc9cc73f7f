"""The fitted PCA as a standard Spark ML model, described by a JSON beside it.

`<uri>` is a PipelineModel of StandardScalerModel and PCAModel: `PipelineModel.load(uri).transform(frame)` turns a vector
column `features` into `features_pca` on any Spark, without this package. `<uri>.json` names the network whose features
it was fitted on, and repeats the numbers for readers without Spark.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyspark

from spark_jobs import uris
from spark_jobs.datasets import is_data
from spark_jobs.errors import JobError
from spark_jobs.reduction import folders
from spark_jobs.reduction.moments import Moments
from spark_jobs.reduction.pca import Pca, fit
from spark_jobs.reduction.pipeline_files import pipeline_files
from spark_jobs.reduction.pipeline_reader import read_pipeline
from spark_jobs.stored import Facts


@dataclass(frozen=True)
class PcaModel:
    """A fitted PCA and its origin.

    Attributes:
        pca: standardization and components.
        model_id: the network whose features it was fitted on.
        rows: number of rows it was fitted on.
        cumulative_variance: share of variance of 1, 2, … components together, beyond those that `pca` keeps.
        run: the run that fitted it.
    """

    pca: Pca
    model_id: str
    rows: int
    cumulative_variance: list[float]
    run: str


def fit_model(
    moments: Moments, model_id: str, run: str, variance: float | None = None, components: int | None = None
) -> PcaModel:
    """Fit a PCA; arguments and errors are those of `pca.fit`, with the network and the run for the record."""
    found = fit(moments, variance, components)
    return PcaModel(found.pca, model_id, moments.count, found.cumulative_variance.tolist(), run)


def save(model: PcaModel, uri: str) -> dict[str, Facts]:
    """Write the pipeline to `uri` and its description to `<uri>.json`, instead of what an earlier attempt has left there.

    Returns what is known of the pipeline's files, by name.

    Raises:
        JobError: a file cannot be written, or is not there as it was written; a file of another program is in the folder.
    """
    content = pipeline_files(model.pca)
    folders.clear(uri, content.__contains__)
    with ThreadPoolExecutor() as pool:
        stored = pool.map(lambda name: uris.write_bytes(uris.join(uri, name), content[name]), content)
        written = dict(zip(content, stored, strict=True))
    folders.clear(uri, content.__contains__, written)
    uris.write_json(description_uri(uri), _description(model))
    return {name: dict(found._asdict()) for name, found in written.items() if is_data(name)}


def load(uri: str, model_id: str | None = None) -> PcaModel:
    """Read what `save` has written, or Spark ML, beside a description.

    Args:
        uri: of the pipeline.
        model_id: the network whose features the model must have been fitted on; None for any.

    Raises:
        JobError: there is no such model, no description beside it, or it is of another network.
    """
    description = uris.read_json(description_uri(uri))
    pca = read_pipeline(uri)
    try:
        origin = {name: description[name] for name in ("model_id", "rows", "run")}
        model = PcaModel(pca, cumulative_variance=description["variance_curve"], **origin)
    except (KeyError, TypeError) as error:
        raise JobError(f"{description_uri(uri)}: not the description of a model: no {error}") from error
    if model_id is not None and model.model_id != model_id:
        raise JobError(f"model {uri} was fitted on features of {model.model_id}, these are of {model_id}")
    return model


def description_uri(uri: str) -> str:
    """Return the URI of the JSON that describes the model at `uri`."""
    return f"{uris.normalize(uri)}.json"


def _description(model: PcaModel) -> dict[str, Any]:
    pca = model.pca
    return {
        "model_id": model.model_id,
        "run": model.run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spark": pyspark.__version__,
        "rows": model.rows,
        "features": len(pca.mean),
        "components": pca.n_components,
        "explained_variance": float(pca.explained_variance_ratio.sum()),
        "explained_variances": pca.explained_variance_ratio.tolist(),
        "variance_curve": model.cumulative_variance,
        "constant_features": np.flatnonzero(pca.scale == 0).tolist(),
        "mean": pca.mean.tolist(),
        "scale": pca.scale.tolist(),
        "convention": "((features - mean) / scale, 0 where scale is 0) @ components, as in the PipelineModel beside this",
    }
