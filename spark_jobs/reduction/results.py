"""The datasets that a reduction writes."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark import SparkContext

from spark_jobs import uris
from spark_jobs.reduction import pca_model
from spark_jobs.reduction.distributed import Facts, project
from spark_jobs.reduction.feature_rows import Features
from spark_jobs.reduction.pca_model import PcaModel

Written = dict[str, dict[str, Facts]]


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

    def save_vectors(self, context: SparkContext, features: Features, model: PcaModel) -> dict[str, Facts]:
        """Project the features and write `pca/`; return what is in its files, by name."""
        return project(context, features, model.pca, uris.join(self.output, "pca"))

    def written(self, vectors: Mapping[str, Facts]) -> Written:
        """Return the files of `pca/` and of `model/`, by folder and name; no marks and no checksums of Hadoop's.

        Args:
            vectors: what is known of the rows of the files of `pca/`.
        """
        found = {folder: uris.list_stored(uris.join(self.output, folder)) for folder in ("pca", "model")}
        return {
            folder: {
                name: {**stored._asdict(), **(vectors.get(name, {}) if folder == "pca" else {})}
                for name, stored in files.items()
                if not name.rpartition("/")[2].startswith(("_", "."))
            }
            for folder, files in found.items()
        }

    def sizes(self, features_uri: str, written: Written) -> dict[str, int]:
        """Return the sizes of the features read and of what was written, in bytes and files."""
        sizes = {folder: sum(int(facts["size"]) for facts in files.values()) for folder, files in written.items()}
        return {
            "features_bytes": sum(uris.list_files(features_uri).values()),
            "pca_bytes": sizes["pca"],
            "pca_files": len(written["pca"]),
            "model_bytes": sizes["model"],
        }
