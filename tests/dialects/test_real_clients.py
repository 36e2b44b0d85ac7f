"""Requests as real clients send them are accepted for every backend, and nothing of their conversation is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError
from acytoo.http import Endpoint, ServerRequest
from acytoo.types import Request
from tests.dialects.strategies import encode

RECORDED = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted((Path(__file__).parent / "requests").glob("*.json"))
}

OTHER_PATHS = re.compile(
    r"/v1/(completions|embeddings|responses/input_tokens)|/api/(embed|generate|pull|show)|/v1beta/interactions"
)
"""Paths of requests that are not for a chat API."""

REFERENCES = {
    "ai6-openai-responses": "item_reference",
    "ai7-openai-responses": "item_reference",
    "openai-agents-responses": "previous_response_id",
    "anthropic-js-messages": "thread",
    "anthropic-python-messages": "thread",
}
"""Requests that refer to a part of the conversation, and how. The server's memory resolves some before decoding."""

REFUSED = {"genai-js-x-generateContent": "googleSearch"}
"""Requests that ask for something that only their API has, and what that is."""

TARGETS = {
    "openai": frozenset[str](),
    "anthropic": frozenset[str](),
    "openai-responses": frozenset({"top_k", "stop"}),
    "gemini": frozenset({"parallel_tool_calls=False"}),
}
"""Backends, and the options that they cannot express."""


def dialect_of(path: str) -> Dialect | None:
    for dialect in dialects.ALL:
        for route in dialect.routes + dialect.count_routes:
            if re.fullmatch(re.escape(route).replace(re.escape("{model:.+}"), ".+"), path):
                return dialect
    return None


CHAT = [name for name, recorded in RECORDED.items() if dialect_of(urlsplit(recorded["path"]).path) is not None]


def parse(name: str, **changes: Any) -> tuple[Dialect, Request]:
    """Return the dialect of a recorded request, and the request decoded by it. A change of None removes a field."""
    recorded = RECORDED[name]
    url = urlsplit(recorded["path"])
    dialect = dialect_of(url.path)
    assert dialect is not None
    body = {field: value for field, value in (recorded["body"] | changes).items() if value is not None}
    incoming = ServerRequest(url.path, recorded["headers"], msgspec.json.encode(body), dict(parse_qsl(url.query)))
    return dialect, dialect.decode_request(incoming).request


def texts_in(value: object, field: str = "") -> Iterator[str]:
    """Yield the texts of a conversation in any of the APIs, and the names of called functions."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != "tools":
                yield from texts_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner, field)
    elif isinstance(value, str) and field in ("text", "content", "system", "input", "output", "arguments", "name"):
        yield value


def tools_in(value: object) -> Iterator[str]:
    """Yield the names of all tools in a body that the client itself runs."""
    if isinstance(value, list):
        for inner in value:
            yield from tools_in(inner)
    elif isinstance(value, dict):
        if value.get("type") != "namespace" and isinstance(value.get("name"), str) and "role" not in value:
            yield value["name"]
        for name in ("tools", "function", "functionDeclarations", "function_declarations", "input"):
            yield from tools_in(value.get(name))


CONVERSATION = ("messages", "input", "contents", "system", "systemInstruction", "instructions")


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)
    elif isinstance(value, str):
        yield value


def test_every_recorded_request_is_for_a_chat_api_or_known_not_to_be() -> None:
    others = [recorded["path"] for name, recorded in RECORDED.items() if name not in CHAT]
    assert len(CHAT) > 40
    assert all(OTHER_PATHS.fullmatch(path) for path in others)


@pytest.mark.parametrize("name", CHAT)
def test_nothing_of_the_conversation_is_lost(name: str) -> None:
    _, request = parse(name)
    body = RECORDED[name]["body"]
    decoded = set(strings_in(msgspec.to_builtins(request.messages)))
    sent = {text for field in CONVERSATION for text in texts_in(body.get(field), field)}
    assert sent
    assert sent <= decoded


@pytest.mark.parametrize("name", CHAT)
def test_no_tool_of_the_client_is_lost(name: str) -> None:
    _, request = parse(name)
    decoded = [tool["function"]["name"] for tool in request.tools or [] if "function" in tool]
    body = RECORDED[name]["body"]
    sent = [*tools_in(body.get("tools")), *tools_in([i for i in body.get("input", []) if isinstance(i, dict)])]
    sent = [tool for tool in sent if tool != "item_reference"]
    calls = {item.get("call_id") for item in body.get("input", []) if isinstance(item, dict)} - {None}
    if not calls:
        assert len(decoded) == len(sent)
        assert all(name in (tool, tool.rpartition("__")[2]) for name, tool in zip(sent, decoded, strict=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name in CHAT if name not in REFERENCES])
def test_a_request_is_accepted_for_a_backend_of_any_api(name: str, target: str) -> None:
    source, request = parse(name)
    unsupported = Unsupported(target, drop=True)
    backend = dialects.by_name(target)
    request.model = request.model or "m"  # which a server has filled in
    sent = backend.encode_request(translate(request, source), Endpoint("http://h"), unsupported).body
    dropped = set(unsupported.dropped) - TARGETS[target]
    if name in REFUSED and source.name != target:
        assert all(REFUSED[name] in feature for feature in dropped)
        assert dropped
    else:
        assert dropped == set()
    for text in texts_in([message["content"] for message in request.messages], "content"):
        assert msgspec.json.encode(text)[1:-1] in sent


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_to_an_earlier_turn_is_an_error_and_never_dropped(name: str) -> None:
    source, request = parse(name)
    with pytest.raises(RequestError, match=REFERENCES[name]):
        translate(request, source)


@pytest.mark.parametrize("name", [name for name, field in REFERENCES.items() if field == "thread"])
def test_a_request_is_accepted_when_the_client_sends_it_again_without_a_thread(name: str) -> None:
    source, request = parse(name, thread=None)
    assert b"get_weather" in encode(dialects.OpenAI(), translate(request, source)).body


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_one_api_has_is_refused_by_name(name: str) -> None:
    source, request = parse(name)
    with pytest.raises(UnsupportedError, match=REFUSED[name]):
        encode(dialects.OpenAI(), translate(request, source))
