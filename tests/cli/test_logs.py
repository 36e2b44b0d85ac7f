"""Recorded conversations: `acytoo logs`, `-c`, and the files and images of a prompt."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.cli.conversation_log import ConversationLog
from acytoo.errors import UsageError
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, status
from tests.processes import ACYTOO, run

Run = Callable[..., subprocess.CompletedProcess[bytes]]
PNG = b"\x89PNG\r\n\x1a\n rest"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def acytoo(state: Path) -> Run:
    """Return a function that runs the command with its own state folder."""

    def start(*arguments: str, code: int = 0, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        done = run([ACYTOO, *arguments], env={"ACYTOO_STATE": str(state)}, stdin=stdin)
        assert done.returncode == code, done.stderr.decode()
        return done

    return start


def contents(fake: FakeEndpoint) -> list[list[object]]:
    return [[message["content"] for message in request.json["messages"]] for request in fake.requests]


def test_nothing_is_recorded_by_default(acytoo: Run, state: Path) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        acytoo("--url", fake.url, "Hi")
    assert b"`acytoo logs on`" in acytoo("logs").stderr
    assert not state.exists()


def test_c_continues_the_last_conversation(acytoo: Run, state: Path) -> None:
    acytoo("logs", "on")
    with FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two"), reply("three")) as fake:
        acytoo("--url", fake.url, "-s", "Be brief.", "first")
        acytoo("--url", fake.url, "-c", "second")
        acytoo("--url", fake.url, "-c", "-s", "Be long.", "third")
    assert contents(fake)[1:] == [
        ["Be brief.", "first", "one", "second"],
        ["Be long.", "first", "one", "second", "two", "third"],
    ]
    lines = acytoo("logs").stdout.decode().splitlines()
    assert len(lines) == 1
    assert "first" in lines[0]
    assert stat.S_IMODE((state / "conversations.db").stat().st_mode) == 0o600


def test_c_continues_with_the_same_model(acytoo: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acytoo("logs", "on")
    with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        acytoo("-m", "openai/some-model", "first")
        acytoo("-c", "second")
        assert fake.requests[1].json["model"] == "some-model"


def test_without_a_recorded_conversation_c_is_an_error(acytoo: Run) -> None:
    assert b"`acytoo logs on`" in acytoo("-c", "Hi", code=2).stderr


def test_off_stops_recording_and_keeps_what_is_recorded(acytoo: Run) -> None:
    acytoo("logs", "on")
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        acytoo("--url", fake.url, "first")
        acytoo("logs", "off")
        acytoo("--url", fake.url, "second")
    listed = acytoo("logs").stdout
    assert b"first" in listed
    assert b"second" not in listed


@pytest.mark.parametrize("has_index", [True, False])
def test_a_query_finds_the_conversations_with_all_its_words(has_index: bool, acytoo: Run, state: Path) -> None:
    acytoo("logs", "on")
    if not has_index:
        with closing(sqlite3.connect(state / "conversations.db")) as database:
            database.execute("DROP TABLE message_index")
            database.execute("CREATE TABLE message_index (takes_the_name)")
    with FakeEndpoint(dialects.Acytoo(), reply("The Nile is long."), reply("Red, as always.")) as fake:
        acytoo("--url", fake.url, "Name a river")
        acytoo("--url", fake.url, "Name a colour")
    for query, expected in [("nile", 1), ("name", 2), ("long nile", 1), ("nile red", 0), ('"', 0), ("AND *", 0)]:
        assert len(acytoo("logs", *query.split()).stdout.splitlines()) == expected, query


def test_show_prints_a_conversation_and_delete_deletes_it(acytoo: Run, state: Path) -> None:
    acytoo("logs", "on")
    with FakeEndpoint(dialects.Acytoo(), reply("secret \x1b[2J reply")) as fake:
        acytoo("--url", fake.url, "my question")
    shown = acytoo("logs", "show", "1").stdout.decode()
    assert shown.startswith("user:\nmy question\n\nassistant:\nsecret \ufffd[2J reply\n")
    assert json.loads(acytoo("logs", "show", "--json", "1").stdout)["messages"][0]["content"] == "my question"
    acytoo("logs", "delete", "1")
    assert b"no conversation 1" in acytoo("logs", "show", "1", code=2).stderr
    assert b"question" not in (state / "conversations.db").read_bytes()


def test_path_prints_the_file(acytoo: Run, state: Path) -> None:
    assert acytoo("logs", "path").stdout.decode() == f"{state / 'conversations.db'}\n"


@pytest.mark.parametrize("fault", [status(500, "no"), reply("half").reset(after=1)])
def test_the_part_of_a_failed_reply_is_recorded(fault: ScriptedResponse, acytoo: Run) -> None:
    acytoo("logs", "on")
    with FakeEndpoint(dialects.Acytoo(), fault) as fake:
        acytoo("--url", fake.url, "Hi", code=1)
    listed = acytoo("logs", "Hi").stdout
    assert bool(listed) == ("half" in repr(fault))


def test_a_changed_conversation_replaces_only_what_differs(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACYTOO_STATE", str(state))
    log = ConversationLog()
    messages = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    number = log.save(None, "m", messages)
    assert log.save(number, "m", [*messages[:1], {"role": "user", "content": "four"}]) == number
    assert [message["content"] for message in log.read()[2]] == ["one", "four"]
    assert not log.search("three", 10)
    assert log.search("fou", 10)
    with pytest.raises(UsageError, match="no conversation 7"):
        log.read(7)


def test_files_become_part_of_the_prompt(acytoo: Run, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("```\ncode\n```")
    (tmp_path / "b.txt").write_text("text\n")
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        acytoo(
            "--url", fake.url, "-f", str(tmp_path / "a.md"), "-f", str(tmp_path / "b.txt"), "Compare", stdin=b"piped"
        )
        acytoo("--url", fake.url, "-f", str(tmp_path / "b.txt"))
    files = ["a.md:\n\n````\n```\ncode\n```\n````", "b.txt:\n\n```\ntext\n```"]
    assert contents(fake) == [["\n\n".join(["Compare", "piped", *files])], [files[1]]]


def test_images_become_content_parts(acytoo: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        options = ("-m", "compatible/m", "--url", fake.url)
        acytoo(*options, "-a", str(tmp_path / "a.png"), "-a", "https://example.com/b.jpg", "What is it?")
    urls = [f"data:image/png;base64,{base64.b64encode(PNG).decode()}", "https://example.com/b.jpg"]
    assert contents(fake) == [
        [[{"type": "text", "text": "What is it?"}, *[{"type": "image_url", "image_url": {"url": url}} for url in urls]]]
    ]


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("-f", b"\xff\xfe", "is not UTF-8 text: for an image, use -a"),
        ("-f", b"a\0b", "is not UTF-8 text: for an image, use -a"),
        ("-f", None, "cannot read"),
        ("-a", b"text", "is not an image"),
        ("-a", None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_sent_is_an_error(
    option: str, content: bytes | None, message: str, acytoo: Run, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert message in acytoo(option, str(path), "Hi", code=2).stderr.decode()


@pytest.mark.parametrize("option", ["-f", "-a"])
def test_a_folder_and_an_endless_device_are_errors(option: str, acytoo: Run, tmp_path: Path) -> None:
    assert b"Is a directory" in acytoo(option, str(tmp_path), "Hi", code=2).stderr
    assert b"/dev/zero is larger than 32 MiB" in acytoo(option, "/dev/zero", "Hi", code=2).stderr


def test_a_file_that_is_given_twice_is_sent_once(acytoo: Run, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("text")
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        acytoo("--url", fake.url, *["-f", str(tmp_path / "b.txt")] * 2)
    assert contents(fake) == [["b.txt:\n\n```\ntext\n```"]]


def test_a_damaged_file_is_reported_and_the_reply_is_printed(acytoo: Run, state: Path) -> None:
    state.mkdir()
    (state / "conversations.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = acytoo("--url", fake.url, "Hi")
    assert done.stdout == b"ok\n"
    assert b"is not recorded: cannot open" in done.stderr
    assert b"cannot open" in acytoo("logs", code=2).stderr
