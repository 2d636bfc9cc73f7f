"""A PCA of the files of a Spark ML PipelineModel, read without Spark.

`PipelineModel.load` starts Spark SQL, which takes seconds, and Hadoop's own S3 client, which knows none of the settings of ours.
The files may be those of `pipeline_files` or of Spark ML's own `save`: part files of any name, of which all but one may be
empty, sparse vectors, a matrix in either order.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from spark_jobs import uris
from spark_jobs.datasets import is_data
from spark_jobs.errors import DamagedFileError, JobError
from spark_jobs.reduction.moments import Floats
from spark_jobs.reduction.pca import Pca

_PIPELINE = "org.apache.spark.ml.PipelineModel"
_STAGES = ["org.apache.spark.ml.feature.StandardScalerModel", "org.apache.spark.ml.feature.PCAModel"]
_SPARSE, _DENSE = 0, 1  # the type of a vector or matrix


def read_pipeline(uri: str) -> Pca:
    """Read a standardization and a PCA.

    Args:
        uri: of the folder that a PipelineModel was saved to.

    Raises:
        JobError: naming what is missing or damaged; or it is another model.
    """
    files = [uris.join(uri, name) for name in uris.list_files(uri) if is_data(name)]
    pipeline = _Saved(uris.normalize(uri), files)
    if pipeline.kind != _PIPELINE:
        raise JobError(f"model {uri}: not a PipelineModel, but {pipeline.kind}")
    with _reading(pipeline.metadata):
        uids = list(map(str, pipeline.parameters["stageUids"]))
    digits = len(str(len(uids)))
    stages = [_Saved(uris.join(uri, "stages", f"{number:0{digits}}_{uid}"), files) for number, uid in enumerate(uids)]
    if [stage.kind for stage in stages] != _STAGES:
        kinds = [stage.kind.rpartition(".")[2] for stage in stages]
        raise JobError(f"model {uri}: not a standardization and a PCA, but {kinds}")
    return _pca(uri, *stages)


class _Saved:
    """The pipeline or one of its stages.

    Attributes:
        metadata: URI of the file that describes it.
        kind: its class.
        parameters: by name, those with default values included.
    """

    def __init__(self, uri: str, files: Sequence[str]) -> None:
        """Read its description.

        Args:
            uri: of its folder.
            files: URIs of all files of the pipeline.
        """
        self._uri, self._files = uri, files
        parts = self._parts("metadata")
        self.metadata = parts[0]
        content = b"".join(map(uris.read_bytes, parts))
        with _reading(self.metadata):
            document = json.loads(content)
            self.kind = str(document["class"])
            self.parameters: dict[str, Any] = {**document.get("defaultParamMap", {}), **document["paramMap"]}

    def _parts(self, folder: str) -> list[str]:
        place = uris.join(self._uri, folder)
        parts = [file for file in self._files if file.rpartition("/")[0] == place]
        if not parts:
            raise JobError(f"{place}: no file there: not a Spark ML model, or not all of it")
        return parts

    def require(self, **parameters: object) -> None:
        """Raise a `JobError` unless its parameters have these values."""
        for name, value in parameters.items():
            if (found := self.parameters.get(name)) != value:
                raise JobError(f"{self.metadata}: {name} is {found}, not {value}")

    def numbers(self, **columns: Callable[[Any], Floats]) -> list[Floats]:
        """Return what these functions make of the columns of its one row."""
        found: list[list[Floats]] = []
        for file in self._parts("data"):
            content = uris.read_bytes(file)
            with _reading(file):
                table = parquet.ParquetFile(pa.BufferReader(content)).read(list(columns))
                found += [
                    [decode(table[name][row]) for name, decode in columns.items()] for row in range(table.num_rows)
                ]
        if len(found) != 1:
            raise JobError(f"{uris.join(self._uri, 'data')}: {len(found)} rows, not one")
        return found[0]


@contextmanager
def _reading(file: str) -> Iterator[None]:
    """Turn whatever other content than Spark ML's leads to in the block into an error that names the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{file}: not what Spark ML writes: {type(error).__name__}: {error}") from error


def _pca(uri: str, scaler: _Saved, reduction: _Saved) -> Pca:
    mean, scale = scaler.numbers(mean=_vector, std=_vector)
    components, shares = reduction.numbers(pc=_matrix, explainedVariance=_vector)
    width, count = components.shape
    scaler.require(withMean=True, withStd=True)
    reduction.require(k=count, inputCol=scaler.parameters.get("outputCol"))
    if (len(mean), len(scale), len(shares)) != (width, width, count):
        raise JobError(
            f"model {uri}: {len(mean)} means, {len(scale)} deviations, {width} x {count} components and {len(shares)} shares of "
            "variance do not fit together"
        )
    if not all(np.isfinite(numbers).all() for numbers in (mean, scale, components, shares)):
        raise JobError(f"model {uri}: a number is not finite")
    return Pca(mean, scale, components, shares)


def _vector(stored: Any) -> Floats:
    """Return what a struct of Spark's VectorUDT holds."""
    kind, values = stored["type"].as_py(), _array(stored["values"], np.float64)
    if kind == _DENSE:
        return values
    if kind != _SPARSE:
        raise ValueError(f"a vector of type {kind}")
    dense = np.zeros(stored["size"].as_py())
    dense[_array(stored["indices"], np.int32)] = values
    return dense


def _matrix(stored: Any) -> Floats:
    """Return what a struct of Spark's MatrixUDT holds; a PCA's is never sparse."""
    if (kind := stored["type"].as_py()) != _DENSE:
        raise ValueError(f"a matrix of type {kind}")
    shape = stored["numRows"].as_py(), stored["numCols"].as_py()
    return _array(stored["values"], np.float64).reshape(shape, order="C" if stored["isTransposed"].as_py() else "F")


def _array(stored: Any, kind: type[np.generic]) -> npt.NDArray[Any]:
    """Return a list's numbers; NaN where there is none."""
    if not stored.is_valid:
        raise ValueError("a list of numbers is missing")
    return stored.values.to_numpy(zero_copy_only=False).astype(kind, copy=False)
