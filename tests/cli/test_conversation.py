"""`acytoo chat` in a terminal: history, Ctrl-C, slash commands, several lines, the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, status
from tests.processes import ACYTOO
from tests.terminal import CTRL_C, CTRL_D, Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

PROMPT = "> "


def conversation(fake: FakeEndpoint, *options: str) -> Terminal:
    return Terminal([ACYTOO, "chat", "--url", fake.url, *options])


def enter(terminal: Terminal, *lines: str) -> str:
    """Type the lines one after the other. Return the text shown up to the next prompt."""
    for line in lines:
        terminal.press(f"{line}\n")
        terminal.wait_for(line)
    return terminal.wait_for(PROMPT)


def sent(fake: FakeEndpoint) -> list[list[str]]:
    """Return the contents of each request's messages."""
    return [[message["content"] for message in request.json["messages"]] for request in fake.requests]


def test_each_turn_sends_all_messages_so_far() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two"), reply("three")) as fake,
        conversation(fake, "-s", "Be brief.") as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "one\n" in enter(terminal, "first")
        assert "two\n" in enter(terminal, "second")
        assert "three\n" in enter(terminal, "third")
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
    assert sent(fake)[-1] == ["Be brief.", "first", "one", "second", "two", "third"]
    assert [message["role"] for message in fake.requests[-1].json["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


def test_ctrl_c_stops_the_reply_but_not_the_program() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("partial", "never").stall(after=1), reply("again")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\n")
        terminal.wait_for("partial")
        terminal.press(CTRL_C)
        terminal.wait_for(PROMPT)
        assert "again" in enter(terminal, "second")
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
        fake.wait_disconnected()
    assert sent(fake)[-1] == ["first", "partial", "second"]


def test_ctrl_c_before_the_first_text_removes_the_turn() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("x").stall(after=0), reply("ok")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\n")
        while not fake.requests:
            time.sleep(0.01)
        terminal.press(CTRL_C)
        terminal.wait_for(PROMPT)
        enter(terminal, "second")
    assert sent(fake)[-1] == ["second"]


def test_ctrl_c_at_the_prompt_shows_how_to_leave() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press("unfinished")
        terminal.wait_for("unfinished")
        terminal.interrupt()
        assert "/exit" in terminal.wait_for("/exit)")
        terminal.wait_for(PROMPT)
        assert "ok" in enter(terminal, "complete")
    assert sent(fake) == [["complete"]]


@pytest.mark.parametrize("end", [CTRL_D, "/exit\n", "/quit\n"])
def test_the_conversation_ends_with_0(end: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press(end)
        assert terminal.wait() == 0


def test_new_keeps_only_the_system_prompt() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        conversation(fake, "-s", "Be brief.") as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "/new")
        enter(terminal, "second")
    assert sent(fake)[-1] == ["Be brief.", "second"]


def test_undo_removes_one_turn_at_a_time() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "second")
        enter(terminal, "third")
        enter(terminal, "/undo")
        enter(terminal, "/undo")
        enter(terminal, "fourth")
        for _ in range(3):
            enter(terminal, "/undo")
        enter(terminal, "fifth")
    assert sent(fake)[-2:] == [["first", "ok", "fourth"], ["fifth"]]


def test_an_unknown_command_is_reported_and_not_sent() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        assert "/undo" in enter(terminal, "/help")
        assert "unknown command /bogus; /help shows the commands\n" in enter(terminal, "/bogus")
        enter(terminal, "/etc is a folder")
    assert sent(fake) == [["/etc is a folder"]]


def test_a_message_may_have_several_lines() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        enter(terminal, '"""', "one", "", "two", '"""')
        enter(terminal, '"""three', 'four"""')
        enter(terminal, '"""five"""')
        terminal.press('"""six\n')
        terminal.wait_for("… ")
        terminal.interrupt()
        terminal.wait_for(PROMPT)
        enter(terminal, "seven")
    assert [messages[-1] for messages in sent(fake)] == ["one\n\ntwo", "three\nfour", "five", "seven"]


def test_an_empty_line_sends_nothing() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        for _ in range(2):
            terminal.press("  \n")
            terminal.wait_for(PROMPT)
        enter(terminal, "first")
    assert sent(fake) == [["first"]]


@pytest.mark.parametrize("fault", [status(429, "slow down"), status(500, "oh")])
def test_a_message_that_got_an_error_is_not_sent_again(fault: ScriptedResponse) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), fault, reply("two")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        assert "acytoo: " in enter(terminal, "second")
        enter(terminal, "third")
    assert sent(fake)[-1] == ["first", "one", "third"]


def test_unicode_is_typed_sent_and_shown_unchanged() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("مرحبا ", "👋").cut_bytes(1)) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "مرحبا 👋\n" in enter(terminal, "你好")
    assert sent(fake) == [["你好"]]


def test_a_server_that_closes_each_connection_is_no_problem() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok").until_close().close()) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        for word in ("first", "second", "third"):
            assert "ok" in enter(terminal, word)


def test_a_file_as_stdout_receives_only_the_replies(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two")) as fake,
        out.open("wb") as file,
        Terminal([ACYTOO, "chat", "--url", fake.url], stdout=file.fileno()) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, '"""sec', 'ond"""')
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
    assert out.read_text() == "one\ntwo\n"


def test_keys_typed_during_a_reply_appear_at_the_next_prompt_and_not_in_the_reply() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one", "two", "three").drip(1, 0.1), reply("ok")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\n")
        terminal.wait_for("one")
        terminal.press("second")
        assert terminal.wait_for(PROMPT).endswith("twothree\n> ")
        terminal.press("\n")
        terminal.wait_for(PROMPT)
    assert sent(fake)[-1] == ["first", "onetwothree", "second"]
