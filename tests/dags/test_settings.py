"""Params become frozen settings, or an error that names the param."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError
from pydantic import ValidationError

from fruit_features.layout import run_name
from fruit_features.run import Run
from fruit_features.settings import PARAMS, ConfigError

Build = Callable[..., Run]


@pytest.mark.parametrize("variance", [0, -0.1, 1.0001, 80])
def test_variance_outside_its_range_is_named(make_run: Build, variance: float) -> None:
    with pytest.raises(ConfigError, match=rf"^variance is {variance}: it must be above 0 and at most 1"):
        make_run(variance=variance)


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
        ("idle_timeout_minutes", 9),
        ("step_timeout_hours", 0),
        ("output_prefix", "my out"),  # spark-submit takes it for a local file
        ("output_prefix", "a,b"),  # and cuts this one in two
        ("output_prefix", "a#b"),
        ("output_prefix", "a*"),
        ("spark_defaults", {"spark.executor.cores": 4}),  # EMR wants strings
    ],
)
def test_the_schemas_refuse_what_cannot_work(param: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        PARAMS[param].resolve(value)


@pytest.mark.parametrize("name", PARAMS)
def test_the_form_opens_ready_to_press(name: str) -> None:
    # Airflow's form takes an empty value for a missing one, and disables its Trigger button without naming the field.
    schema = PARAMS[name].schema
    if name == "bucket":  # asked for, unless the installation has a default
        assert schema["type"] == "string"
    elif "null" not in schema["type"]:
        assert PARAMS[name].value not in (None, "")


@pytest.mark.parametrize("name", PARAMS)
def test_the_form_cannot_turn_a_number_into_a_bound(name: str) -> None:
    # Its number field sets 2 to a `maximum` of 1 without a word, and the run goes on with that.
    assert not {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & PARAMS[name].schema.keys()


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
def test_outputs_are_never_taken_for_images(make_run: Build, images: str, output: str) -> None:
    with pytest.raises(ConfigError, match="for images: give the images a prefix of their own"):
        make_run(images_prefix=images, output_prefix=output)


@pytest.mark.parametrize(
    "params",
    [
        {"images_prefix": "/", "images_bucket": "photos"},
        {"images_prefix": "features/photos/", "images_bucket": "photos"},
        {"images_prefix": "/", "output_prefix": "out", "exclude": ["out/*"]},
        {"images_prefix": "data", "output_prefix": "data/out", "exclude": ["tmp/*", "o*"]},
        {"images_prefix": "/", "include": ["Apple*/*", "Cherry ?/*"]},
    ],
)
def test_images_may_lie_in_another_bucket_or_beside_outputs_that_are_left_out(make_run: Build, params: Any) -> None:
    assert make_run(**params).layout.images.bucket == params.get("images_bucket", "fruits")


@pytest.mark.parametrize(
    "params", [{"exclude": ["features/*"]}, {"output_prefix": "out", "exclude": ["out/a*"]}, {"include": ["*/*"]}]
)
def test_patterns_that_leave_some_outputs_are_not_enough(make_run: Build, params: Any) -> None:
    with pytest.raises(ConfigError, match=r"for images: give the images a prefix of their own, or exclude '\w+/\*'"):
        make_run(images_prefix="/", **params)


@pytest.mark.parametrize("pattern", ["", "/Apple/*", "s3://photos/Apple/*"])
def test_a_pattern_that_can_match_nothing_is_refused(make_run: Build, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^exclude is .*: .* can match nothing: a pattern begins with what follows"):
        make_run(exclude=["a", pattern])


@pytest.mark.parametrize(("images", "output"), [("features/photos/", ""), ("out/results/x", "out")])
def test_images_never_lie_among_the_outputs(make_run: Build, images: str, output: str) -> None:
    with pytest.raises(ConfigError, match=r"which would take the images for its files: give the images a prefix"):
        make_run(images_prefix=images, output_prefix=output)


@pytest.mark.parametrize("prefix", ["a//b", ".", "a/./b", "../a", "a/.."])
def test_a_prefix_that_tools_would_rewrite_is_refused(make_run: Build, prefix: str) -> None:
    with pytest.raises(ConfigError, match=rf"^output_prefix is {re.escape(prefix)}: "):
        make_run(output_prefix=prefix)


def test_a_cluster_without_spark_is_refused(make_run: Build) -> None:
    with pytest.raises(ConfigError, match=r"^applications is \['Hadoop'\]: without Spark no step can run"):
        make_run(applications=["Hadoop"])


def test_prefixes_may_be_written_with_and_without_slashes(make_run: Build) -> None:
    assert make_run(images_prefix="/photos/2026").layout.images_prefix == "photos/2026/"
    assert make_run(output_prefix="out").layout.models.uri == "s3://fruits/out/models"
    assert make_run(output_prefix="/a/.b/").layout.models.uri == "s3://fruits/a/.b/models"
    assert make_run(output_prefix="").layout.models.uri == "s3://fruits/models"
    assert make_run(output_prefix=None).layout.models.uri == "s3://fruits/models"


def test_run_name_is_safe_in_hadoop_paths() -> None:
    assert run_name("manual__2026-11-22T10:00:00.5+02:00 é") == "manual__2026-11-22T10-00-00.5-02-00--"


def test_a_run_cannot_be_changed(make_run: Build) -> None:
    with pytest.raises(AttributeError):
        make_run().name = "another"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        make_run().settings.variance = 0.5  # type: ignore[misc]


def test_an_unknown_param_is_refused_with_the_nearest_name(make_run: Build) -> None:
    with pytest.raises(ConfigError, match=r"^there is no param 'varience'; did you mean 'variance'\?$"):
        make_run(varience=0.5)
    with pytest.raises(ConfigError, match=r"^there is no param 'zzz'$"):
        make_run(zzz=0.5)


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^bucket is not set: it has no default$"):
        Run.from_params({}, "manual")


def test_every_wrong_param_is_named(make_run: Build) -> None:
    with pytest.raises(ConfigError, match=r"^variance is 3: .*; core_instance_count is 0: it must be at least 1 and"):
        make_run(variance=3, core_instance_count=0)
