"""Ollama: `OLLAMA_HOST` means what it means to Ollama's own clients."""

from __future__ import annotations

import pytest

from acytoo.providers.ollama import Ollama
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish
from tests.providers.helpers import HELLO, sent, target

FORMS = [
    ("http://127.0.0.1:1234", "http://127.0.0.1:1234"),
    ("https://ollama.example", "https://ollama.example"),
    ("127.0.0.1:1234", "http://127.0.0.1:1234"),
    ("127.0.0.1", "http://127.0.0.1:11434"),
    ("localhost", "http://localhost:11434"),
    ("box.local:80", "http://box.local:80"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:1234", "http://127.0.0.1:1234"),
    ("http://0.0.0.0:1234", "http://127.0.0.1:1234"),
    (":1234", "http://127.0.0.1:1234"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:1234", "http://[::1]:1234"),
    ("box.local/ollama", "http://box.local:11434/ollama"),
    ("https://[::1]:1234/x", "https://[::1]:1234/x"),
    ("box.local:1234/ollama/", "http://box.local:1234/ollama/"),
]


@pytest.mark.parametrize(("given", "url"), FORMS)
def test_missing_parts_of_the_host_are_added(given: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ollama(given).url == url
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert Ollama().url == url


def test_the_address_is_the_documented_one() -> None:
    assert target(Ollama) == "http://127.0.0.1:11434/api/chat"


async def test_a_call_is_a_post_and_needs_no_key() -> None:
    received = await sent(Ollama, key=None)
    assert (received.method, received.target) == ("POST", "/api/chat")
    assert "authorization" not in received.headers


async def test_a_configured_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-env")
    assert (await sent(Ollama, key=None)).headers["authorization"] == "Bearer sk-env"


async def test_a_host_passed_to_one_call_may_lack_its_scheme_too() -> None:
    async with FakeEndpoint(Ollama.dialect, reply("Hello", Finish("stop"))) as fake:
        text = await Ollama(model="m-1").create_async("", HELLO, url=f"127.0.0.1:{fake.port}")
    assert text == "Hello"
