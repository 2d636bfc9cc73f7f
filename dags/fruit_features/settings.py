"""What people choose for each run, declared once, here and in `cluster_settings`.

Types, defaults and bounds make the trigger form and check every value.

A field of `RunSettings` becomes a Param of the DAG through its JSON schema; a value from the form, the REST API or `--conf`
becomes a field again, checked by the same declaration.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Self

from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fruit_features.cluster_settings import ClusterSettings
from fruit_features.config import (
    DEFAULT_APPROVAL_ABOVE_USD,
    DEFAULT_BUCKET,
    DEFAULT_EXCLUDE,
    DEFAULT_IMAGES_BUCKET,
    DEFAULT_IMAGES_PREFIX,
    DEFAULT_INCLUDE,
    DEFAULT_INVENTORY_SOURCE,
    DEFAULT_MAX_IMAGES_PER_RUN,
    DEFAULT_OUTPUT_PREFIX,
    DEFAULT_WEIGHTS,
)
from fruit_features.form import BOUNDS, to_param, to_schemas

IMAGENET = "imagenet"
BUCKET_NAME = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
REQUIRED: Any = ...  # pydantic's sign for a field without a default


class ConfigError(AirflowFailException):
    """Invalid setting, named by the message; not retried."""


class WorkSettings(BaseModel):
    """What is to be done, and where it is read and written."""

    # Without a default the form asks for it, and a run without it is refused.
    bucket: str = Field(
        REQUIRED if DEFAULT_BUCKET is None else DEFAULT_BUCKET,
        pattern=BUCKET_NAME,
        title="Bucket",
        description="S3 bucket for everything the pipeline writes. It also holds the images, unless images_bucket names another.",
    )
    images_bucket: str | None = Field(
        DEFAULT_IMAGES_BUCKET,
        pattern=BUCKET_NAME,
        title="Images: bucket",
        description="Bucket that holds the images, if it is another one. It must be in the same region, may belong to another "
        "account, and is only read.",
    )
    images_prefix: str = Field(
        DEFAULT_IMAGES_PREFIX,
        title="Images: prefix",
        description="Folder with one folder per variety, e.g. images/Apple Pink Lady/104_100.jpg. A slash alone means the top of "
        "the bucket.",
    )
    include: tuple[str, ...] | None = Field(
        DEFAULT_INCLUDE,
        title="Images: only these",
        description="Patterns of keys below the prefix, one per line, as in aws s3 cp: * matches any characters, slashes included, "
        "? a single character, [ab] a or b. Example: Apple*/*.jpg. Empty: all images.",
    )
    exclude: tuple[str, ...] | None = Field(
        DEFAULT_EXCLUDE,
        title="Images: not these",
        description="Patterns of the same kind, for objects to leave out, e.g. logs/*. A folder that is left out is not even listed.",
    )
    inventory_source: str | None = Field(
        DEFAULT_INVENTORY_SOURCE,
        pattern=r"^s3://[^/]+/.+",
        title="Images: S3 Inventory",
        description="manifest.json of an S3 Inventory of the images' bucket, or the folder of its configuration. It is read instead "
        "of listing the bucket, for ten million images and more. A later run finds images that are newer. Empty: a listing.",
    )
    output_prefix: str | None = Field(
        DEFAULT_OUTPUT_PREFIX,
        # spark-submit cuts its own options at commas and # and takes what holds a space for no URI; Hadoop expands globs.
        pattern=r"^[A-Za-z0-9_./=-]*$",
        title="Outputs: prefix",
        description="Prefix of artifacts/, models/, runs/, features/, rejects/, results/ and logs/. Empty: the top of the bucket. "
        "Letters, digits, and . _ = - /",
    )
    weights: str = Field(
        DEFAULT_WEIGHTS,
        pattern=r"^(imagenet|s3://[^/?#]+/[^?#]+)$",
        title="Weights",
        description="imagenet (Keras downloads them on the primary node), or the s3:// URI of a Keras .h5 file without the top.",
    )
    variance: float = Field(
        0.8,
        gt=0,
        le=1,
        title="Variance",
        description="Share of the variance that the components must explain, above 0 and at most 1.",
    )
    max_reject_share: float = Field(
        0.05,
        ge=0,
        le=1,
        title="Largest share of rejects",
        description="A run fails if a larger share of all images cannot be used. Its rejects are written in any case.",
    )
    refit: bool = Field(
        True,
        title="Refit the PCA",
        description="Off: project onto the components of the latest published model, so that vectors stay comparable.",
    )
    dry_run: bool = Field(
        False,
        title="Dry run",
        description="On: only report what the run would do and cost, in its note and in the log of find_new_images. Nothing is "
        "written, and no cluster is created.",
    )
    full_refresh: bool = Field(
        False,
        title="Extract all images again",
        description="On: ignore earlier features and rejects. Costs as much as a first run.",
    )
    retry_rejects: bool = Field(
        False,
        title="Try rejects again",
        description="On: images that earlier runs rejected, for any reason, count as new.",
    )
    max_images_per_run: int | None = Field(
        DEFAULT_MAX_IMAGES_PER_RUN,
        ge=1,
        title="Most new images in a run",
        description="The oldest are taken first, and later runs take the rest. Empty: all. With new weights, nothing is published "
        "until no image is left.",
    )
    approval_above_usd: float | None = Field(
        DEFAULT_APPROVAL_ABOVE_USD,
        ge=0,
        title="Needs approval above, in USD",
        description="A run whose estimate is higher, or unknown, waits for approval under Required Actions. Empty: no approval.",
    )
    max_cost_usd: float | None = Field(
        None,
        gt=0,
        title="Highest cost, in USD",
        description="A run whose estimate is higher is refused before a cluster is created. Empty: no limit.",
    )

    @field_validator("output_prefix")
    @classmethod
    def _is_a_path(cls, prefix: str | None) -> str | None:
        # Hadoop and Arrow rewrite such paths, each in its way, and S3 does not.
        if (path := (prefix or "").strip("/")) and {"", ".", ".."} & set(path.split("/")):
            raise ValueError("its parts between slashes must be names, neither empty nor . or ..")
        return prefix

    @field_validator("include", "exclude")
    @classmethod
    def _begin_below_the_prefix(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in patterns or ():
            if not pattern or pattern.startswith(("/", "s3://")):
                raise ValueError(
                    f"{pattern!r} can match nothing: a pattern begins with what follows images_prefix, e.g. Apple*/*.jpg"
                )
        return patterns

    @model_validator(mode="after")
    def _slices_end(self) -> Self:
        for name in ("full_refresh", "retry_rejects"):
            if self.max_images_per_run is not None and getattr(self, name):
                raise ValueError(
                    f"{name} is set with max_images_per_run: each run would take the same images again; leave one of them out"
                )
        return self


class RunSettings(ClusterSettings, WorkSettings):
    """The params of a run, in the order of the form: the work's, then the cluster's."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Run settings")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "RunSettings":
        """Check the params of a run.

        Raises:
            ConfigError: naming each param that cannot work, or the nearest name of one that does not exist.
        """
        try:
            return cls(**params)
        except ValidationError as invalid:
            raise ConfigError("; ".join(_explain(error) for error in invalid.errors())) from None


def _explain(error: Any) -> str:
    """Say what is wrong with one param, from an item of pydantic's `errors()`."""
    if not error["loc"]:  # of a validator of several params
        return str(error["ctx"]["error"])
    name, value = error["loc"][0], error["input"]
    schema = SCHEMAS.get(name, {})
    if error["type"] == "extra_forbidden":
        (nearest, *_) = [*difflib.get_close_matches(str(name), PARAMS, n=1), None]
        return f"there is no param {name!r}" + (f"; did you mean {nearest!r}?" if nearest else "")
    if error["type"] == "missing":
        return f"{name} is not set: it has no default"
    if error["type"] == "value_error":  # of a validator above
        return f"{name} is {list(value) if isinstance(value, tuple) else value}: {error['ctx']['error']}"
    wanted = " and ".join(f"{words} {schema[key]:g}" for key, words in BOUNDS.items() if key in schema)
    if wanted and error["type"].startswith(("greater_than", "less_than")):
        return f"{name} is {value}: it must be {wanted}, e.g. {schema_default(name)}"
    return f"{name} is {value!r}: {error['msg']}"


def schema_default(name: str) -> Any:
    """Return a param's default."""
    return RunSettings.model_fields[name].default


SCHEMAS = to_schemas(RunSettings)
PARAMS = {name: to_param(schema) for name, schema in SCHEMAS.items()}
