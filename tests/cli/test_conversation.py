"""`acytoo chat` in a terminal: history, Ctrl-C, slash commands, several lines, the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, status
from acytoo.types import Finish, Reasoning, Usage
from tests.processes import ACYTOO, run
from tests.terminal import CTRL_C, CTRL_D, Terminal, paste

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


WITHOUT_TUI = [sys.executable, "-c", "import sys; sys.modules['rich'] = None; from acytoo.cli import main; main()"]


def test_lines_pasted_during_a_reply_are_one_message() -> None:
    if "libedit" in (pytest.importorskip("readline").__doc__ or ""):
        pytest.skip("libedit does not know the marks of a paste")
    with (
        FakeEndpoint(dialects.Acytoo(), reply("partial", "never").stall(after=1), reply("again")) as fake,
        Terminal([*WITHOUT_TUI, "chat", "--url", fake.url, "--timeout", "1"], env={"TERM": "xterm"}) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("partial")
        terminal.press(paste(terminal, "second\rthird\r"))
        terminal.wait_for("third")
        terminal.press("\r")
        terminal.wait_for("again")
    assert sent(fake)[-1] == ["first", "partial", "second\nthird\n"]


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


def test_undo_after_an_error_removes_only_the_message_that_failed() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), status(500, "oh"), reply("three")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "second")
        assert "(2 messages left)" in enter(terminal, "/undo")
        enter(terminal, "third")
    assert sent(fake)[-1] == ["first", "one", "third"]


def test_an_unknown_command_is_reported_and_not_sent() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        assert "/undo" in enter(terminal, "/help")
        assert "unknown command /bogus; /help shows the commands\n" in enter(terminal, "/bogus")
        enter(terminal, "/etc is a folder")
    assert sent(fake) == [["/etc is a folder"]]


@pytest.mark.parametrize("line", ["/usage now", "/exit now"])
def test_a_command_with_an_argument_that_it_does_not_take_is_not_sent(line: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press(f"{line}\n")
        name = line.split()[0]
        assert f"acytoo: {name} takes no argument\n" in terminal.wait_for(PROMPT)
        enter(terminal, "first")
    assert sent(fake) == [["first"]]


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


def test_retry_sends_the_last_message_again_also_after_an_error() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two"), status(500, "oh"), reply("three")) as fake,
        conversation(fake) as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "acytoo: there is no message" in enter(terminal, "/retry")
        enter(terminal, "first")
        assert "two" in enter(terminal, "/retry")
        enter(terminal, "second")
        assert "three" in enter(terminal, "/retry")
    assert sent(fake) == [["first"], ["first"], ["first", "two", "second"], ["first", "two", "second"]]


def test_system_sets_and_removes_the_system_prompt() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        enter(terminal, "/system Be brief.")
        enter(terminal, "first")
        enter(terminal, "/system")
        enter(terminal, "second")
    assert sent(fake) == [["Be brief.", "first"], ["first", "ok", "second"]]


def test_a_saved_conversation_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, other = Path("a.json"), Path("other.json")
    other.write_text("{}")
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake, conversation(fake) as terminal:
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        assert "(2 messages saved)" in enter(terminal, f"/save {path}")
        assert "exists and is not a saved conversation" in enter(terminal, f"/save {other}")
        assert "is not a saved conversation" in enter(terminal, f"/load {other}")
        assert "cannot read" in enter(terminal, "/load /nowhere/a.json")
        assert "needs an argument: /load FILE" in enter(terminal, "/load")
        enter(terminal, "/new")
        assert "(2 messages loaded)" in enter(terminal, f"/load {path}")
        enter(terminal, "second")
    assert sent(fake)[-1] == ["first", "ok", "second"]
    assert other.read_text() == "{}"


def test_a_loaded_conversation_has_no_usage_or_reasoning_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = reply(Reasoning("Hm."), "ok", Finish("stop"), Usage(10, 2))
    with FakeEndpoint(dialects.OpenAI(), answer) as fake, conversation(fake, "-m", "compatible/m") as terminal:
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "/save a.json")
        assert "Hm." in enter(terminal, "/reasoning")
        enter(terminal, "/load a.json")
        assert "(no usage reported)" in enter(terminal, "/usage")
        assert "(the last reply has no reasoning)" in enter(terminal, "/reasoning")


def test_words_of_the_reasoning_are_not_broken_at_the_edge() -> None:
    answer = reply(Reasoning("carefully " * 20), "ok", Finish("length"))
    with FakeEndpoint(dialects.OpenAI(), answer) as fake, conversation(fake, "-m", "compatible/m") as terminal:
        terminal.wait_for(PROMPT)
        assert "(the reply reached the limit of tokens" in enter(terminal, "first")
        shown = enter(terminal, "/reasoning")
    assert len(shown.split("\n")) > 2
    assert {word for line in shown.split("\n") for word in line.split()} >= {"carefully"}
    assert all(len(line) < 80 for line in shown.split("\n"))


def test_image_attaches_an_image_to_the_next_message_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.gif")
    path.write_bytes(b"GIF89a rest")
    with (
        FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake,
        conversation(fake, "-m", "compatible/m") as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "cannot read" in enter(terminal, "/image /nowhere.gif")
        enter(terminal, f"/image {path}")
        enter(terminal, "first")
        enter(terminal, "second")
    contents = [message["content"] for message in fake.requests[-1].json["messages"]]
    url = "data:image/gif;base64,R0lGODlhIHJlc3Q="
    assert contents == [
        [{"type": "text", "text": "first"}, {"type": "image_url", "image_url": {"url": url}}],
        "ok",
        "second",
    ]


def test_usage_shows_the_tokens_of_the_last_reply_and_of_all() -> None:
    with (
        FakeEndpoint(dialects.OpenAI(), reply("ok", Finish("stop"), Usage(10, 2))) as fake,
        conversation(fake, "-m", "compatible/m") as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "(no usage reported)" in enter(terminal, "/usage")
        enter(terminal, "first")
        enter(terminal, "second")
        shown = enter(terminal, "/usage")
    assert "last reply: 10 tokens sent, 2 received\nconversation: 20 tokens sent, 4 received\n" in shown


def test_model_asks_another_model_of_the_same_provider_with_the_same_key() -> None:
    with (
        FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake,
        conversation(fake, "-m", "compatible/one", "--key", "k") as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        assert "(model: compatible/two)" in enter(terminal, "/model two")
        enter(terminal, "second")
        assert "(model: compatible/two)" in enter(terminal, "/model")
    assert [request.json["model"] for request in fake.requests] == ["one", "two"]
    assert [request.headers.get("authorization") for request in fake.requests] == ["Bearer k"] * 2


def test_model_never_sends_the_key_to_another_provider() -> None:
    with (
        FakeEndpoint(dialects.OpenAI(), reply("one")) as fake,
        FakeEndpoint(dialects.OpenAI(), reply("two")) as other,
        Terminal(
            [ACYTOO, "chat", "-m", "compatible/m", "--url", fake.url, "--key", "private"],
            env={"OPENAI_BASE_URL": other.url, "OPENAI_API_KEY": "own"},
        ) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "/model openai/m")
        assert "two" in enter(terminal, "second")
        assert "acytoo: " in enter(terminal, "/model nothing://x")
    assert [request.headers.get("authorization") for request in other.requests] == ["Bearer own"]


def test_a_conversation_is_recorded_after_each_turn_if_that_is_on(tmp_path: Path) -> None:
    env = {"ACYTOO_STATE": str(tmp_path)}
    run([ACYTOO, "logs", "on"], env=env)
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        Terminal([ACYTOO, "chat", "--url", fake.url], env=env) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "first")
        enter(terminal, "second")
        enter(terminal, "/new")
        enter(terminal, "third")
    lines = run([ACYTOO, "logs"], env=env).stdout.decode().splitlines()
    assert ["third" in lines[0], "first" in lines[1], len(lines)] == [True, True, 2]
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        Terminal([ACYTOO, "chat", "-c", "--url", fake.url], env=env) as terminal,
    ):
        terminal.wait_for(PROMPT)
        enter(terminal, "fourth")
    assert sent(fake) == [["third", "ok", "fourth"]]


def test_edit_opens_the_last_message_in_the_editor() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two")) as fake,
        Terminal([ACYTOO, "chat", "--url", fake.url], env={"VISUAL": "sed -i s/first/second/"}) as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert "acytoo: there is no message" in enter(terminal, "/edit")
        enter(terminal, "first")
        assert "two" in enter(terminal, "/edit")
    assert sent(fake) == [["first"], ["second"]]
