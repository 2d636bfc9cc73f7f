"""The fitted reduction as a standard Spark ML model, with a JSON beside it that says what it is.

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

from spark_jobs import storage
from spark_jobs.pca import Pca
from spark_jobs.sessions import JobError

INPUT, SCALED, OUTPUT = "features", "features_scaled", "features_pca"


@dataclass(frozen=True)
class FittedModel:
    """A reduction and where it comes from.

    Attributes:
        pca: the numbers.
        model_id: the network whose features it was fitted on.
        rows: how many it was fitted on.
        curve: cumulated share of variance of 1, 2, … components, further than `pca` goes.
        run: the run that fitted it.
    """

    pca: Pca
    model_id: str
    rows: int
    curve: list[float]
    run: str


def save(spark: SparkSession, fitted: FittedModel, uri: str) -> None:
    """Write the pipeline to `uri` and its description to `<uri>.json`, replacing what is there."""
    to_pipeline(spark, fitted.pca).write().overwrite().save(uri)
    storage.write_json(description_uri(uri), _description(fitted))


def load(uri: str) -> FittedModel:
    """Read what `save` wrote.

    Raises:
        JobError: there is no such model, or no description beside it.
    """
    description = storage.read_json(description_uri(uri))
    try:
        pipeline = PipelineModel.load(uri)
    except (PySparkException, Py4JJavaError) as error:
        reason = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
        raise JobError(f"model {uri}: cannot be loaded: {reason}") from error
    match pipeline.stages:
        case [StandardScalerModel() as scaler, PCAModel() as reduction]:
            pca = Pca(
                mean=scaler.mean.toArray(),
                deviation=scaler.std.toArray(),
                components=reduction.pc.toArray(),
                explained=reduction.explainedVariance.toArray(),
            )
        case stages:
            names = [type(stage).__name__ for stage in stages]
            raise JobError(f"model {uri}: not a standardization and a PCA, but {names}")
    try:
        origin = {name: description[name] for name in ("model_id", "rows", "run")}
        return FittedModel(pca, curve=description["variance_curve"], **origin)
    except (KeyError, TypeError) as error:
        raise JobError(f"{description_uri(uri)}: not the description of a model: no {error}") from error


def description_uri(uri: str) -> str:
    """Return where the JSON of the model at `uri` is."""
    return f"{storage.normalize(uri)}.json"


def to_pipeline(spark: SparkSession, pca: Pca) -> PipelineModel:
    """Return `pca` as Spark ML's own transformers.

    Spark's Python API can only fit such models, not make one from numbers. The constructors called here are the ones
    Spark's own readers use; `private[ml]` in Scala, public in bytecode, the same from Spark 2.0 to 4.0.
    """
    context = spark.sparkContext
    jvm: Any = context._jvm
    feature = jvm.org.apache.spark.ml.feature

    def java(value: DenseVector | DenseMatrix) -> Any:
        return _py2java(context, value)

    scaler = feature.StandardScalerModel(
        "features_standardization", java(DenseVector(pca.deviation)), java(DenseVector(pca.mean))
    )
    scaler.set("withMean", True)
    scaler.set("withStd", True)
    scaler.setInputCol(INPUT).setOutputCol(SCALED)

    rows, columns = pca.components.shape
    matrix = DenseMatrix(rows, columns, pca.components.ravel(order="F"))
    reduction = feature.PCAModel("features_pca", java(matrix), java(DenseVector(pca.explained)))
    reduction.set("k", pca.size)
    reduction.setInputCol(SCALED).setOutputCol(OUTPUT)
    return PipelineModel([StandardScalerModel(scaler), PCAModel(reduction)])


def _description(fitted: FittedModel) -> dict[str, Any]:
    pca = fitted.pca
    return {
        "model_id": fitted.model_id,
        "run": fitted.run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spark": pyspark.__version__,
        "rows": fitted.rows,
        "features": len(pca.mean),
        "components": pca.size,
        "explained_variance": float(pca.explained.sum()),
        "explained_variances": pca.explained.tolist(),
        "variance_curve": fitted.curve,
        "constant_features": np.flatnonzero(pca.deviation == 0).tolist(),
        "mean": pca.mean.tolist(),
        "scale": pca.deviation.tolist(),
        "convention": "((features - mean) / scale, 0 where scale is 0) @ components, as in the PipelineModel beside this",
    }
