"""What goes wrong while a reply arrives, and who may ask: nothing incomplete is taken for a complete reply."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Finish
from tests.processes import ACYTOO, start
from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat, OpenSite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Route

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect


def test_the_text_of_a_server_that_dies_is_kept_and_marked_and_sent_as_incomplete(
    open_site: OpenSite, open_chat: OpenChat, tmp_path: Path
) -> None:
    with FakeEndpoint(dialects.Acytoo(), answer("Once upon a", " time").stall(after=2)) as upstream:
        process = start([ACYTOO, "serve", "--port", "0", "--to", upstream.url])
        try:
            assert process.stderr is not None
            chat = open_chat(process.stderr.readline().split()[2].decode())
            chat.ask("A story")
            expect(chat.replies).to_contain_text("Once upon")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        expect(chat.replies.locator(".cut")).to_contain_text("This reply was cut")
        expect(chat.replies).to_contain_text("Once upon")


def test_a_reply_that_was_cut_is_sent_as_an_incomplete_one(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").reset(after=2), answer("time."))
    chat = open_chat(site.url)
    chat.ask("A story")
    expect(chat.replies.locator(".cut")).to_contain_text("This reply was cut")
    chat.ask("Continue")
    expect(chat.replies.nth(1)).to_contain_text("time.")
    question, half, _ = site.asked(1)
    assert question["content"] == "A story"
    assert half == {"role": "assistant", "content": "Once upon a\n\n[This reply is incomplete.]"}


def test_an_error_in_mid_stream_is_shown_and_the_text_before_it_is_kept(
    open_site: OpenSite, open_chat: OpenChat
) -> None:
    chat = open_chat(open_site(answer("Once upon a", " time").fail("out of memory", after=2)).url)
    chat.ask("A story")
    expect(chat.replies.locator(".cut")).to_contain_text("out of memory")
    expect(chat.replies.locator(".body")).to_have_text("Once upon a")


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("length", "The reply reached the limit of tokens."),
        ("content_filter", "A content filter ended the reply."),
    ],
)
def test_a_reply_that_the_model_did_not_end_is_marked(
    reason: str, note: str, open_site: OpenSite, open_chat: OpenChat
) -> None:
    chat = open_chat(open_site(reply("Once upon", Finish(reason))).url)
    chat.ask("A story")
    expect(chat.replies.locator(".cut")).to_have_text(note)


def test_an_error_in_mid_stream_reaches_a_page_that_is_busy_while_it_arrives(
    open_site: OpenSite, open_chat: OpenChat
) -> None:
    chat = open_chat(open_site(answer("Once upon a", " time").fail("out of memory", after=2)).url)
    chat.page.evaluate(
        """() => {
            const fetch = window.fetch;
            window.fetch = async (...request) => {
                const response = await fetch(...request);
                const end = performance.now() + 400;
                while (performance.now() < end);
                return response;
            };
        }"""
    )
    chat.ask("A story")
    expect(chat.replies.locator(".cut")).to_contain_text("out of memory")


def test_a_refused_request_shows_the_message_and_is_not_sent_again_as_a_reply(
    open_site: OpenSite, open_chat: OpenChat
) -> None:
    site = open_site(status(400, "this model takes no images"), answer("Fine"))
    chat = open_chat(site.url)
    chat.ask("Look")
    expect(chat.replies.locator(".cut")).to_contain_text("this model takes no images")
    expect(chat.replies.locator(".cut")).not_to_contain_text("This reply was cut")
    chat.button("Regenerate").click()
    expect(chat.replies.locator(".body")).to_have_text("Fine")
    assert [message["role"] for message in site.asked(1)] == ["user"]


def test_a_server_that_cannot_be_reached_is_named_as_the_reason(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi")).url)
    chat.page.context.set_offline(True)
    chat.ask("Hello")
    expect(chat.replies.locator(".cut")).to_contain_text("The server cannot be reached")


def test_the_password_is_asked_for_once_and_again_if_it_is_wrong(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer("Hi"), password="secret").url)
    dialog = chat.page.get_by_role("dialog")
    field = chat.page.get_by_label("Password or key")
    expect(field).to_be_focused()
    field.fill("wrong")
    field.press("Enter")
    expect(dialog).to_contain_text("wrong")
    field.fill("secret")
    field.press("Enter")
    expect(dialog).to_be_hidden()
    expect(chat.page.get_by_label("Model")).not_to_be_empty()
    chat.reload()
    chat.ask("Hello")
    expect(chat.replies.locator(".body")).to_have_text("Hi")
    expect(dialog).to_be_hidden()


def test_a_password_dialog_that_is_closed_keeps_the_password_and_comes_back_when_it_is_needed(
    open_site: OpenSite, open_chat: OpenChat
) -> None:
    chat = open_chat(open_site(answer("Hi"), password="secret").url)
    dialog = chat.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(chat.page.get_by_role("alert")).to_contain_text("password")
    chat.ask("Hello")
    expect(dialog).to_be_visible()


def test_conversations_are_kept_in_memory_if_the_browser_does_not_allow_storage(
    browser: Browser, open_site: OpenSite, tmp_path: Path
) -> None:
    preferences = tmp_path / "Default" / "Preferences"
    preferences.parent.mkdir()
    preferences.write_text('{"profile": {"default_content_setting_values": {"cookies": 2}}}')
    site = open_site(answer("one"), answer("two"))
    with browser.browser_type.launch_persistent_context(
        tmp_path, executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    ) as context:
        chat = Chat(context.new_page(), site.url)
        expect(chat.page.locator("#unsaved")).to_contain_text("conversations are lost when it is closed")
        chat.ask("First")
        expect(chat.replies.locator(".body")).to_have_text("one")
        expect(chat.button("Regenerate")).to_be_visible()
        chat.button("New chat").click()
        chat.ask("Second")
        expect(chat.replies.locator(".body")).to_have_text("two")
        chat.conversations.filter(has_text="First").click()
        expect(chat.replies.locator(".body")).to_have_text("one")
        assert not chat.errors


def test_a_full_disk_does_not_end_a_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("one"), answer("two"))
    chat = open_chat(site.url)
    chat.page.context.new_cdp_session(chat.page).send(
        "Storage.overrideQuotaForOrigin", {"origin": site.url, "quotaSize": 1}
    )
    chat.ask("First " * 10_000)
    expect(chat.replies.locator(".body")).to_have_text("one")
    expect(chat.replies.locator(".cut")).to_have_count(0)
    expect(chat.page.locator("#unsaved")).to_contain_text("could not store the last change")
    chat.ask("Second")
    expect(chat.replies.last.locator(".body")).to_have_text("two")
    assert [message["role"] for message in site.asked(1)] == ["user", "assistant", "user"]


def test_a_conversation_that_another_tab_deletes_is_gone_here_too(open_site: OpenSite, open_chat: OpenChat) -> None:
    site = open_site(answer("Once upon a", " time").stall(after=2), answer("new"))
    here = open_chat(site.url)
    here.ask("First")
    expect(here.replies).to_contain_text("Once upon")
    there = open_chat(here.page.url, here.page.context)
    there.button("Delete First").click()
    expect(here.page.get_by_role("alert").filter(has_text="deleted in another tab")).to_be_visible()
    site.upstream.wait_disconnected()
    here.ask("Second")
    expect(here.replies.locator(".body")).to_have_text("new")
    assert len(site.asked(1)) == 1
    count = "async () => (await (await import('/web/store.js')).exportAll()).nodes.length"
    assert here.page.evaluate(count) == 2


def test_a_list_of_models_that_arrives_late_does_not_hide_an_error(
    open_site: OpenSite, open_chat: OpenChat, new_context: Callable[..., BrowserContext]
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    context = new_context()
    context.route("**/v1/models", hold)
    chat = open_chat(open_site(answer("Hello.")).url, context)
    chat.page.locator("#import-file").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": b"{"}
    )
    expect(chat.page.get_by_role("alert")).to_contain_text("not JSON")
    while not held:
        chat.page.wait_for_timeout(10)
    held.pop().continue_()
    expect(chat.page.get_by_role("option", name="m-1")).to_be_attached()
    expect(chat.page.get_by_role("alert")).to_contain_text("not JSON")
    chat.button("New chat").click()
    expect(chat.page.get_by_role("alert")).to_have_count(0)
