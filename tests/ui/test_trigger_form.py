"""The form that triggers the DAG, in a real browser on a real Airflow: `make ui` as people start it."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from tests.conftest import PROJECT

RUNS = "/api/v2/dags/fruit_features/dagRuns"
PATIENCE = 120_000  # ms; pages of Airflow take seconds on a busy machine


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a `make ui` with one image in its bucket."""
    python = PROJECT / ".venv/airflow/bin/python"
    if not python.exists():
        pytest.skip("no Airflow here: make setup")
    folder = tmp_path_factory.mktemp("ui")
    (folder / "images" / "Kiwi").mkdir(parents=True)
    (folder / "images" / "Kiwi" / "1.jpg").write_bytes(b"an image")
    (folder / "w.h5").write_bytes(b"weights")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(python, "-m", "demo.ui", "--port", str(port), "--endpoint-port", "0", "--home", folder / "home"),
        *("--images", folder / "images", "--weights", folder / "w.h5"),
    ]
    output = folder / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while "stops all of it" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.5)
        yield f"http://localhost:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture
def form(browser: Browser, airflow: str) -> Iterator[Page]:
    """The DAG's page with the form open."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{airflow}/dags/fruit_features")
    page.get_by_test_id("trigger-dag-button").first.click()
    page.get_by_role("button", name="Results").click()
    expect(variance(page)).to_have_value("0.8", timeout=PATIENCE)
    yield page
    context.close()


def variance(page: Page) -> Locator:
    return page.locator("[name=element_variance]")


def press(page: Page) -> Response:
    """Press Trigger; return the answer of Airflow's API."""
    with page.expect_response(lambda response: response.request.method == "POST" and RUNS in response.url) as answered:
        page.get_by_test_id("trigger-dag-submit").click()
    return answered.value


def test_a_number_beyond_its_bound_is_refused_as_it_was_typed(form: Page) -> None:
    variance(form).fill("2")
    variance(form).blur()
    answer = press(form)

    assert answer.status == 400
    assert "variance: 2 is greater than the maximum of 1" in answer.json()["detail"]
    expect(form.get_by_text(re.compile("variance: 2 is greater than the maximum of 1")).first).to_be_visible()
    expect(variance(form)).to_have_value("2")


def test_what_is_no_number_cannot_be_sent(form: Page) -> None:
    variance(form).fill("")
    variance(form).blur()
    expect(form.get_by_test_id("trigger-dag-submit")).to_be_disabled()


def test_the_defaults_can_be_triggered(form: Page) -> None:
    expect(form.get_by_test_id("trigger-dag-submit")).to_be_enabled()
    answer = press(form)

    assert answer.status == 200, answer.text()
    assert answer.json()["conf"]["variance"] == 0.8
