"""The datasets that a reduction writes."""

from dataclasses import dataclass

from pyspark import SparkContext

from spark_jobs import uris
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import project
from spark_jobs.reduction.feature_rows import Features
from spark_jobs.reduction.pca_model import PcaModel
from spark_jobs.stored import Facts

Written = dict[str, dict[str, Facts]]


@dataclass(frozen=True)
class Results:
    """The output folder.

    Attributes:
        output: its URI.
    """

    output: str

    def save_model(self, model: PcaModel) -> dict[str, Facts]:
        """Write `model/` and `model.json`; return what is known of the files of `model/`, by name."""
        return pca_model.save(model, uris.join(self.output, "model"))

    def save_vectors(self, context: SparkContext, features: Features, model: PcaModel) -> dict[str, Facts]:
        """Project the features and write `pca/`; return what is known of its files and their rows, by name."""
        return project(context, features, model.pca, uris.join(self.output, "pca"))

    def sizes(self, features: Features, written: Written) -> dict[str, int]:
        """Return the sizes of the files of features and of what was written, in bytes and files."""
        sizes = {folder: sum(int(facts["size"]) for facts in files.values()) for folder, files in written.items()}
        return {
            "features_bytes": sum(file.size for file in features.files),
            "pca_bytes": sizes["pca"],
            "pca_files": len(written["pca"]),
            "model_bytes": sizes["model"],
        }
