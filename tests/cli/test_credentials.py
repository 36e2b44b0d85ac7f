"""`acytoo credentials`, with a keyring that is a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import ACYTOO, environment, run

KEYRING = """
import json, pathlib
from keyring.backend import KeyringBackend

FILE = pathlib.Path(__file__).with_name("keyring.json")

class Keyring(KeyringBackend):
    priority = 1

    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}

    def get_password(self, service, name):
        return self._all().get(f"{service}/{name}")

    def set_password(self, service, name, password):
        FILE.write_text(json.dumps({**self._all(), f"{service}/{name}": password}))

    def delete_password(self, service, name):
        kept = self._all()
        del kept[f"{service}/{name}"]
        FILE.write_text(json.dumps(kept))
"""
"""A keyring of the tests: the system's needs a desktop."""

CONFIG = """
[upstreams.local]
provider = "ollama"
key = "keyring:Team.Key"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("keyring", reason="this test needs the extra keyring")
    (tmp_path / "file_keyring.py").write_text(KEYRING)
    (tmp_path / "acytoo.toml").write_text(CONFIG)
    return tmp_path


def acytoo(folder: Path, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Return the status and what is printed on stderr."""
    variables = {"PYTHONPATH": str(folder), "PYTHON_KEYRING_BACKEND": "file_keyring.Keyring"}
    done = run([ACYTOO, *arguments], env=environment(variables), stdin=stdin.encode(), cwd=folder)
    return done.returncode, done.stderr.decode()


def test_a_secret_of_any_name_is_for_a_config_file(folder: Path) -> None:
    code, message = acytoo(folder, "config", "check", "acytoo.toml")
    assert (code, message) == (
        1,
        "acytoo: acytoo.toml:4: the keyring has no 'Team.Key': run acytoo credentials set Team.Key\n",
    )
    code, message = acytoo(folder, "credentials", "set", "Team.Key", stdin="hunter2\n")
    assert (code, message) == (
        0,
        "stored team.key, for keyring:team.key in a config file: no provider has this name\n",
    )
    assert acytoo(folder, "config", "check", "acytoo.toml") == (0, "")
    assert acytoo(folder, "credentials", "remove", "team.key") == (0, "removed team.key\n")
    assert acytoo(folder, "config", "check", "acytoo.toml")[0] == 1


def test_a_key_of_a_provider_is_stored_under_the_name_of_the_provider(folder: Path) -> None:
    assert acytoo(folder, "credentials", "set", "OpenAI/gpt-5", stdin="hunter2") == (0, "stored the key of openai\n")
    assert "hunter2" in (folder / "keyring.json").read_text()


def test_a_name_that_is_nearly_a_providers_is_pointed_out(folder: Path) -> None:
    code, message = acytoo(folder, "credentials", "set", "opnai", stdin="hunter2")
    assert code == 0
    assert message.endswith("no provider has this name; for a provider's key, did you mean 'openai'?\n")


@pytest.mark.parametrize("name", ["", " ", "a\nb"])
def test_a_name_that_cannot_be_one_is_refused(folder: Path, name: str) -> None:
    code, message = acytoo(folder, "credentials", "set", name, stdin="hunter2")
    assert code == 2
    assert "expected a provider or a name of your own" in message


def test_an_empty_secret_is_refused(folder: Path) -> None:
    code, message = acytoo(folder, "credentials", "set", "team", stdin=" \n")
    assert (code, message) == (2, "acytoo: the secret is empty\n")


def test_a_secret_that_is_not_stored_cannot_be_removed(folder: Path) -> None:
    assert acytoo(folder, "credentials", "remove", "openai") == (1, "acytoo: no secret openai is stored\n")


@pytest.mark.parametrize("command", ["set", "remove"])
def test_a_system_without_a_keyring_is_reported_in_our_words(command: str, folder: Path) -> None:
    variables = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    done = run([ACYTOO, "credentials", command, "openai"], env=environment(variables), stdin=b"secret", cwd=folder)
    message = b"acytoo: this system has no keyring: use an environment variable instead\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_a_secret_that_cannot_be_read_is_refused(folder: Path) -> None:
    done = run([ACYTOO, "credentials", "set", "openai"], stdin=b"\xff")
    assert (done.returncode, done.stderr) == (2, b"acytoo: the secret is not UTF-8 text\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_standard_input_has_no_secret(folder: Path) -> None:
    done = run(["sh", "-c", f"{ACYTOO} credentials set openai <&-"])
    assert (done.returncode, done.stderr) == (2, b"acytoo: the secret is empty\n")
