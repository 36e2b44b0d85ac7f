"""The page as its users see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from acytoo.testing import FakeEndpoint, ScriptedResponse, reply
from acytoo.types import Finish, Item, Start, Usage

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Locator, Page, Request

LIMIT_MS = 120_000
"""Milliseconds after which something counts as hung; far more than anything here needs."""


class Site(NamedTuple):
    """A running server's URL, and the scripted upstream behind it."""

    url: str
    upstream: FakeEndpoint

    def asked(self, number: int) -> list[dict[str, Any]]:
        """Return the messages of a request that the upstream has received, from 0."""
        messages: list[dict[str, Any]] = self.upstream.requests[number].json["messages"]
        return messages


def answer(*items: Item) -> ScriptedResponse:
    """Return a complete reply."""
    return reply(Start("id-1", "m-1", 7), *items, Finish("stop"), Usage(3, 5, 8))


class Chat:
    """The page in a tab. `errors`: uncaught errors. `strangers`: requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self._host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)
        page.on("dialog", self._accept)
        self.prompts: list[str] = []
        """What the page's next questions are answered with."""
        self.messages = page.get_by_role("log")
        self.replies = page.locator("article.assistant")
        self.questions = page.locator("article.user")
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.field = page.get_by_role("textbox", name="Message", exact=True)
        self.conversations = page.locator("#conversations .title")
        page.goto(url)
        self._wait_until_ready()

    def ask(self, text: str) -> None:
        """Type a message and send it."""
        self.field.fill(text)
        self.field.press("Enter")

    def button(self, name: str, within: Locator | None = None) -> Locator:
        """Return a button by its name."""
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def reload(self) -> None:
        """Load the page again."""
        self.page.reload()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """Return once a conversation is open: the page has loaded before, but does not listen yet."""
        self.page.locator("#prompt:enabled").wait_for()

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self.strangers.append(request.url)

    def _accept(self, dialog: Dialog) -> None:
        dialog.accept(self.prompts.pop(0)) if dialog.type == "prompt" else dialog.accept()
