"""`acytoo chat` in a terminal: history, stopping, taking back, several lines, the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, status
from tests.processes import ACYTOO
from tests.terminal import CTRL_C, CTRL_D, Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals here")

PROMPT = "> "


def conversation(fake: FakeEndpoint, *options: str) -> Terminal:
    return Terminal([ACYTOO, "chat", "--url", fake.url, *options])


def say(terminal: Terminal, *lines: str) -> str:
    """Type the lines, each when it is asked for; what is shown until the next prompt."""
    for line in lines:
        terminal.press(f"{line}\n")
        terminal.wait_for(line)
    return terminal.wait_for(PROMPT)


def sent(fake: FakeEndpoint) -> list[list[str]]:
    """What each request's messages said."""
    return [[message["content"] for message in request.json["messages"]] for request in fake.requests]


def test_each_turn_sends_all_that_was_said() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two"), reply("three")) as fake,
        conversation(fake, "-s", "Be brief.") as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "one\n" in say(terminal, "first")
        assert "two\n" in say(terminal, "second")
        assert "three\n" in say(terminal, "third")
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
        FakeEndpoint(dialects.Acytoo(), reply("half of it", "never").stall(after=1), reply("again")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\n")
        terminal.wait_for("half of it")
        terminal.press(CTRL_C)
        terminal.wait_for(PROMPT)
        assert "again" in say(terminal, "second")
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
        fake.wait_disconnected()
    assert sent(fake)[-1] == ["first", "half of it", "second"]


def test_ctrl_c_before_the_first_word_takes_the_turn_back() -> None:
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
        say(terminal, "second")
    assert sent(fake)[-1] == ["second"]


def test_ctrl_c_at_the_prompt_says_how_to_leave() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press("half a wor")
        terminal.wait_for("half a wor")
        terminal.interrupt()
        assert "/exit" in terminal.wait_for("conversation)")
        terminal.wait_for(PROMPT)
        assert "ok" in say(terminal, "whole")
    assert sent(fake) == [["whole"]]


@pytest.mark.parametrize("end", [CTRL_D, "/exit\n", "/quit\n"])
def test_the_conversation_ends_with_0(end: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press(end)
        assert terminal.wait() == 0


def test_new_forgets_all_but_the_instructions() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        conversation(fake, "-s", "Be brief.") as terminal,
    ):
        terminal.wait_for(PROMPT)
        say(terminal, "first")
        say(terminal, "/new")
        say(terminal, "second")
    assert sent(fake)[-1] == ["Be brief.", "second"]


def test_undo_takes_the_last_turn_back_and_then_the_one_before() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        say(terminal, "first")
        say(terminal, "second")
        say(terminal, "third")
        say(terminal, "/undo")
        say(terminal, "/undo")
        say(terminal, "fourth")
        for _ in range(3):
            say(terminal, "/undo")
        say(terminal, "fifth")
    assert sent(fake)[-2:] == [["first", "ok", "fourth"], ["fifth"]]


def test_an_unknown_command_shows_the_help_and_is_not_sent() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        assert "/undo" in say(terminal, "/help")
        assert "/undo" in say(terminal, "/nwe")
        say(terminal, "/etc is a folder")
    assert sent(fake) == [["/etc is a folder"]]


def test_a_message_may_have_several_lines() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        say(terminal, '"""', "one", "", "two", '"""')
        say(terminal, '"""three', 'four"""')
        say(terminal, '"""five"""')
        terminal.press('"""six\n')
        terminal.wait_for("… ")
        terminal.interrupt()
        terminal.wait_for(PROMPT)
        say(terminal, "seven")
    assert [messages[-1] for messages in sent(fake)] == ["one\n\ntwo", "three\nfour", "five", "seven"]


def test_an_empty_line_sends_nothing() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        for _ in range(2):
            terminal.press("  \n")
            terminal.wait_for(PROMPT)
        say(terminal, "first")
    assert sent(fake) == [["first"]]


@pytest.mark.parametrize("fault", [status(429, "slow down"), status(500, "oh")])
def test_after_an_error_the_conversation_goes_on_as_if_it_had_not_been_said(fault: ScriptedResponse) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), fault, reply("two")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        say(terminal, "first")
        assert "acytoo: " in say(terminal, "second")
        say(terminal, "third")
    assert sent(fake)[-1] == ["first", "one", "third"]


def test_words_of_every_script_are_typed_sent_and_shown_whole() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("مرحبا ", "👋").cut_bytes(1)) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "مرحبا 👋\n" in say(terminal, "你好")
    assert sent(fake) == [["你好"]]


def test_a_server_that_closes_each_connection_does_not_disturb_it() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok").until_close().close()) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        for word in ("first", "second", "third"):
            assert "ok" in say(terminal, word)


def test_where_stdout_is_a_file_it_holds_the_replies_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two")) as fake,
        out.open("wb") as file,
        Terminal([ACYTOO, "chat", "--url", fake.url], stdout=file.fileno()) as terminal,
    ):
        terminal.wait_for(PROMPT)
        say(terminal, "first")
        say(terminal, '"""sec', 'ond"""')
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
    assert out.read_text() == "one\ntwo\n"
