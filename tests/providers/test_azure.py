"""Azure OpenAI: each customer has an endpoint, and the key has its own header."""

from __future__ import annotations

import pytest

from acytoo.errors import UsageError
from acytoo.providers.azure import Azure
from tests.providers.helpers import HELLO, sent, target


def test_the_address_is_the_documented_one() -> None:
    url = target(Azure, url="https://mine.openai.azure.com/")
    assert url == "https://mine.openai.azure.com/openai/v1/chat/completions"


async def test_a_call_is_a_post_with_the_key_in_its_own_header() -> None:
    received = await sent(Azure, max_tokens=7)
    assert (received.method, received.target) == ("POST", "/openai/v1/chat/completions")
    assert received.headers["api-key"] == "sk-1"
    assert "authorization" not in received.headers
    assert (received.json["model"], received.json["max_completion_tokens"]) == ("m-1", 7)


async def test_without_an_endpoint_the_error_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="AZURE_OPENAI_ENDPOINT"):
        await Azure.create_async("m-1", HELLO)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    assert Azure().url == "https://mine.openai.azure.com"
