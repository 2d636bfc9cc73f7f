"""Params become a frozen configuration, or an error that names the param."""

from collections.abc import Callable

import pytest
from airflow.sdk.exceptions import ParamValidationError
from fruit_features.config import PARAMS, ConfigError, RunConfig, run_name

Build = Callable[..., RunConfig]


@pytest.mark.parametrize("variance", [0, -0.1, 1.0001, 80])
def test_variance_outside_its_range_is_named(config: Build, variance: float) -> None:
    with pytest.raises(ConfigError, match=rf"^variance is {variance}: it must be above 0 and at most 1"):
        config(variance=variance)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("variance", 0),
        ("variance", 1.01),
        ("variance", "a lot"),
        ("max_reject_share", -0.1),
        ("weights", "weights.h5"),
        ("weights", "s3://b/w?1.h5"),  # Airflow's parser of S3 URIs would cut it
        ("release_label", "7.13"),
        ("release_label", "emr-6.15.0"),  # no Python 3.11
        ("core_instance_count", 0),
        ("idle_timeout_minutes", 0),
        ("spark_defaults", {"spark.executor.cores": 4}),  # EMR wants strings
    ],
)
def test_the_schemas_refuse_what_cannot_work(param: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        PARAMS[param].resolve(value)


@pytest.mark.parametrize(("param", "value"), [("variance", 1), ("variance", 0.8), ("weights", "s3://b/a b/w.h5")])
def test_the_schemas_let_through_what_works(param: str, value: object) -> None:
    assert PARAMS[param].resolve(value) == value


@pytest.mark.parametrize(
    ("images", "output"),
    [
        ("", ""),  # the whole bucket
        ("features", ""),  # the pipeline's own folder
        ("data", "data/out"),  # the outputs lie inside
    ],
)
def test_outputs_are_never_taken_for_images(config: Build, images: str, output: str) -> None:
    with pytest.raises(ConfigError, match="for images: give the images a prefix of their own"):
        config(images_prefix=images, output_prefix=output)


def test_a_cluster_without_spark_is_refused(config: Build) -> None:
    with pytest.raises(ConfigError, match=r"^applications is \['Hadoop'\]: without Spark no step can run"):
        config(applications=["Hadoop"])


def test_prefixes_may_be_written_with_and_without_slashes(config: Build) -> None:
    assert config(images_prefix="/photos/2026").images_prefix == "photos/2026/"
    assert config(output_prefix="out").uri("models") == "s3://fruits/out/models"
    assert config(output_prefix="").uri("models") == "s3://fruits/models"


def test_run_name_is_safe_in_hadoop_paths() -> None:
    assert run_name("manual__2026-11-22T10:00:00.5+02:00 é") == "manual__2026-11-22T10-00-00.5-02-00--"


def test_a_configuration_cannot_be_changed(config: Build) -> None:
    with pytest.raises(AttributeError):
        config().variance = 0.5  # type: ignore[misc]
