"""The datasets that a reduction writes."""

from collections.abc import Mapping
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

    def save_model(self, model: PcaModel) -> None:
        """Write `model/` and `model.json`."""
        pca_model.save(model, uris.join(self.output, "model"))

    def save_vectors(self, context: SparkContext, features: Features, model: PcaModel) -> dict[str, Facts]:
        """Project the features and write `pca/`; return what is known of the rows of its files, by name."""
        return project(context, features, model.pca, uris.join(self.output, "pca"))

    def written(self, vectors: Mapping[str, Facts]) -> Written:
        """Return the files of `pca/` and of `model/`, by folder and name; no marks and no checksums of Hadoop's.

        Args:
            vectors: what `save_vectors` has returned.
        """
        return {"pca": self._files("pca", vectors), "model": self._files("model", {})}

    def _files(self, folder: str, rows: Mapping[str, Facts]) -> dict[str, Facts]:
        found = uris.list_stored(uris.join(self.output, folder))
        return {
            name: {**stored._asdict(), **rows.get(name, {})}
            for name, stored in found.items()
            if not name.rpartition("/")[2].startswith(("_", "."))
        }

    def sizes(self, features: Features, written: Written) -> dict[str, int]:
        """Return the sizes of the files of features and of what was written, in bytes and files."""
        sizes = {folder: sum(int(facts["size"]) for facts in files.values()) for folder, files in written.items()}
        return {
            "features_bytes": sum(file.size for file in features.files),
            "pca_bytes": sizes["pca"],
            "pca_files": len(written["pca"]),
            "model_bytes": sizes["model"],
        }
