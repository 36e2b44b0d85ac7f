"""Accessibility: axe-core finds nothing, and a keyboard is enough."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.types import Reasoning
from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat, OpenSite
from tests.web.npm import AXE, npm_file

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect

EVERYTHING = """# Heading

A **bold** [link](https://example.org) and `code`.

- one
- two

> quote

| a | b |
|---|---|
| 1 | 2 |

```python
print("a long line", "a long line", "a long line", "a long line", "a long line", "a long line", "a long line")
```
"""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
    "dark phone": {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    return npm_file(AXE, "axe.min.js", tmp_path_factory.mktemp("axe")).decode()


def assert_accessible(chat: Chat, axe: str) -> None:
    """Check the page as it is now, with all rules of axe-core."""
    chat.page.evaluate(axe)
    found = chat.page.evaluate("axe.run()")
    assert not [
        (violation["id"], violation["help"], [node["html"] for node in violation["nodes"]][:3])
        for violation in found["violations"]
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_in_a_conversation_and_in_each_dialog(
    look: str, axe: str, open_site: OpenSite, open_chat: OpenChat
) -> None:
    site = open_site(answer(Reasoning("Let me think."), EVERYTHING), answer("One", "Two").reset(after=2))
    chat = open_chat(site.url, **LOOKS[look])
    assert_accessible(chat, axe)
    for count in (1, 2):
        chat.ask("Show me everything")
        expect(chat.replies).to_have_count(count)
        expect(chat.stop).to_be_hidden()
    expect(chat.replies.last.locator(".cut")).to_be_visible()
    chat.page.get_by_text("Reasoning", exact=True).click()
    assert_accessible(chat, axe)
    if "phone" in look:
        assert chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        chat.button("Conversations").click()
        assert_accessible(chat, axe)
        chat.page.keyboard.press("Escape")
    chat.button("Edit").first.click()
    assert_accessible(chat, axe)
    chat.page.get_by_role("button", name="Settings").click()
    expect(chat.page.get_by_role("dialog")).to_be_visible()
    assert_accessible(chat, axe)


def test_axe_finds_nothing_in_the_password_dialog(axe: str, open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi"), password="secret").url)
    expect(chat.page.get_by_role("dialog")).to_be_visible()
    assert_accessible(chat, axe)


def test_a_keyboard_is_enough(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("first"), answer("second"))
    chat = open_chat(site.url)
    keyboard = chat.page.keyboard
    expect(chat.field).to_be_focused()
    keyboard.type("one line")
    keyboard.press("Shift+Enter")
    keyboard.type("another")
    keyboard.press("Enter")
    expect(chat.replies.locator(".body")).to_have_text("first")
    expect(chat.button("Regenerate")).to_be_visible()
    expect(chat.field).to_be_focused()
    assert site.asked(0)[0]["content"] == "one line\nanother"
    visited = []
    for _ in range(40):
        keyboard.press("Tab")
        visited.append(chat.page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))
    for name in (
        "Delete one line\nanother",
        "Rename one line\nanother",
        "Export",
        "Import",
        "Settings",
        "Edit",
        "Copy",
    ):
        assert name in visited
    chat.button("Regenerate").focus()
    keyboard.press("Enter")
    expect(chat.replies.locator(".body")).to_have_text("second")
    expect(chat.field).to_be_focused()


def test_the_focus_returns_to_where_it_was(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi")).url, viewport={"width": 360, "height": 740})
    keyboard = chat.page.keyboard
    chat.ask("Hello")
    expect(chat.button("Regenerate")).to_be_visible()
    settings = chat.button("Settings")
    settings.press("Enter")
    expect(chat.page.get_by_label("System prompt")).to_be_focused()
    keyboard.press("Escape")
    expect(settings).to_be_focused()
    chat.button("Edit").press("Enter")
    keyboard.press("Escape")
    expect(chat.button("Edit")).to_be_focused()
    chat.button("Conversations").press("Enter")
    expect(chat.button("Close the list of conversations")).to_be_focused()
    keyboard.press("Escape")
    expect(chat.button("Conversations")).to_be_focused()


def test_the_end_of_a_reply_is_announced(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi"), answer("One", "Two").reset(after=2)).url)
    chat.ask("Hello")
    expect(chat.page.get_by_role("status")).to_have_text("The reply is complete.")
    chat.ask("Count")
    expect(chat.page.get_by_role("status")).to_contain_text("This reply was cut")
