"""The command in a terminal, and with standard streams that are closed, full or not UTF-8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply, status
from tests.processes import ACYTOO, run
from tests.terminal import Terminal, needs_terminal

PLAIN = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A locale in which Python uses ASCII for the standard streams."""

CONTROLS = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\x00e\x7f"


@needs_terminal
def test_control_characters_of_a_reply_never_reach_a_terminal() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply(CONTROLS, "\ttab\nline\r\n", "the end")) as fake,
        Terminal([ACYTOO, "--url", fake.url, "Hi"]) as terminal,
    ):
        assert terminal.wait() == 0
    assert terminal.shown == "a.]0;title.b.[2Jc.31md.e.\ttab\nline\nthe end\n".replace(".", "\ufffd")


@needs_terminal
@pytest.mark.parametrize("command", [["Hi"], ["check"], ["--json", "Hi"]])
def test_control_characters_of_an_error_never_reach_a_terminal(command: list[str]) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), status(400, body={"msg": f"no {CONTROLS} way"})) as fake,
        Terminal([ACYTOO, *command], env={"ACYTOO_URL": fake.url}) as terminal,
    ):
        assert terminal.wait() == 1
    assert "way" in terminal.shown
    assert not {"\x1b", "\x9b", "\x07", "\x00"} & set(terminal.shown)


@needs_terminal
def test_control_characters_of_an_error_in_a_conversation_never_reach_the_terminal() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), status(400, body={"msg": f"no {CONTROLS} way"})) as fake,
        Terminal([ACYTOO, "chat", "--url", fake.url]) as terminal,
    ):
        terminal.wait_for("> ")
        terminal.press("Hi\n")
        terminal.wait_for("way")
    assert not {"\x1b", "\x9b", "\x07", "\x00"} & set(terminal.shown)


def test_a_pipe_receives_the_reply_unchanged() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply(CONTROLS, "\r\n")) as fake:
        done = run([ACYTOO, "--url", fake.url, "Hi"])
    assert done.stdout.decode() == CONTROLS + "\r\n"


@needs_terminal
def test_without_arguments_in_a_terminal_the_help_is_shown() -> None:
    with Terminal([ACYTOO]) as terminal:
        terminal.wait()
    assert "Examples:" in terminal.shown


@needs_terminal
@pytest.mark.parametrize("arguments", [[""], ["chat", " "]])
def test_an_empty_prompt_is_an_error_and_starts_no_conversation(arguments: list[str]) -> None:
    with Terminal([ACYTOO, *arguments]) as terminal:
        assert terminal.wait() == 2
    assert "the prompt is empty" in terminal.shown


@pytest.mark.parametrize("arguments", [[], ["chat"], ["", ""]])
def test_an_empty_pipe_is_an_error(arguments: list[str]) -> None:
    done = run([ACYTOO, *arguments])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"the prompt is empty" in done.stderr


def test_text_that_the_locale_cannot_encode_is_escaped() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("caf\xe9 你好")) as fake:
        done = run([ACYTOO, "--url", fake.url, "Hi"], env=PLAIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"caf\\xe9 \\u4f60\\u597d\n"


def test_json_is_utf_8_in_every_locale() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("caf\xe9 👋")) as fake:
        done = run([ACYTOO, "--json", "--url", fake.url, "Hi"], env=PLAIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"type": "text", "text": "caf\xe9 👋"}]


def test_a_piped_prompt_is_utf_8_in_every_locale() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run([ACYTOO, "--url", fake.url], env=PLAIN, stdin="你好 👋".encode())
        assert done.returncode == 0
        assert fake.requests[0].json["messages"][0]["content"] == "你好 👋"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["Hi"], ["--json", "Hi"], ["completion", "bash"], ["--help"]])
def test_a_full_disk_is_a_one_line_error_and_exits_with_1(arguments: list[str]) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        done = run(["bash", "-c", '"$@" >/dev/full', "bash", ACYTOO, *arguments], env={"ACYTOO_URL": fake.url})
    assert done.returncode == 1
    assert done.stderr.decode() == "acytoo: cannot write to standard output: No space left on device\n"


def test_with_standard_input_closed_the_prompt_comes_from_the_arguments() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run(["bash", "-c", '"$@" <&-', "bash", ACYTOO, "--url", fake.url, "Hi"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("acytoo se", "serve"),
        ("acytoo ", "completion"),
        ("acytoo serve --gr", "--grace"),
        ("acytoo chat --sys", "--system"),
        ("acytoo completion f", "fish"),
    ],
)
def test_the_shell_completes_commands_and_options(words: str, expected: str) -> None:
    env = {
        "_ACYTOO_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = run([ACYTOO], env=env)
    assert done.stderr == b""
    assert expected in [line.partition(",")[2] for line in done.stdout.decode().splitlines()]
