"""The page of a gateway: a key instead of a password, the usage, and the target that answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo._process import LoopThread
from acytoo.testing import FakeEndpoint, status
from tests.gateway.served import Served, served
from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat
from tests.web.npm import AXE, npm_file
from tests.web.test_accessibility import assert_accessible

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect

CONFIG = """
[storage]
ledger = "sqlite:ledger.db"
[models.fast]
targets = ["up/m-1", "up/m-2"]
"""


class Running:
    """A gateway in a thread of its own."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self._folder = folder
        self._upstream = upstream
        self.thread = LoopThread("gateway", self._serving, daemon=False)
        self.served: Served | None = None

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        async with served(self._folder, self._upstream, CONFIG) as self.served:
            yield

    def flush(self) -> None:
        """Write what has happened to the ledger."""
        assert self.served is not None
        assert self.thread.loop is not None
        asyncio.run_coroutine_threadsafe(self.served.gateway.ledger.flush(), self.thread.loop).result(120)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    """A gateway whose model `fast` has two targets, the first of which fails."""
    with FakeEndpoint(
        dialects.OpenAI(), status(404, "no such model"), answer("Hi"), status(404), status(404)
    ) as upstream:
        running = Running(tmp_path, upstream.url)
        running.thread.start()
        try:
            yield running
        finally:
            running.thread.stop()


def enter_key(chat: Chat) -> None:
    """Give the page the key that it asks for."""
    chat.page.get_by_label("Password or key").fill("sk-ci")
    chat.page.get_by_label("Password or key").press("Enter")
    expect(chat.page.get_by_role("dialog")).to_be_hidden()


def test_the_target_that_answered_and_the_usage_of_the_key_are_shown(
    gateway: Running, open_chat: OpenChat, tmp_path: Path
) -> None:
    assert gateway.served is not None
    chat = open_chat(gateway.served.url)
    enter_key(chat)
    expect(chat.page.get_by_label("Model")).to_have_value("fast")
    chat.ask("Hello")
    expect(chat.replies.locator(".body")).to_have_text("Hi")
    expect(chat.replies.locator(".details")).to_contain_text("up/m-2 after 2 attempts")
    chat.replies.get_by_text("Attempts", exact=True).click()
    attempts = chat.replies.locator(".trace li")
    failed, answered = r"up/m-1: not found error after \d\.\d\d s", r"up/m-2: answered after \d\.\d\d s"
    expect(attempts).to_have_text([re.compile(failed), re.compile(answered)])
    chat.ask("Again")
    expect(chat.replies.last).to_contain_text("There is no reply")
    chat.replies.last.get_by_text("Attempts", exact=True).click()
    failed, missing = r"up/m-1: not found error after \d\.\d\d s", r"up/m-2: not found error after \d\.\d\d s"
    expect(chat.replies.last.locator(".trace li")).to_have_text([re.compile(failed), re.compile(missing)])
    gateway.flush()
    chat.button("Usage").click()
    dialog = chat.page.get_by_role("dialog")
    expect(dialog.get_by_role("columnheader").first).to_have_text("Key")
    expect(dialog.get_by_role("cell", name="ci", exact=True).first).to_be_visible()
    assert_accessible(chat, npm_file(AXE, "axe.min.js", tmp_path).decode())
