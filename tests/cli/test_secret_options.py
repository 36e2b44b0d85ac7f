"""Secrets on the command line: from files and pipes, and a warning about arguments that others can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO, run


@pytest.mark.parametrize("content", [b"sesame\n", b"\xef\xbb\xbfsesame\r\n"])
@pytest.mark.parametrize("flag", ["key", "password"])
def test_a_secret_is_read_from_a_file(flag: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run([ACYTOO, "--url", fake.url, f"--{flag}-file", str(tmp_path / "secret"), "Hi"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")
    assert fake.requests[0].json[flag] == "sesame"


def test_a_secret_is_the_first_line_of_a_pipe_and_the_prompt_is_the_rest() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run([ACYTOO, "--url", fake.url, "--key-file", "-", "Read:"], stdin=b"sesame\na text\n")
    assert (done.returncode, done.stdout) == (0, b"ok\n")
    body = fake.requests[0].json
    assert (body["key"], body["messages"][0]["content"]) == ("sesame", "Read:\n\na text")


@pytest.mark.parametrize("flag", ["key", "password"])
def test_a_secret_as_an_argument_is_reported_but_not_shown(flag: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run([ACYTOO, "--url", fake.url, f"--{flag}", "sesame", "Hi"])
    assert (done.returncode, done.stdout) == (0, b"ok\n")
    assert f"can read --{flag}: use --{flag}-file, or an environment variable" in done.stderr.decode()
    assert b"sesame" not in done.stderr


def test_a_secret_in_the_environment_is_not_reported() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = run([ACYTOO, "--url", fake.url, "Hi"], env={"ACYTOO_KEY": "sesame"})
    assert (done.stderr, fake.requests[0].json["key"]) == (b"", "sesame")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "a", "--key-file", "full", "Hi"], "use either --key or --key-file"),
        (["--key-file", "missing", "Hi"], "cannot read --key-file missing: No such file or directory"),
        (["--key-file", "empty", "Hi"], "--key-file empty is empty"),
        (["--password-file", "binary", "Hi"], "cannot read --password-file binary: it is not UTF-8 text"),
        (["--key-file", "-", "Hi"], "--key-file - is empty"),
        (["serve", "--password", "a", "--password-file", "full"], "use either --password or --password-file"),
        (["serve", "--to-key-file", "missing"], "cannot read --to-key-file missing"),
        (["serve", "--to-password-file", "empty"], "--to-password-file empty is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("sesame")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    done = run([ACYTOO, *arguments], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "http://user:sesame@127.0.0.1:9|http://user:sesame@127.0.0.1:10", "Hi"],
        ["-m", "http://user:sesame@127.0.0.1:9|", "Hi"],
        ["-m", "http://user:sesame@127.0.0.1:9|http://user:sesame@127.0.0.1:9", "Hi"],
        ["serve", "--to", "a=http://user:sesame@127.0.0.1:9|"],
        ["serve", "--to", "a=http://user:sesame@127.0.0.1:9|http://user:sesame@127.0.0.1:9"],
        ["serve", "--to", "http://user:sesame@127.0.0.1:9", "--to", "http://user:sesame@127.0.0.1:10"],
    ],
)
def test_a_password_in_the_url_of_a_target_is_not_shown(arguments: list[str]) -> None:
    done = run([ACYTOO, *arguments])
    assert done.returncode != 0
    assert done.stderr
    assert b"sesame" not in done.stderr
