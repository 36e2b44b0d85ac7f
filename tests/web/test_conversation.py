"""A conversation in the page: streaming, stopping, versions, what is kept, and two tabs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acytoo.providers.embedded import Embedded
from acytoo.types import Reasoning
from tests.server_process import Served
from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat, OpenSite

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

PASTE = """(field, data) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const clipboard = new DataTransfer();
    clipboard.items.add(new File([bytes], "pixel.png", {type: "image/png"}));
    field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: clipboard, bubbles: true, cancelable: true}));
}"""


def test_the_embedded_model_answers(open_chat: OpenChat, model_file: Path) -> None:
    with Served(Embedded()) as server:
        chat = open_chat(server.url)
        # All texts may arrive at once, in which case there is no speed to show: by this clock they take two seconds.
        chat.page.evaluate("() => { let now = 0; performance.now = () => (now += 2000); }")
        chat.button("Settings").click()
        chat.page.get_by_label("Temperature").fill("0")  # by chance, a reply never ends
        chat.button("Close").click()
        chat.ask("Describe a lighthouse in two sentences.")
        expect(chat.button("Regenerate")).to_be_visible()
        expect(chat.replies.locator(".body")).not_to_be_empty()
        expect(chat.replies.locator(".details")).to_contain_text("tokens/s")
        expect(chat.replies.locator(".cut")).to_have_count(0)
        assert not chat.errors


def test_a_reply_is_waited_for_visibly_until_its_text_begins(open_site: OpenSite, open_chat: OpenChat) -> None:
    thought = answer(Reasoning("Hm"), "never").stall(after=2)
    chat = open_chat(open_site(thought, answer("Once upon", " a time").stall(after=2)).url)
    waiting = chat.page.get_by_text("Waiting for the reply …")
    chat.ask("A story")
    expect(chat.replies).to_contain_text("Hm")
    expect(waiting).to_be_visible()
    chat.stop.click()
    expect(waiting).to_have_count(0)
    chat.ask("Another")
    expect(chat.replies.last).to_contain_text("Once")
    expect(waiting).to_be_hidden()


def test_stop_keeps_the_text_and_ends_the_request_to_the_upstream(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2))
    chat = open_chat(site.url)
    chat.ask("A story")
    expect(chat.replies).to_contain_text("Once upon")
    chat.stop.click()
    site.upstream.wait_disconnected()
    expect(chat.replies).to_contain_text("You stopped this reply.")
    expect(chat.replies).to_contain_text("Once upon")
    expect(chat.field).to_be_focused()
    expect(chat.stop).to_be_hidden()


def test_escape_stops_a_reply(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2))
    chat = open_chat(site.url)
    chat.ask("A story")
    expect(chat.replies).to_contain_text("Once upon")
    chat.field.press("Escape")
    expect(chat.replies).to_contain_text("You stopped this reply.")


def test_a_reload_keeps_the_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("**Four**")).url)
    chat.ask("Two and two?")
    expect(chat.button("Regenerate")).to_be_visible()
    chat.reload()
    expect(chat.questions).to_contain_text("Two and two?")
    expect(chat.replies.locator("strong")).to_have_text("Four")
    expect(chat.replies.locator(".cut")).to_have_count(0)
    expect(chat.conversations).to_have_text(["Two and two?"])


def test_a_reload_in_mid_stream_marks_the_reply_as_cut(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2))
    chat = open_chat(site.url)
    chat.ask("A story")
    expect(chat.replies).to_contain_text("Once upon")
    chat.reload()
    expect(chat.replies.locator(".cut")).to_contain_text("This reply was cut")
    expect(chat.replies).to_contain_text("Once upon")
    site.upstream.wait_disconnected()


def test_another_tab_shows_the_message_and_the_complete_reply(
    open_site: OpenSite, open_chat: OpenChat, new_context: Callable[..., BrowserContext]
) -> None:
    site = open_site(answer("One"), answer("Two"))
    context = new_context()
    first = open_chat(site.url, context)
    first.ask("Count")
    expect(first.button("Regenerate")).to_be_visible()
    second = open_chat(first.page.url, context)
    expect(second.replies).to_have_text([first.replies.inner_text()], use_inner_text=True)
    first.ask("Go on")
    expect(second.replies.nth(1).locator(".body")).to_have_text("Two")
    expect(second.button("Regenerate")).to_have_count(2)


def test_a_reply_that_arrives_in_another_tab_is_not_taken_for_a_cut_one(
    open_site: OpenSite, open_chat: OpenChat, new_context: Callable[..., BrowserContext]
) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2))
    context = new_context()
    first = open_chat(site.url, context)
    first.ask("A story")
    expect(first.replies).to_contain_text("Once upon")
    second = open_chat(first.page.url, context)
    expect(second.replies).to_contain_text("Arriving in another tab")
    first.page.close()
    expect(second.replies.locator(".cut")).to_contain_text("This reply was cut")


def test_another_conversation_can_be_used_while_a_reply_arrives(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2), answer("Hi"))
    chat = open_chat(site.url)
    chat.ask("A story")
    expect(chat.replies).to_contain_text("Once upon")
    chat.button("New chat").click()
    expect(chat.stop).to_be_hidden()
    chat.ask("Hello")
    expect(chat.replies.locator(".body")).to_have_text("Hi")
    chat.conversations.filter(has_text="A story").click()
    expect(chat.replies).to_contain_text("Once upon")
    chat.stop.click()
    expect(chat.replies).to_contain_text("You stopped this reply.")
    assert not chat.errors


def test_a_reply_goes_on_while_earlier_messages_are_shown(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(*[answer("x")] * 25, answer("Once upon a", " time").stall(after=2))
    chat = open_chat(site.url)
    for number in range(25):
        chat.ask(f"question {number}")
        expect(chat.questions.last).to_contain_text(f"question {number}")
        expect(chat.button("Regenerate", chat.replies.last)).to_be_visible()
    chat.ask("A story")
    expect(chat.replies.last).to_contain_text("Once upon")
    chat.page.get_by_role("button", name="Earlier messages").click()
    expect(chat.questions.first).to_contain_text("question 0")
    expect(chat.replies.last).to_contain_text("Once upon")
    chat.stop.click()
    expect(chat.replies.last).to_contain_text("You stopped this reply.")


def test_regenerate_and_edit_add_versions_that_can_be_switched(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("first"), answer("second"), answer("third"))
    chat = open_chat(site.url)
    chat.ask("Question")
    body = chat.replies.locator(".body")
    expect(body).to_have_text("first")
    chat.button("Regenerate").click()
    expect(body).to_have_text("second")
    expect(chat.replies).to_contain_text("2/2")
    chat.button("Previous version").click()
    expect(body).to_have_text("first")
    expect(chat.replies).to_contain_text("1/2")
    chat.button("Edit").click()
    field = chat.page.get_by_role("textbox", name="Edit the message")
    expect(field).to_be_focused()
    field.fill("Another question")
    chat.button("Send", chat.questions).click()
    expect(body).to_have_text("third")
    assert [message["content"] for message in site.asked(2)] == ["Another question"]
    chat.button("Previous version").click()
    expect(chat.questions.locator(".body")).to_have_text("Question")
    expect(body).to_have_text("second")
    chat.reload()
    expect(chat.questions).to_contain_text("1/2")


def test_reasoning_is_folded(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer(Reasoning("Let me think."), "Four")).url)
    chat.ask("Two and two?")
    expect(chat.replies.locator(".body")).to_have_text("Four")
    expect(chat.page.get_by_text("Let me think.")).to_be_hidden()
    chat.page.get_by_text("Reasoning", exact=True).click()
    expect(chat.page.get_by_text("Let me think.")).to_be_visible()


def test_a_pasted_image_is_sent_with_the_message(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("A pixel"))
    chat = open_chat(site.url)
    chat.field.evaluate(PASTE, PIXEL)
    expect(chat.page.get_by_alt_text("Image 1")).to_be_visible()
    chat.ask("What is it?")
    expect(chat.replies).to_contain_text("A pixel")
    assert site.asked(0)[0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    expect(chat.questions.get_by_alt_text("Attached image")).to_be_visible()


def test_an_image_can_be_chosen_as_a_file_and_removed_again(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("A pixel")).url)
    with chat.page.expect_file_chooser() as chooser:
        chat.button("Attach an image").click()
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": base64.b64decode(PIXEL)})
    expect(chat.page.get_by_alt_text("Image 1")).to_be_visible()
    chat.button("Remove image 1").click()
    expect(chat.page.get_by_alt_text("Image 1")).to_have_count(0)


def test_the_system_prompt_and_options_belong_to_the_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Arr"))
    chat = open_chat(site.url)
    chat.button("Settings").click()
    chat.page.get_by_label("System prompt").fill("Be a pirate.")
    chat.page.get_by_label("Temperature").fill("0.3")
    chat.button("Close").click()
    chat.ask("Hello")
    expect(chat.button("Regenerate")).to_be_visible()
    assert site.asked(0)[0] == {"role": "system", "content": "Be a pirate."}
    assert site.upstream.requests[0].json["temperature"] == 0.3
    chat.button("New chat").click()
    chat.ask("Hi")
    expect(chat.button("Regenerate")).to_be_visible()
    assert [message["role"] for message in site.asked(1)] == ["user"]
    chat.conversations.filter(has_text="Hello").click()
    chat.page.get_by_role("button", name="Settings").click()
    expect(chat.page.get_by_label("System prompt")).to_have_value("Be a pirate.")


def test_settings_and_the_model_hold_in_every_tab_of_the_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("one"), answer("two"))
    here = open_chat(site.url)
    here.ask("Hello")
    expect(here.button("Regenerate")).to_be_visible()
    there = open_chat(here.page.url, here.page.context)
    expect(there.replies.locator(".body")).to_have_text("one")
    here.prompts.append("m-2")
    here.page.get_by_label("Model").select_option(label="Other model …")
    here.button("Settings").click()
    here.page.get_by_label("System prompt").fill("Be a pirate.")
    here.button("Close").click()
    expect(there.page.get_by_label("Model")).to_have_value("m-2")
    expect(there.page.get_by_role("button", name="Settings (changed)")).to_be_visible()
    there.ask("Again")
    expect(there.replies.last.locator(".body")).to_have_text("two")
    assert site.asked(1)[0] == {"role": "system", "content": "Be a pirate."}
    assert site.upstream.requests[1].json["model"] == "m-2"


def test_a_draft_is_kept_for_its_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi")).url)
    chat.ask("Hello")
    expect(chat.button("Regenerate")).to_be_visible()
    chat.field.fill("not yet sent")
    chat.button("New chat").click()
    expect(chat.field).to_have_value("")
    chat.field.fill("another")
    chat.conversations.click()
    expect(chat.field).to_have_value("not yet sent")
    chat.reload()
    expect(chat.field).to_have_value("not yet sent")
    chat.button("New chat").click()
    expect(chat.field).to_have_value("another")


def test_conversations_are_searched_renamed_and_deleted(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("about rivers"), answer("about hills")).url)
    for title in ("first", "second"):
        chat.button("New chat").click()
        chat.ask(title)
        expect(chat.button("Regenerate")).to_be_visible()
    expect(chat.conversations).to_have_text(["second", "first"])
    search = chat.page.get_by_role("searchbox", name="Search conversations")
    search.fill("RIVER")
    expect(chat.conversations).to_have_text(["first"])
    search.fill("second")
    expect(chat.conversations).to_have_text(["second"])
    search.fill("")
    chat.button("Rename first").click()
    name = chat.page.get_by_role("textbox", name="Name of the conversation")
    expect(name).to_be_focused()
    name.fill("About rivers")
    name.press("Enter")
    expect(chat.conversations).to_have_text(["second", "About rivers"])
    chat.button("Rename second").click()
    name.fill("dropped")
    name.press("Escape")
    expect(chat.conversations).to_have_text(["second", "About rivers"])
    chat.button("Delete second").click()
    expect(chat.conversations).to_have_text(["About rivers"])
    chat.reload()
    expect(chat.conversations).to_have_text(["About rivers"])


def test_code_has_its_language_and_can_be_copied(
    open_site: OpenSite, open_chat: OpenChat, new_context: Callable[..., BrowserContext]
) -> None:
    context = new_context(permissions=["clipboard-read", "clipboard-write"])
    chat = open_chat(open_site(answer("Look:\n```python\nprint(1)\n```\ndone")).url, context)
    chat.ask("Code")
    expect(chat.replies.locator(".language")).to_have_text("python")
    chat.replies.locator(".code").get_by_role("button", name="Copy").click()
    expect(chat.replies.get_by_role("button", name="Copied")).to_be_visible()
    assert chat.page.evaluate("navigator.clipboard.readText()").strip() == "print(1)"


def test_a_button_leads_back_to_the_end(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("line\n\n" * 200)).url)
    chat.ask("Much")
    expect(chat.button("Regenerate")).to_be_visible()
    to_end = chat.button("Scroll to the end")
    expect(to_end).to_be_hidden()
    chat.messages.evaluate("list => list.scrollTop = 0")
    to_end.click()
    expect(to_end).to_be_hidden()
    assert chat.messages.evaluate("list => list.scrollHeight - list.scrollTop - list.clientHeight < 60")


def test_a_model_that_is_not_listed_can_be_asked_for(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Hi"))
    chat = open_chat(site.url)
    chat.prompts.append("backend/m-2")
    chat.page.get_by_label("Model").select_option(label="Other model …")
    expect(chat.page.get_by_label("Model")).to_have_value("backend/m-2")
    chat.ask("Hello")
    expect(chat.button("Regenerate")).to_be_visible()
    assert site.upstream.requests[0].json["model"] == "m-2"
    chat.reload()
    expect(chat.page.get_by_label("Model")).to_have_value("backend/m-2")


def test_a_reply_from_an_upstream_with_other_line_ends_is_complete(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat: Chat = open_chat(open_site(answer("Hi")).url)
    texts = chat.page.evaluate("""async () => {
        const {events} = await import("/web/api.js");
        const bytes = new TextEncoder().encode("data: one\\r\\n\\r\\ndata: two\\n\\ndata: [DONE]\\r\\n\\r\\n");
        const body = new ReadableStream({start(controller) {
            for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
            controller.close();
        }});
        const found = [];
        for await (const data of events(new Response(body))) found.push(data);
        return found;
    }""")
    assert texts == ["one", "two", "[DONE]"]
