"""Whole runs while EMR throttles three of ten calls: each succeeds, with one cluster."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dags.pipeline import Pipeline
from tests.dags.test_lost_cluster import assert_complete, names

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
RUNS = 5
AT_ONCE = 3  # they wait most of the time


def test_every_run_succeeds_with_one_cluster(
    drawn_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = drawn_pipeline
    rule = pipeline.aws.faults.add(fault="throttle", share=0.3)
    prefixes = [f"throttled-{number}/" for number in range(RUNS)]
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        airflows = [pipeline.beside(tmp_path_factory.mktemp("airflow")) for _ in prefixes]
        runs = [*at_once.map(lambda airflow, prefix: airflow.run(output_prefix=prefix), airflows, prefixes)]
    pipeline.aws.faults.clear()
    for run, prefix in zip(runs, prefixes, strict=True):
        assert_complete(pipeline, run, prefix, tmp_path_factory.mktemp("rows"))
    assert rule.hits > 10 * RUNS
    assert pipeline.clusters() == ["TERMINATED"] * RUNS
    assert set(Counter(names(pipeline)).values()) == {1}
