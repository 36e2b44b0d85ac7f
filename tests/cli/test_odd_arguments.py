"""No command line prints a traceback, whatever it contains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO, LIMIT, environment, run
from tests.terminal import Terminal

VALUES = [
    b"",
    b" ",
    b"-",
    b"--",
    b"=",
    b"/",
    b"://",
    b"null",
    b"nan",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"[" * 3000,
    b'{"a": 1}',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    "你好 👋".encode(),
    b"http://",
    b"http://[::1",
    b"http://u:p@ss/@host",
    b"http://127.0.0.1:99999",
    b"embedded://nothing",
    b"embedded:///nothing.gguf",
    b"embedded:///etc/hostname",
    b"acytoo/x",
    b"embedded/x",
    b"openai/",
    b"compatible/x",
    b"../../x",
]

OPTIONS: list[list[bytes]] = [
    [b"-m", b"%s", b"hi"],
    [b"--url", b"%s", b"hi"],
    [b"--key", b"%s", b"hi"],
    [b"--password", b"%s", b"hi"],
    [b"--proxy", b"%s", b"hi"],
    [b"--timeout", b"%s", b"hi"],
    [b"-t", b"%s", b"hi"],
    [b"-s", b"%s", b"hi"],
    [b"%s"],
    [b"chat", b"%s"],
    [b"-o", b"%s", b"hi"],
    [b"check", b"%s"],
    [b"check", b"-m", b"%s"],
    [b"providers", b"%s"],
    [b"credentials", b"remove", b"%s"],
    [b"credentials", b"set", b"%s"],
    [b"keys", b"new", b"%s"],
    [b"keys", b"new", b"a", b"--models", b"%s"],
    [b"keys", b"new", b"a", b"--rpm", b"%s"],
    [b"keys", b"new", b"a", b"--budget", b"%s"],
    [b"keys", b"new", b"a", b"--budget", b"%s/month"],
    [b"keys", b"new", b"a", b"--expires", b"%s"],
    [b"keys", b"new", b"a", b"--expires", b"%sd"],
    [b"keys", b"new", b"a", b"--config", b"%s"],
    [b"keys", b"list", b"--config", b"%s"],
    [b"keys", b"revoke", b"%s", b"--config", b"acytoo.toml"],
    [b"config", b"check", b"%s"],
    [b"config", b"import", b"litellm", b"%s"],
    [b"config", b"import", b"%s", b"config.yaml"],
    [b"pull", b"%s"],
    [b"completion", b"%s"],
    [b"fake", b"--fault", b"%s", b"--dialect", b"nothing"],
    [b"fake", b"--fault", b"%s+nothing"],
    [b"fake", b"--dialect", b"%s/"],
    [b"fake", b"--port", b"%s", b"--dialect", b"nothing"],
    [b"serve", b"--to", b"%s=x", b"--host", b"0.0.0.0"],
    [b"serve", b"--to", b"%s", b"--host", b"0.0.0.0"],
    [b"serve", b"--to", b"acytoo", b"--to-key", b"%s", b"--host", b"0.0.0.0"],
    [b"serve", b"--to", b"http://127.0.0.1:9", b"--host", b"%s/"],
    [b"serve", b"--to", b"http://127.0.0.1:9", b"--grace", b"%s", b"--host", b"0.0.0.0"],
]

NAMES = [
    "model", "messages", "messages[0]", "stream", "provider", "proxy", "key", "api_key", "url", "base_url", "timeout",
    "temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format", "user",
    "reasoning_effort", "logprobs", "parallel_tool_calls", "extra_body", "extra_headers", "ca", "trust_env",
    "drop_unsupported", "conversation", "media", "self", "kwargs", "", "a b", "__class__",
]  # fmt: skip
JSON_VALUES = [
    "",
    "x",
    "1",
    "1.5",
    "true",
    "null",
    "[]",
    "[1]",
    "{}",
    '{"a": 1}',
    '[{"type": "function"}]',
    "nan",
    "[" * 3000,
]

DRIVER = r"""
import contextlib, io, json, os, sys, traceback
from acytoo.cli import main
from acytoo.cli import exit_codes
lines = [[os.fsdecode(bytes.fromhex(word)) for word in line] for line in json.load(open(sys.argv[1]))]
for line in lines:
    sys.argv = ["acytoo", *line]
    sys.stdin = open(os.devnull)
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdout, sys.stderr = io.TextIOWrapper(out, "utf-8"), io.TextIOWrapper(err, "utf-8")
    problem, code = "", None
    try:
        main()
    except SystemExit as exit:
        code = exit.code
    except BaseException:
        problem = traceback.format_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    text = err.getvalue().decode()
    # A message for users has one line or, with click's usage, three; and nothing of msgspec's or Python's.
    if code not in (0, 1, 2) or "Traceback" in text or "unexpected error" in text or (code and not text):
        problem = problem or f"exit code {code}"
    for words in ("Expected `", "$.", " | null", "object at 0x", "got an unexpected keyword", "extra_body=", "=…,"):
        problem = problem or (words in text and not "-o extra_body=" in text and f"the library's words {words}")
    if problem:
        print(json.dumps([[word[:80] for word in line], problem, text[-600:]]), file=sys.__stdout__)
"""


def run_lines(lines: list[list[bytes]], tmp_path: Path) -> str:
    """Run the command lines in one process. Return what is wrong with each that fails."""
    file = tmp_path / "lines.json"
    file.write_text(json.dumps([[word.hex() for word in line] for line in lines]))
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(file)],
            capture_output=True,
            env=environment({"ACYTOO_URL": fake.url, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}),
            stdin=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_no_value_of_an_option_prints_a_traceback(tmp_path: Path) -> None:
    lines = [[word.replace(b"%s", value) for word in line] for line in OPTIONS for value in VALUES]
    assert run_lines(lines, tmp_path) == ""


@pytest.mark.parametrize("server", [[], ["-m", "compatible/m"]], ids=["acytoo", "openai"])
def test_no_request_option_prints_a_traceback(server: list[str], tmp_path: Path) -> None:
    lines = [[*server, "-o", f"{name}={value}", "hi"] for name in NAMES for value in JSON_VALUES]
    with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        options = ["--url", fake.url] if server else []
        assert run_lines([[word.encode() for word in [*options, *line]] for line in lines], tmp_path) == ""


@pytest.mark.parametrize(
    "command", ["", "chat", "check", "serve", "fake", "credentials", "credentials set", "pull", "completion"]
)
def test_a_flag_without_its_value_or_twice_is_no_traceback(command: str, tmp_path: Path) -> None:
    words = [*command.split()]
    lines = [[*words, flag] for flag in ("-m", "--url", "-o", "--to", "--port", "--nonsense", "-x", "--fault")]
    lines += [[*words, "--help"], [*words, "--version"]]
    assert run_lines([[os.fsencode(word) for word in line] for line in lines], tmp_path) == ""


@pytest.mark.parametrize("stdin", [b"\xff\xfe\x00", b"\x00", b"\n\n", "é".encode("utf-16")])
def test_no_piped_text_prints_a_traceback(stdin: bytes) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = subprocess.run(
            [ACYTOO, "--url", fake.url], input=stdin, capture_output=True, env=environment(), timeout=LIMIT, check=False
        )
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("typed", [False, True], ids=["arguments", "conversation"])
def test_bytes_that_are_not_utf_8_reach_the_server_as_replacement_characters(typed: bool) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        command = [ACYTOO, "--url", fake.url, "-s", "S\udcff"]
        if typed:
            with Terminal(command) as terminal:
                terminal.wait_for("> ")
                terminal.press("a\udcffb\n")
                terminal.wait_for("ok")
        else:
            assert run([*command, "a\udcffb"]).returncode == 0
    system, prompt = [message["content"] for message in fake.requests[0].json["messages"]]
    assert (system, prompt) == ("S\ufffd", "a\ufffdb")
