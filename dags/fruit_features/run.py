"""One run of the DAG: what was asked of it, where it reads and writes, and what it has to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from fruit_features.layout import RunLayout, run_name
from fruit_features.settings import RunSettings


@dataclass(frozen=True)
class Run:
    """What every task needs to know.

    Attributes:
        run_id: of Airflow.
        name: the same, as a folder name.
        settings: the params.
        layout: the places in S3.
    """

    run_id: str
    name: str
    settings: RunSettings
    layout: RunLayout

    @classmethod
    def from_params(cls, params: Mapping[str, Any], run_id: str) -> "Run":
        """Check the params of a run and freeze them.

        Raises:
            ConfigError: naming the params that cannot work, alone or together.
        """
        name, settings = run_name(run_id), RunSettings.from_params(params)
        return cls(run_id, name, settings, RunLayout(settings, name))


class Plan(BaseModel):
    """What a run has to do: `find_new_images` makes it, later tasks follow it.

    Attributes:
        listed: when listing the images began, by S3's clock (ISO 8601, UTC).
        images: how many images there are.
        new: how many of them this run must extract.
        left: how many new images are left for later runs.
        unfinished: whether the run only extracts: it has another network than the published results, and images are left, so
            that its results would replace those of all images by some.
        model_id: of the run's network; None before Keras's own weights were ever exported.
        model_exported: whether that network is in S3 already.
        pca_model: URI of the fitted PCA to keep; None to fit anew.
        previous: URI of the published results, which the report compares with; None before anything was published.
        needs_cluster: whether there is anything to do. Also without new images, when the published results do not show the
            present ones: images were deleted, an earlier run failed after the extraction, another variance was asked for.
        would_need_cluster: the same of a dry run, which itself needs none.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    listed: str = ""
    images: int
    new: int
    left: int = 0
    unfinished: bool = False
    model_id: str | None
    model_exported: bool
    pca_model: str | None
    previous: str | None = None
    needs_cluster: bool
    would_need_cluster: bool = False
