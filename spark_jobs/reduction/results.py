"""The datasets that a reduction writes."""

from dataclasses import dataclass

from pyspark import SparkContext

from spark_jobs import uris
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import project
from spark_jobs.reduction.feature_rows import Features
from spark_jobs.reduction.pca_model import PcaModel


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

    def save_vectors(self, context: SparkContext, features: Features, model: PcaModel) -> None:
        """Project the features and write `pca/`."""
        project(context, features, model.pca, uris.join(self.output, "pca"))

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
