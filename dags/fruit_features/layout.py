"""Where everything lies in S3: the pipeline's folders in one bucket, the user's images there or in another, apart from them."""

import re
from dataclasses import dataclass

from fruit_features.image_keys import ImageKeys
from fruit_features.settings import ConfigError, RunSettings

OWN_FOLDERS = ("artifacts", "models", "runs", "features", "rejects", "results", "logs")


@dataclass(frozen=True)
class Location:
    """An object or a folder in S3. A folder's key ends without a slash."""

    bucket: str
    key: str

    def __truediv__(self, name: str) -> "Location":
        return Location(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return self.uri

    @property
    def uri(self) -> str:
        """Return the s3:// URI."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def path(self) -> str:
        """Return `bucket/key`, as Arrow's filesystem names it."""
        return f"{self.bucket}/{self.key}"


def run_name(run_id: str) -> str:
    """Return the Airflow run_id as a folder name: Hadoop paths dislike `:` and `+`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", run_id)


class RunLayout:
    """The locations that a run reads and writes. Each run writes to folders of its own.

    Attributes:
        images: the user's images; never written.
        image_keys: which keys of their bucket are images.
        artifacts: job scripts and bootstrap files, each below the hash of its content.
        models: exported networks, by model_id.
        runs, features, rejects, results: the roots of all runs' folders.
        logs: EMR's LogUri.
        run_folder: this run's own, for what only it needs.
        inventory, manifest: Parquet, all images and those that this run must extract.
        model_pointer: JSON, which network this run uses.
        progress: JSON that the running step keeps up to date.
        run_features, run_rejects, run_results: this run's folders below the roots.
        latest: JSON, the pointer to the latest good results.
        published: JSON, this run's copy of `latest`, which says that it was published.
        published_inventory: this run's copy of `inventory`, once it is published: what is in `runs` may expire.
        ledger: what all runs have done, in one file.

    Raises:
        ConfigError: the images prefix would take the pipeline's own files for images, or the other way round.
    """

    def __init__(self, settings: RunSettings, run: str) -> None:
        top = Location(settings.bucket, (settings.output_prefix or "").strip("/"))
        self.images = Location(settings.images_bucket or settings.bucket, settings.images_prefix.strip("/"))
        self.image_keys = ImageKeys(self.images_prefix, settings.include or (), settings.exclude or ())
        self.artifacts, self.models, self.runs, self.features, self.rejects, self.results, self.logs = (
            top / folder for folder in OWN_FOLDERS
        )
        self.run_folder = self.runs / run
        self.published_inventory, self.inventory = self.inventories(run)
        self.manifest = self.run_folder / "manifest" / "manifest.parquet"
        self.model_pointer = self.run_folder / "model.json"
        self.progress = self.run_folder / "progress.json"
        self.run_features = self.features / f"run={run}"
        self.run_rejects = self.rejects / f"run={run}"
        self.run_results = self.results / f"run={run}"
        self.published = self.run_results / "published.json"
        self.latest = self.results / "latest.json"
        self.ledger = self.results / "ledger"
        if self.images.bucket == top.bucket:
            self._check_apart(top)

    def _check_apart(self, top: Location) -> None:
        for folder in OWN_FOLDERS:
            own = f"{(top / folder).key}/"
            if own.startswith(self.images_prefix) and not self.image_keys.skip(own):
                elsewhere = ", or move output_prefix elsewhere" if self.images_prefix else ""
                pattern = f"{top.key or folder}/*".removeprefix(self.images_prefix)
                raise ConfigError(
                    f"images_prefix {self.images_prefix!r} would take the pipeline's own {own!r} for images: give the images "
                    f"a prefix of their own{elsewhere}, or exclude {pattern!r}"
                )
            if self.images_prefix.startswith(own):
                raise ConfigError(
                    f"images_prefix {self.images_prefix!r} lies in the pipeline's own {own!r}, which would take the images for "
                    "its files: give the images a prefix of their own, or move output_prefix elsewhere"
                )

    def inventories(self, run: str) -> tuple[Location, Location]:
        """Return where a run's inventory is for good, once it is published, and where it is at first."""
        return self.results / f"run={run}" / "inventory.parquet", self.runs / run / "inventory" / "inventory.parquet"

    @property
    def images_prefix(self) -> str:
        """Return the prefix of the images' keys: it ends in a slash, or is empty for the whole bucket."""
        return f"{self.images.key}/" if self.images.key else ""

    @property
    def extraction_markers(self) -> list[Location]:
        """Return the objects that say that this run's extraction is finished."""
        return [folder / "_SUCCESS" for folder in (self.run_features, self.run_rejects)]

    @property
    def success_markers(self) -> list[Location]:
        """Return the objects that say that this run's datasets are finished."""
        return [*self.extraction_markers, self.run_results / "pca" / "_SUCCESS"]

    @property
    def output_prefix(self) -> str:
        """Return the prefix of the pipeline's own keys: it ends in a slash, or is empty for the bucket's top."""
        return self.results.key.removesuffix("results")
