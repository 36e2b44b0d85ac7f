"""Chromium, and the page of a server over a scripted upstream.

Playwright comes with the extra dev, Chromium from Debian's package. Without them a test is skipped; in CI it fails.
The fixtures last for this folder only: Playwright's synchronous API keeps an event loop running in the thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint
from acytoo.testing.fakes.endpoint import Script
from tests.server.live_server import backend
from tests.server_process import Served
from tests.services import missing
from tests.web.chat import LIMIT_MS, Chat, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

OpenChat: TypeAlias = Callable[..., Chat]
OpenSite: TypeAlias = Callable[..., Site]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        missing("Playwright (pip install playwright)", "chromium")
        raise
    program = shutil.which("chromium")
    if program is None:
        missing("Chromium", "chromium")
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def open_site() -> Iterator[OpenSite]:
    """A function that starts a server over an upstream that answers as scripted."""
    with ExitStack() as stack:

        def start(*scripts: Script, password: str = "", **settings: Any) -> Site:
            upstream = stack.enter_context(FakeEndpoint(dialects.OpenAI(), *scripts))
            server = stack.enter_context(Served(backend(dialects.OpenAI(), upstream.url), password, **settings))
            return Site(server.url, upstream)

        yield start


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """A function that opens a browser profile of the test's own."""
    with ExitStack() as stack:

        def create(**options: Any) -> BrowserContext:
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.set_default_timeout(LIMIT_MS)
            return context

        yield create


@pytest.fixture
def open_chat(new_context: Callable[..., BrowserContext]) -> OpenChat:
    """A function that opens the page at a URL."""

    def start(url: str, context: BrowserContext | None = None, **options: Any) -> Chat:
        return Chat((context or new_context(**options)).new_page(), url)

    return start
