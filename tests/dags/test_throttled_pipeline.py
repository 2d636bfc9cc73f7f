"""Whole runs while EMR throttles three of ten calls: each succeeds, with one cluster."""

import pytest

from tests.dags.pipeline import Pipeline
from tests.dags.test_lost_cluster import assert_complete

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
RUNS = 5


def test_every_run_succeeds_with_one_cluster(
    drawn_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = drawn_pipeline
    rule = pipeline.aws.faults.add(fault="throttle", share=0.3)
    for number in range(RUNS):
        before = rule.hits
        run = pipeline.run(output_prefix=f"throttled-{number}/")

        assert_complete(pipeline, run, f"throttled-{number}/", tmp_path_factory.mktemp("rows"))
        assert rule.hits > before
        assert pipeline.clusters() == ["TERMINATED"] * (number + 1)
