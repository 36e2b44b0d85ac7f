"""Bodies that may be another request to the upstream than to the gateway: another model, a longer reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish
from tests.gateway.served import served

HELLO = [{"role": "user", "content": "Hello"}]

# A model of the name that the upstream knows: then nothing in the body has to change on its way.
CHEAP = """
models = ["cheap"]
[models.cheap]
targets = ["up/cheap"]
"""

APIS: dict[str, tuple[Dialect, str, dict[str, Any]]] = {
    "compatible": (dialects.OpenAI(), "/v1/chat/completions", {"messages": HELLO}),
    "openai-responses": (dialects.OpenAIResponses(), "/v1/responses", {"input": "Hello"}),
    "anthropic": (dialects.Anthropic(), "/v1/messages", {"messages": HELLO, "max_tokens": 10}),
    "ollama": (dialects.Ollama(), "/api/chat", {"messages": HELLO}),
}
"""By provider: what its upstream speaks, and a request without a model."""


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("name", ["Model", "MODEL", "mode\u017f", "\u017ftream", "Stream", "StReam"])
@pytest.mark.parametrize("provider", APIS)
async def test_a_model_or_stream_in_other_letters_is_refused(
    provider: str, name: str, is_streamed: bool, tmp_path: Path
) -> None:
    dialect, path, body = APIS[provider]
    body = {"model": "cheap", **body, "stream": is_streamed, name: "dear"}
    async with FakeEndpoint(dialect, reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, CHEAP, provider=provider) as gate:
            response = await gate.post(path, body)
    if name.casefold() not in ("model", "stream"):  # a name that no server takes for another one
        assert response.status == 200
        return
    assert response.status == 400
    assert b"did you mean" in response.body
    assert not fake.requests


@pytest.mark.parametrize("field", ["Max_Tokens", "max_Completion_tokens", "N", "Stream_options"])
async def test_a_bound_of_the_reply_in_other_letters_is_refused(field: str, tmp_path: Path) -> None:
    dialect, path, body = APIS["compatible"]
    async with FakeEndpoint(dialect, reply("Hi", Finish())) as fake, served(tmp_path, fake.url, CHEAP) as gate:
        assert (await gate.post(path, {"model": "cheap", **body, field: 1})).status == 400
        assert not fake.requests


@pytest.mark.parametrize("separator", [",", ", ", ",\n  "])
@pytest.mark.parametrize("name", ["model", "mod\\u0065l"])
@pytest.mark.parametrize("provider", APIS)
async def test_of_two_models_in_a_body_the_upstream_gets_the_one_that_was_allowed(
    provider: str, name: str, separator: str, tmp_path: Path
) -> None:
    dialect, path, body = APIS[provider]
    rest = separator.join([f'"{key}": {value!r}'.replace("'", '"') for key, value in body.items()])
    data = f'{{"{name}": "dear"{separator}{rest}{separator}"model": "cheap", "stream": false}}'.encode()
    async with FakeEndpoint(dialect, reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, CHEAP, provider=provider) as gate:
            response = await gate.post_bytes(path, data)
    assert response.status == 200
    assert b"dear" not in fake.requests[0].body


@pytest.mark.parametrize("separator", [",", ", ", ",\r\n  "])
async def test_a_body_without_such_fields_passes_through_byte_for_byte(separator: str, tmp_path: Path) -> None:
    data = separator.join(['{ "model": "cheap"', '"messages": [{"role": "user", "content": "\\u00e9"}]', '"x": 1.0 }'])
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, CHEAP) as gate:
            assert (await gate.post_bytes("/v1/chat/completions", data.encode())).status == 200
    assert fake.requests[0].body == data.encode()


@pytest.mark.parametrize("messages", [HELLO, ["what only the upstream understands"]])
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("provider", "field", "value"),
    [
        ("compatible", "models", ["dear"]),
        ("compatible", "fallbacks", [{"model": "dear"}]),
        ("compatible", "Models", ["dear"]),
        ("anthropic", "models", ["dear"]),
        ("anthropic", "fallbacks", [{"model": "dear"}]),
        ("openai-responses", "models", ["dear"]),
        ("openai-responses", "background", True),
        ("openai-responses", "BackGround", True),
    ],
)
async def test_what_asks_other_models_or_goes_on_after_the_reply_is_refused(
    provider: str, field: str, value: object, is_streamed: bool, messages: list[Any], tmp_path: Path
) -> None:
    dialect, path, body = APIS[provider]
    name = "input" if "input" in body else "messages"
    body = {**body, "model": "cheap", name: messages, "stream": is_streamed}
    async with FakeEndpoint(dialect, reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, CHEAP, provider=provider) as gate:
            response = await gate.post(path, {**body, field: value})
            assert response.status == 400
            assert field.encode() in response.body
            assert not fake.requests
            assert (await gate.post(path, {**body, field.lower(): type(value)()})).status == 200
