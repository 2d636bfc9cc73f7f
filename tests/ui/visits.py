"""What the tests of this folder do in the browser."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.conftest import PROJECT

PATIENCE = 180_000  # ms; pages of Airflow take seconds on a busy machine
expect.set_options(timeout=PATIENCE)
# A picture for the docs need not tell where this checkout is.
SHORTEN = """folders => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) for (const folder of folders)
    texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "~/fruits");
}"""
WIDTHS = {"desk": (1400, 1000), "phone": (390, 844)}


class Visit:
    """A page of the browser, and what its console has called an error."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("console", lambda line: self.troubles.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))

    def open(self, url: str) -> None:
        """Open one of our pages: it answers, fits the screen, and is readable by everybody."""
        answer = self.page.goto(url)
        assert answer is not None
        assert answer.status == 200, url
        self.check()

    def check(self) -> None:
        found = Axe().run(self.page)
        assert found.violations_count == 0, f"{self.page.url}: {found.generate_report()}"
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), self.page.url


@contextmanager
def visit(browser: Browser, width: str, test: str) -> Iterator[Visit]:
    """Open a window; FRUITS_TEST_SCREENSHOTS names a folder that gets a picture of its last page."""
    across, down = WIDTHS[width]
    context = browser.new_context(viewport={"width": across, "height": down})
    context.set_default_timeout(PATIENCE)
    context.set_default_navigation_timeout(PATIENCE)
    page = context.new_page()
    yield Visit(page)
    if folder := os.environ.get("FRUITS_TEST_SCREENSHOTS"):
        page.evaluate(SHORTEN, [str(PROJECT), str((PROJECT / ".venv").resolve().parent)])
        page.screenshot(path=f"{folder}/{re.sub(r'[^a-z0-9]+', '-', test).strip('-')}.png")
    context.close()
