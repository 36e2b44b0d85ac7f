"""The rows of OpenAI-compatible services, and any other OpenAI-compatible URL."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Unsupported
from acytoo.errors import UsageError
from acytoo.http import Endpoint
from acytoo.providers import compatible
from acytoo.registry import provider, providers
from acytoo.types import Request
from tests.providers.helpers import HELLO, sent, target

ROWS = [cls for cls in providers().values() if cls.__module__ == compatible.__name__]
Row = type[AsyncGeneratorProvider]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("deepseek", "https://api.deepseek.com/chat/completions"),
        ("groq", "https://api.groq.com/openai/v1/chat/completions"),
        ("mistral", "https://api.mistral.ai/v1/chat/completions"),
        ("openrouter", "https://openrouter.ai/api/v1/chat/completions"),
        ("together", "https://api.together.xyz/v1/chat/completions"),
        ("xai", "https://api.x.ai/v1/chat/completions"),
        ("llamacpp", "http://127.0.0.1:8080/v1/chat/completions"),
        ("lmstudio", "http://127.0.0.1:1234/v1/chat/completions"),
        ("vllm", "http://127.0.0.1:8000/v1/chat/completions"),
    ],
)
def test_the_address_is_the_documented_one(name: str, url: str) -> None:
    assert target(providers()[name]) == url


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.address_name())
async def test_every_row_is_called_by_post_with_a_bearer_token(cls: Row) -> None:
    received = await sent(cls)
    assert received.method == "POST"
    assert received.path.endswith("/chat/completions")
    assert received.headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.address_name())
def test_a_remote_service_uses_tls_and_needs_a_key(cls: Row) -> None:
    here = "127.0.0.1" in cls.url or not cls.url
    assert here or cls.url.startswith("https://")
    assert cls.needs_auth is not here


@pytest.mark.parametrize("cls", [compatible.Mistral, compatible.Perplexity])
async def test_stream_options_are_omitted_for_services_that_do_not_know_them(cls: Row) -> None:
    assert "stream_options" not in (await sent(cls)).json


@pytest.mark.parametrize(
    ("cls", "field"), [(compatible.Groq, "max_completion_tokens"), (compatible.Together, "max_tokens")]
)
async def test_the_token_limit_has_the_name_that_the_service_expects(cls: Row, field: str) -> None:
    body = (await sent(cls, max_tokens=7)).json
    assert {name: body[name] for name in body if name.startswith("max_")} == {field: 7}


@pytest.mark.parametrize(
    ("cls", "field"),
    [(compatible.DeepSeek, "reasoning_content"), (compatible.OpenRouter, "reasoning"), (compatible.Together, None)],
)
async def test_reasoning_is_sent_back_only_to_services_that_accept_it(cls: Row, field: str | None) -> None:
    assert cls.dialect is not None
    turn: dict[str, Any] = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "Greet."}]}
    history = [*HELLO, turn, {"role": "user", "content": "Go on."}]
    outgoing = cls.dialect.encode_request(Request(history, "m"), Endpoint("http://h"), Unsupported(""))
    assert (b"Greet." in outgoing.body) is (field is not None)
    assert field is None or f'"{field}":"Greet."'.encode() in outgoing.body


async def test_compatible_works_with_any_other_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="COMPATIBLE_URL"):
        provider("compatible/m")
    monkeypatch.setenv("COMPATIBLE_URL", "http://127.0.0.1:1/v1")
    assert provider("compatible/m").url == "http://127.0.0.1:1/v1"
    received = await sent(compatible.Compatible, key=None)
    assert received.target == "/chat/completions"
