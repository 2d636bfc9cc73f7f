"""A second visit, after the first: a run that fails, and what its step's log says to whoever looks at it."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import LiveUi
from tests.ui.visits import visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def failed(ui: LiveUi) -> str:
    """A run that extracts all images anew and may not reject any, though one is none; quoted, as it is a part of URLs."""
    conf = {"full_refresh": True, "max_reject_share": 0}
    run_id = ui.ask("/dagRuns", logical_date=None, conf=conf)["dag_run_id"]
    assert ui.await_end(run_id) == "failed", ui.tasks(run_id)
    assert ui.tasks(run_id)["extract_features"] == "failed"
    return quote(run_id)


@pytest.fixture
def log(browser: Browser, ui: LiveUi, failed: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page that opens for whoever clicks on the red square."""
    with visit(browser, "desk", request.node.name) as opened:
        opened.page.goto(f"{ui.airflow}/dags/fruit_features/runs/{failed}/tasks/extract_features")
        yield opened.page


def test_the_log_of_a_failed_step_ends_with_the_cause_and_where_to_look(log: Page, ui: LiveUi) -> None:
    cause = re.compile(r"is FAILED: error: 1 of 43 images rejected, more than max_reject_share 0: not_an_image 1 ")
    expect(log.get_by_text(cause).last).to_be_visible()
    for line in (r"EMR says: ", r"log: s3://fruits/logs/j-", rf"cluster: {ui.endpoint}/_local_emr/clusters/j-"):
        expect(log.get_by_text(re.compile(line)).last).to_be_in_viewport()
