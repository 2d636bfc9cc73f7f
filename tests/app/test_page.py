"""The page in a real browser, on a wide screen and on a phone."""

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from app.follower import Follower
from app.settings import Settings
from app.web import create_app
from tests.app.conftest import COLORS, Bucket, colors, photo

HOSTILE = """<img src=x onerror="document.title='taken over'"> & 100 % 'ripe'"""
WIDTHS = {"desk": (1400, 900), "phone": (390, 844)}


@pytest.fixture
def url(bucket: Bucket) -> Iterator[str]:
    """The address of a server whose bucket has a variety with a hostile name."""
    bucket.add(f"{HOSTILE}/1.png", (0, 255, 255))
    bucket.write_features("hostile", [bucket.row(f"{HOSTILE}/1.png", (0, 255, 255), label=HOSTILE)])
    bucket.publish("first")
    settings = Settings(str(bucket.folder), at_once=1, max_bytes=1_000_000)
    follower = Follower(settings, colors)
    follower.look()
    server = uvicorn.Server(uvicorn.Config(create_app(settings, follower), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(60)


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at a width; at the end, nothing may have gone wrong in it or been asked of another server."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        has_touch=request.param == "phone",
        is_mobile=request.param == "phone",
    )
    context.set_default_timeout(60_000)
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("console", lambda line: troubles.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith((url, "blob:")) else troubles.append(asked.url))
    opened.goto(url)
    yield opened
    context.close()
    # The browser itself reports answers of 4xx; those are asked for.
    assert [trouble for trouble in troubles if "Failed to load resource" not in trouble] == []


def send(page: Page, content: bytes, name: str = "photo.png") -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def assert_accessible_and_fitting(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "scrolls sideways"


def test_a_photograph_shows_three_varieties_with_their_pictures(page: Page) -> None:
    assert_accessible_and_fitting(page)
    send(page, photo(COLORS["Lemon"]))
    expect(page.locator("#status")).to_have_text("This is most likely: Lemon", timeout=60_000)

    expect(page.locator("#candidates li")).to_have_count(3)
    pictures = page.locator("#candidates img, #photo")
    assert pictures.count() >= 5
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.evaluate("document.activeElement.id") == "status", "a screen reader reads the answer"
    assert_accessible_and_fitting(page)


def test_a_name_from_the_bucket_is_text(page: Page) -> None:
    send(page, photo((0, 255, 255)))
    expect(page.locator("#candidates h2").first).to_have_text(HOSTILE, timeout=60_000)

    assert page.title() == "Which fruit is this?"
    assert page.locator("#candidates h2 img").count() == 0


def test_a_refusal_says_what_to_do_and_the_next_photograph_works(page: Page) -> None:
    for content, text in ((b"some notes", "This is no image"), (b"\0" * 1_000_001, "at most 1 MB")):
        send(page, content, "notes.png")
        expect(page.locator("#status")).to_contain_text(text, timeout=60_000)
        expect(page.locator("#photo")).to_be_hidden()
    assert_accessible_and_fitting(page)
    send(page, photo((130, 212, 20)))  # between Lemon and Lime
    expect(page.locator("#status")).to_have_text("Not sure. These are the most similar varieties:", timeout=60_000)


def test_the_keyboard_reaches_the_choice_of_a_file(page: Page) -> None:
    # The browser is told to hand the chooser to the test while it goes on with the next command: on a busy machine the
    # Space came first, and the chooser opened unseen. The Tabs, each answered, lie between the two.
    with page.expect_file_chooser() as chooser:
        for _ in range(3):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "file":
                break
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Space")
    assert not chooser.value.is_multiple()


def test_a_phone_offers_its_camera(page: Page) -> None:
    phone = page.viewport_size["width"] == WIDTHS["phone"][0]

    assert page.get_by_text("Take a photograph").is_visible() is phone
