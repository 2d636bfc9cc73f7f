"""Visits, in a real browser on a real Airflow: the form, a run and its links, the results, "Which fruit is this?", a failed run.

The tests go on from each other's run, in this order: what needs no finished run is looked at while it runs. They are one file,
as an Airflow of its own for the failed run takes a minute of two cores.
"""

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from tests.conftest import PROJECT
from tests.ui.conftest import LiveUi, free_port
from tests.ui.visits import PATIENCE, WIDTHS, Visit, visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUNS = "/api/v2/dags/fruit_features/dagRuns"
STEPS = ("export_model", "extract_features", "reduce_dimensions")
LINKS = {
    "create_cluster": ["Cluster"],
    "wait_for_cluster": ["Cluster"],
    "export_model": ["Cluster", "Spark history", "Step log"],
    "extract_features": ["Cluster", "Spark history", "Step log"],
    "reduce_dimensions": ["Cluster", "Spark history", "Step log"],
    "terminate_cluster": ["Cluster"],
    "publish": ["Report"],
}


@pytest.fixture
def airflow(browser: Browser, ui: LiveUi, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Airflow's page of the DAG."""
    with visit(browser, "desk", request.node.name) as opened:
        opened.page.goto(f"{ui.airflow}/dags/fruit_features")
        yield opened.page


@pytest.fixture(params=WIDTHS)
def visitor(browser: Browser, ui: LiveUi, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Somebody who is logged in, on a wide screen and on a phone; at the end the console may hold no error."""
    with visit(browser, request.param, request.node.name) as opened:
        opened.page.goto(f"{ui.airflow}/auth/login")
        expect(opened.page).to_have_title(re.compile("Airflow"))
        opened.troubles.clear()  # Airflow's own
        yield opened
        assert opened.troubles == []


@pytest.fixture(scope="module")
def started(browser: Browser, ui: LiveUi) -> str:
    """A run that somebody has triggered with the defaults."""
    with visit(browser, "desk", "the form with its defaults") as opened:
        opened.page.goto(f"{ui.airflow}/dags/fruit_features")
        open_form(opened.page)
        expect(opened.page.get_by_test_id("trigger-dag-submit")).to_be_enabled(timeout=PATIENCE)
        answer = press(opened.page)
        assert answer.status == 200, answer.text()
        assert answer.json()["conf"]["variance"] == 0.8
        return str(answer.json()["dag_run_id"])


@pytest.fixture(scope="module")
def run(ui: LiveUi, started: str) -> str:
    """The same run, which has succeeded; quoted, as it is a part of URLs."""
    assert ui.await_end(started) == "success", ui.tasks(started)
    return quote(started)


def links(ui: LiveUi, run: str, task_id: str) -> dict[str, str]:
    return dict(ui.ask(f"/dagRuns/{run}/taskInstances/{task_id}/links")["extra_links"])


def open_form(page: Page) -> None:
    page.get_by_test_id("trigger-dag-button").first.click()
    page.get_by_role("button", name="Results").click()
    expect(variance(page)).to_have_value("0.8")


def variance(page: Page) -> Locator:
    return page.locator("[name=element_variance]")


def press(page: Page) -> Response:
    """Press Trigger; return the answer of Airflow's API."""
    with page.expect_response(lambda response: response.request.method == "POST" and RUNS in response.url) as answered:
        page.get_by_test_id("trigger-dag-submit").click()
    return answered.value


def test_a_number_beyond_its_bound_is_refused_as_it_was_typed(airflow: Page, started: str) -> None:
    open_form(airflow)
    variance(airflow).fill("2")
    variance(airflow).blur()
    answer = press(airflow)

    assert answer.status == 400
    assert "variance: 2 is greater than the maximum of 1" in answer.json()["detail"]
    said = airflow.get_by_text(re.compile("variance: 2 is greater than the maximum of 1"))
    expect(said.first).to_be_visible(timeout=PATIENCE)
    expect(variance(airflow)).to_have_value("2")


def test_what_is_no_number_cannot_be_sent(airflow: Page, started: str) -> None:
    open_form(airflow)
    variance(airflow).fill("")
    variance(airflow).blur()
    expect(airflow.get_by_test_id("trigger-dag-submit")).to_be_disabled(timeout=PATIENCE)


def test_the_endpoint_shows_its_bucket_and_clusters(visitor: Visit, ui: LiveUi, started: str) -> None:
    visitor.open(f"{ui.endpoint}/_local_emr/")
    visitor.page.get_by_role("link", name="fruits").click()
    visitor.page.get_by_role("link", name="images/").click()
    visitor.page.get_by_role("link", name="Banana/").click()
    expect(visitor.page.get_by_role("link", name="notes.jpg")).to_be_visible()
    visitor.check()


def test_the_run_says_what_it_did(airflow: Page, ui: LiveUi, run: str) -> None:
    note = ui.ask(f"/dagRuns/{run}")["note"]
    assert re.fullmatch(
        r"43 new images of 43: 42 features, 1 reject \(1 not an image\), \d+ components = 8\d\.\d%, about \$0\.\d\d",
        note,
    ), note
    airflow.goto(f"{ui.airflow}/dags/fruit_features/runs/{run}")
    expect(airflow.get_by_text("43 new images of 43").first).to_be_visible()
    told = ui.ask(f"/dagRuns/{run}/taskInstances/extract_features/xcomEntries/progress")["value"]
    assert "43 of 43 images" in str(told)


def test_a_task_shows_its_links(airflow: Page, ui: LiveUi, run: str) -> None:
    airflow.goto(f"{ui.airflow}/dags/fruit_features/runs/{run}/tasks/extract_features/details")
    for name, url in links(ui, run, "extract_features").items():
        expect(airflow.get_by_role("link", name=name, exact=True)).to_have_attribute("href", url)


def test_every_link_of_a_task_leads_somewhere(visitor: Visit, ui: LiveUi, run: str) -> None:
    found = {task_id: links(ui, run, task_id) for task_id in LINKS}
    assert {task_id: sorted(named) for task_id, named in found.items()} == LINKS

    history = {named.pop("Spark history") for task_id, named in found.items() if task_id in STEPS}
    for url in sorted({url for named in found.values() for url in named.values()}):
        visitor.open(url)
    visitor.open(found["extract_features"]["Step log"])
    expect(visitor.page.get_by_text(re.compile(r"done images=43 ")).first).to_be_visible()
    assert len(history) == len(STEPS)


@pytest.mark.parametrize(
    ("task_id", "shown"), [("extract_features", "Spark Jobs"), ("export_model", "no Spark application")]
)
def test_the_spark_history_of_a_step_is_shown(visitor: Visit, ui: LiveUi, run: str, task_id: str, shown: str) -> None:
    visitor.page.goto(links(ui, run, task_id)["Spark history"])  # the pages are Spark's: they need not be as ours are
    expect(visitor.page.get_by_text(shown).first).to_be_visible()


def test_the_results_are_a_few_keys_away(visitor: Visit, ui: LiveUi, run: str) -> None:
    page = visitor.page
    visitor.open(f"{ui.airflow}/fruits/")
    page.get_by_role("link", name=re.compile("manual__")).first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 not an image")).to_be_visible()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Variance kept by the components")).to_be_visible()
    visitor.check()
    page.get_by_role("link", name="What this run rejected").click()
    expect(page.get_by_text("notes.jpg")).to_be_visible()
    visitor.check()
    page.get_by_role("link", name="This run").click()
    page.get_by_text("7 varieties").click()
    page.get_by_role("link", name="Banana").click()
    expect(page.get_by_text("0_100.jpg")).to_be_visible()
    visitor.check()


@pytest.fixture(scope="module")
def lookup(ui: LiveUi, run: str) -> Iterator[str]:
    """The URL of "Which fruit is this?", on the run's results."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    aws = {"AWS_ENDPOINT_URL": ui.endpoint, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    command = [PROJECT / ".venv/app/bin/python", "-m", "app", "s3://fruits", "--port", str(port)]
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **aws, "AWS_DEFAULT_REGION": "eu-west-3"}) as server:
        try:
            deadline = time.monotonic() + 120
            while True:
                assert server.poll() is None
                assert time.monotonic() < deadline
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=30).close()
                    break
                except urllib.error.URLError:  # not up yet, or without results
                    time.sleep(0.2)
            yield url
        finally:
            server.terminate()


def test_a_photograph_is_looked_up_in_the_results(visitor: Visit, ui: LiveUi, lookup: str) -> None:
    visitor.open(lookup)
    visitor.page.locator("#file").set_input_files(ui.images / "Lemon" / "3_100.jpg")
    expect(visitor.page.locator("#status")).to_contain_text(re.compile("most likely|Not sure"))
    expect(visitor.page.locator("#candidates li")).to_have_count(3)
    expect(visitor.page.locator("#candidates")).to_contain_text("Lemon")  # it is one of them
    visitor.check()


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
