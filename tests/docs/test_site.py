"""The site in Chromium: it can be searched without a network, and fits on a phone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.docs.conftest import DOCS
from tests.services import missing

if TYPE_CHECKING:
    from playwright.async_api import Browser


class QuietHandler(SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@pytest.fixture
def url(site: Path) -> Iterator[str]:
    """The URL of the site on a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        missing("Playwright (pip install playwright)", "chromium")
        raise
    program = shutil.which("chromium")
    if program is None:
        missing("Chromium", "chromium")
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        await found.close()


async def test_a_search_finds_a_page_and_asks_no_other_host(url: str, browser: Browser) -> None:
    page = await browser.new_page()
    hosts: set[str] = set()
    faults: list[str] = []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    page.on("pageerror", lambda error: faults.append(str(error)))
    async with page.expect_response("**/search.json"):  # what the button opens is ready after it
        await page.goto(f"{url}/index.html")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("combobox", name="Search").fill("ends in the middle of a character")
    await page.get_by_role("option", name="The reply is cut or odd").click()
    await page.wait_for_url("**/errors.html**")
    await page.close()
    assert (hosts, faults) == ({"127.0.0.1"}, [])


async def test_no_page_is_wider_than_a_phone(url: str, browser: Browser) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844})
    wide = []
    for path in sorted(DOCS.glob("*.md")):
        await page.goto(f"{url}/{path.stem}.html")
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(path.name)
    await page.close()
    assert not wide
