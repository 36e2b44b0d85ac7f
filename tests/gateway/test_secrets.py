"""References to secrets: what is behind them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from acytoo.errors import UsageError
from acytoo.gateway.secrets import resolve_secret, resolve_url

WHERE = "acytoo.toml:7"


def error_of(reference: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve_secret(reference, WHERE)
    assert "hunter2" not in str(caught.value)
    assert all("hunter2" not in repr(entry.locals) for entry in caught.traceback[2:])
    return str(caught.value)


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", " hunter2\n")
    assert resolve_secret("env:TEAM_KEY", WHERE).reveal() == "hunter2"


@pytest.mark.parametrize("content", [b"hunter2\n", b"hunter2\r\n", b"\xef\xbb\xbfhunter2\r\n"])
def test_a_file_is_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.txt"
    file.write_bytes(content)
    assert resolve_secret(f"file:{file}", WHERE).reveal() == "hunter2"


def test_a_missing_variable_is_an_error_that_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACYTOO_TEAM_KEY", "hunter2")
    assert error_of("env:ACYTO_TEAM_KEY") == (
        "acytoo.toml:7: the environment variable ACYTO_TEAM_KEY is not set: did you mean 'ACYTOO_TEAM_KEY'?"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(" \n", "is empty"), ("hunter2\nhunter2\n", "has more than one line"), (b"\xffhunter2", "it is not UTF-8 text")],
)
def test_a_file_that_is_not_one_secret_is_an_error(tmp_path: Path, content: str | bytes, message: str) -> None:
    file = tmp_path / "key.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = error_of(f"file:{file}")
    assert error.startswith("acytoo.toml:7: ")
    assert message in error


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert error_of(f"file:{tmp_path}/key.txt").endswith("key.txt: No such file or directory")


def test_a_key_that_the_keyring_does_not_have_is_an_error() -> None:
    assert "run acytoo credentials set openai-of-nobody" in error_of("keyring:openai-of-nobody")


@pytest.mark.parametrize("reference", ["hunter2", "env:", "sk-hunter2", "ENV:hunter2", ""])
def test_a_secret_in_clear_is_refused(reference: str) -> None:
    assert error_of(reference).startswith("acytoo.toml:7: expected where the secret is, not the secret itself")


def test_a_url_is_itself_or_behind_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS", "redis://:hunter2@x")
    assert resolve_url("redis://x", WHERE).reveal() == "redis://x"
    assert resolve_url("env:REDIS", WHERE).reveal() == "redis://:hunter2@x"
