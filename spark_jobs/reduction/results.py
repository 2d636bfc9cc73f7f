"""The datasets that a reduction writes."""

import math
from dataclasses import dataclass

from pyspark.sql import DataFrame

from spark_jobs import uris
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import project
from spark_jobs.reduction.pca_model import PcaModel

FILE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Results:
    """The output folder.

    Attributes:
        output: its URI.
    """

    output: str

    def save_model(self, model: PcaModel) -> None:
        """Write `model/` and `model.json`."""
        pca_model.save(model, uris.join(self.output, "model"))

    def save_vectors(self, features: DataFrame, model: PcaModel, rows: int) -> None:
        """Project the `rows` rows of `features` and write `pca/`."""
        write_vectors(project(features, model.pca), rows, model.pca.n_components, uris.join(self.output, "pca"))

    def sizes(self, features_uri: str) -> dict[str, int]:
        """Return the sizes of the features read and of what was written, in bytes and files."""
        written = uris.list_files(uris.join(self.output, "pca"))
        vectors = [size for name, size in written.items() if name.endswith(".parquet")]
        return {
            "features_bytes": sum(uris.list_files(features_uri).values()),
            "pca_bytes": sum(vectors),
            "pca_files": len(vectors),
            "model_bytes": sum(uris.list_files(uris.join(self.output, "model")).values()),
        }


def write_vectors(vectors: DataFrame, rows: int, n_components: int, uri: str) -> None:
    """Write Parquet in files of about `FILE_BYTES`, in order of path within each."""
    files = max(1, math.ceil(rows * n_components * 4 / FILE_BYTES))
    spread = vectors.repartition(1) if files == 1 else vectors.repartition(files, "path")
    spread.sortWithinPartitions("path").write.mode("overwrite").parquet(uri)
