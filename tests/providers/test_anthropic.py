"""Anthropic: its address, its headers, and the token limit that it requires."""

from __future__ import annotations

import pytest

from acytoo.providers.anthropic import Anthropic
from tests.providers.helpers import sent, target


def test_the_address_is_the_documented_one_with_and_without_its_version() -> None:
    assert target(Anthropic) == "https://api.anthropic.com/v1/messages"
    assert target(Anthropic, url="https://api.anthropic.com/v1") == "https://api.anthropic.com/v1/messages"


async def test_a_call_is_a_post_with_key_and_version_in_headers() -> None:
    received = await sent(Anthropic)
    assert (received.method, received.target) == ("POST", "/v1/messages")
    assert received.headers["x-api-key"] == "sk-1"
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in received.headers


async def test_the_required_token_limit_is_sent_even_if_none_is_passed() -> None:
    assert (await sent(Anthropic)).json["max_tokens"] == 4096
    assert (await sent(Anthropic, max_tokens=7)).json["max_tokens"] == 7


async def test_betas_are_sent_in_their_header() -> None:
    received = await sent(Anthropic, extra_body={"betas": ["a-1", "b-2"]})
    assert received.headers["anthropic-beta"] == "a-1,b-2"
    assert "betas" not in received.json


def test_the_environment_variables_are_those_of_the_official_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-env")
    assert Anthropic().url == "http://127.0.0.1:1"
    assert repr(Anthropic()) == "Anthropic(url='http://127.0.0.1:1', key=***)"
