"""Long histories, and taking them along."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat, OpenSite

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect


def import_document(chat: Chat, document: Any) -> None:
    """Choose the document in the page's file dialog."""
    chat.page.locator("#import-file").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(document).encode()}
    )


def long_conversation(messages: int) -> dict[str, Any]:
    """Return an export with one conversation."""
    nodes = [
        {
            "id": f"n{number}",
            "conversation": "c1",
            "parent": f"n{number - 1}" if number else None,
            "role": "assistant" if number % 2 else "user",
            "content": f"message {number}\n\n- **one**\n- two\n",
            "state": "complete",
            "time": number,
        }
        for number in range(messages)
    ]
    conversation = {"id": "c1", "title": "long", "updated": 1, "leaf": f"n{messages - 1}"}
    return {"format": "acytoo-conversations", "version": 1, "conversations": [conversation], "nodes": nodes}


def test_a_history_of_2000_messages_has_only_its_end_in_the_page(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("The end"))
    chat = open_chat(site.url)
    import_document(chat, long_conversation(2000))
    chat.conversations.click()
    expect(chat.messages.locator("article")).to_have_count(40)
    expect(chat.replies.last).to_contain_text("message 1999")
    chat.page.get_by_role("button", name="Earlier messages (1960)").click()
    expect(chat.messages.locator("article")).to_have_count(80)
    chat.ask("Go on")
    expect(chat.replies.last.locator(".body")).to_have_text("The end")
    expect(chat.messages.locator("article")).to_have_count(80)
    assert len(site.asked(0)) == 2001


def test_a_reply_that_arrives_changes_no_other_message_of_the_page(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer(*["word "] * 500).wait(2, after=20).stall(after=400))
    chat = open_chat(site.url)
    import_document(chat, long_conversation(2000))
    chat.conversations.click()
    expect(chat.replies.last).to_contain_text("message 1999")
    chat.ask("Go on")
    expect(chat.replies.last).to_contain_text("word word")
    chat.page.evaluate("""() => {
        const last = [...document.querySelectorAll("article")].at(-1);
        window.changes = 0;
        const count = (records) => (window.changes += records.filter((record) => !last.contains(record.target)).length);
        new MutationObserver(count).observe(document.querySelector("#messages"), {childList: true, subtree: true});
    }""")
    expect(chat.replies.last).to_contain_text("word " * 300)
    assert chat.page.evaluate("window.changes") == 0


def test_an_export_can_be_imported_elsewhere(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("first"), answer("second"))
    chat = open_chat(site.url)
    chat.ask("Question")
    expect(chat.button("Regenerate")).to_be_visible()
    chat.button("Regenerate").click()
    expect(chat.replies).to_contain_text("2/2")
    expect(chat.button("Regenerate")).to_be_visible()  # again, because the reply is complete
    with chat.page.expect_download() as download:
        chat.button("Export").click()
    assert download.value.suggested_filename.endswith(".json")
    document = json.loads(download.value.path().read_text())
    other = open_chat(site.url)
    for _ in range(2):
        import_document(other, document)
        expect(other.conversations).to_have_text(["Question"])
    other.conversations.click()
    expect(other.replies.locator(".body")).to_have_text("second")
    other.button("Previous version").click()
    expect(other.replies.locator(".body")).to_have_text("first")
