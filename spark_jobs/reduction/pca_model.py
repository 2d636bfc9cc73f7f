"""The fitted PCA as a standard Spark ML model, described by a JSON beside it.

`<uri>` is a PipelineModel of StandardScalerModel and PCAModel: `PipelineModel.load(uri).transform(frame)` turns a vector
column `features` into `features_pca` on any Spark, without this package. `<uri>.json` names the network whose features
it was fitted on, and repeats the numbers for readers without Spark.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyspark
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import SparkSession

from spark_jobs import uris
from spark_jobs.errors import JobError
from spark_jobs.reduction.moments import Moments
from spark_jobs.reduction.pca import Pca, fit

INPUT, SCALED, OUTPUT = "features", "features_scaled", "features_pca"


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


def save(spark: SparkSession, model: PcaModel, uri: str) -> None:
    """Write the pipeline to `uri` and its description to `<uri>.json`, replacing what is there."""
    to_pipeline(spark, model.pca).write().overwrite().save(uri)
    uris.write_json(description_uri(uri), _description(model))


def load(uri: str, model_id: str | None = None) -> PcaModel:
    """Read what `save` wrote.

    Args:
        uri: of the pipeline.
        model_id: the network whose features the model must have been fitted on; None for any.

    Raises:
        JobError: there is no such model, no description beside it, or it is of another network.
    """
    description = uris.read_json(description_uri(uri))
    pca = _load_pca(uri)
    try:
        origin = {name: description[name] for name in ("model_id", "rows", "run")}
        model = PcaModel(pca, cumulative_variance=description["variance_curve"], **origin)
    except (KeyError, TypeError) as error:
        raise JobError(f"{description_uri(uri)}: not the description of a model: no {error}") from error
    if model_id is not None and model.model_id != model_id:
        raise JobError(f"model {uri} was fitted on features of {model.model_id}, these are of {model_id}")
    return model


def _load_pca(uri: str) -> Pca:
    try:
        pipeline = PipelineModel.load(uri)
    except (PySparkException, Py4JJavaError) as error:
        reason = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
        raise JobError(f"model {uri}: cannot be loaded: {reason}") from error
    match pipeline.stages:
        case [StandardScalerModel() as scaler, PCAModel() as reduction]:
            return Pca(
                mean=scaler.mean.toArray(),
                scale=scaler.std.toArray(),
                components=reduction.pc.toArray(),
                explained_variance_ratio=reduction.explainedVariance.toArray(),
            )
        case stages:
            names = [type(stage).__name__ for stage in stages]
            raise JobError(f"model {uri}: not a standardization and a PCA, but {names}")


def description_uri(uri: str) -> str:
    """Return the URI of the JSON that describes the model at `uri`."""
    return f"{uris.normalize(uri)}.json"


def to_pipeline(spark: SparkSession, pca: Pca) -> PipelineModel:
    """Return `pca` as Spark ML's own transformers.

    Spark's Python API can only fit such models, not build one from numbers. The constructors called here are those that
    Spark's own readers use: `private[ml]` in Scala, public in bytecode, the same from Spark 2.0 to 4.0.
    """
    context = spark.sparkContext
    jvm: Any = context._jvm  # noqa: SLF001 - the only way to these constructors
    feature = jvm.org.apache.spark.ml.feature

    def java(value: DenseVector | DenseMatrix) -> Any:
        return _py2java(context, value)

    scaler = feature.StandardScalerModel(
        "features_standardization", java(DenseVector(pca.scale)), java(DenseVector(pca.mean))
    )
    scaler.set("withMean", True)
    scaler.set("withStd", True)
    scaler.setInputCol(INPUT).setOutputCol(SCALED)

    rows, columns = pca.components.shape
    matrix = DenseMatrix(rows, columns, pca.components.ravel(order="F"))
    reduction = feature.PCAModel("features_pca", java(matrix), java(DenseVector(pca.explained_variance_ratio)))
    reduction.set("k", pca.n_components)
    reduction.setInputCol(SCALED).setOutputCol(OUTPUT)
    return PipelineModel([StandardScalerModel(scaler), PCAModel(reduction)])


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
