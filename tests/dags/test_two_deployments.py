"""Two Airflows run the DAG on one bucket at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dags.pipeline import Pipeline
from tests.dags.published import assert_no_cluster, assert_published

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
LATER = "is not published: run"


def test_the_one_that_has_listed_later_wins_and_every_image_is_there_once(
    drawn_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    airflows = [drawn_pipeline, drawn_pipeline.beside(tmp_path_factory.mktemp("airflow"))]
    with ThreadPoolExecutor(len(airflows)) as at_once:
        runs = [*at_once.map(lambda airflow: airflow.run(), airflows)]

    good = [run for run in runs if run.exit_code == 0]
    assert good, [run.errors() for run in runs]
    for run in runs:
        assert run in good or any(LATER in error and "listed the images later" in error for error in run.errors())
    assert len(drawn_pipeline.clusters()) == len(airflows), "both were at work"
    assert_no_cluster(drawn_pipeline)
    assert_published(drawn_pipeline, good[-1])

    again = drawn_pipeline.run()
    assert (again.exit_code, again.started) == (0, ["find_new_images", "conclude_run"])
