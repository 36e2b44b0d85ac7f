"""Shared parts of the server side: a body becomes a request or an error that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.fields import whole_number
from acytoo.dialects.server_side import new_id, request_from_body, secrets_in
from acytoo.errors import RequestError
from acytoo.http import ServerRequest
from acytoo.testing.hostile.site import example
from acytoo.types import Request

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        ({"messages": HELLO}, Request(HELLO, extra_for="d")),
        ({"messages": HELLO, "model": "m", "stream": False}, Request(HELLO, "m", stream=False, extra_for="d")),
        ({"messages": HELLO, "stop": "x"}, Request(HELLO, stop=["x"], extra_for="d")),
        ({"messages": HELLO, "seed": None, "top_k": 5}, Request(HELLO, top_k=5, extra_for="d")),
        ({"messages": HELLO, "odd": None}, Request(HELLO, extra={"odd": None}, extra_for="d")),
        (
            {"messages": HELLO, "extra": 5, "extra_for": 6},
            Request(HELLO, extra={"extra": 5, "extra_for": 6}, extra_for="d"),
        ),
    ],
)
def test_a_body_with_the_shared_fields_becomes_a_request(body: dict[str, Any], request_: Request) -> None:
    assert request_from_body(body, "d") == request_


def test_decoding_does_not_change_the_body() -> None:
    body = {"messages": HELLO, "stop": "x", "odd": 1}
    request_from_body(body, "d")
    assert body == {"messages": HELLO, "stop": "x", "odd": 1}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "messages is missing"),
        ({"messages": 5}, "messages must be a list"),
        ({"messages": HELLO, "max_tokens": "5"}, r"invalid max_tokens '5': expected a whole number$"),
        ({"messages": HELLO, "tools": [5]}, r"invalid tools \[5\]: expected a list of objects$"),
    ],
)
def test_a_malformed_body_is_a_400_that_names_the_field(body: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError, match=place) as caught:
        request_from_body(body, "d")
    assert caught.value.status == 400


def test_identifiers_are_unique_and_have_their_prefix() -> None:
    ids = {new_id("call_") for _ in range(100)}
    assert len(ids) == 100
    assert all(len(i) == 29 and i.startswith("call_") for i in ids)


@pytest.mark.parametrize(
    ("headers", "query", "secrets"),
    [
        ({"authorization": "Bearer k"}, {}, ["k"]),
        ({"authorization": "bearer  k "}, {}, ["k"]),
        ({"api-key": "k"}, {}, ["k"]),
        ({"x-api-key": "k"}, {}, ["k"]),
        ({"x-goog-api-key": "k"}, {}, ["k"]),
        ({}, {"key": "k"}, ["k"]),
        ({"authorization": "Bearer k"}, {"key": "l"}, ["k", "l"]),
        ({"authorization": "Basic k"}, {}, []),
        ({}, {}, []),
    ],
)
def test_the_secrets_in_headers_and_query(headers: dict[str, str], query: dict[str, str], secrets: list[str]) -> None:
    presented = secrets_in(ServerRequest("/v1/chat/completions", headers, b"", query))
    assert [secret.reveal() for secret in presented] == secrets


@pytest.mark.parametrize("most", ["9999", " 9999", 9999.0, 9998.5, "9.999e3", "9998.5"])
@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        (dialects.OpenAI(), "/v1/chat/completions", {"messages": HELLO, "max_tokens": None}),
        (dialects.OpenAI(), "/v1/chat/completions", {"messages": HELLO, "max_completion_tokens": None}),
        (
            dialects.OpenAI(),
            "/v1/chat/completions",
            {"messages": HELLO, "max_completion_tokens": None, "max_tokens": 5},
        ),
        (dialects.OpenAIResponses(), "/v1/responses", {"input": "Hi", "max_output_tokens": None}),
        (dialects.Anthropic(), "/v1/messages", {"messages": HELLO, "max_tokens": None}),
        (dialects.Ollama(), "/api/chat", {"messages": HELLO, "options": {"num_predict": None, "top_k": "x"}}),
        (
            dialects.Gemini(),
            "/v1beta/models/m:generateContent",
            {"contents": [], "generationConfig": {"maxOutputTokens": None, "topK": "x"}},
        ),
    ],
)
def test_a_bound_that_passes_through_is_known_as_the_upstream_reads_it(
    dialect: Dialect, path: str, body: dict[str, Any], most: object
) -> None:
    document = json.dumps({"model": "m", **body}).replace("null", json.dumps(most))
    parsed = dialect.decode_request_lenient(ServerRequest(path, {}, document.encode()))
    assert parsed.refusal is not None
    assert parsed.request.max_tokens == 9999


@pytest.mark.parametrize(
    ("value", "number"),
    [("1e300", 2**53), (1e300, 2**53), ("many", "many"), ("nan", "nan"), (True, True), ("1_0", "1_0"), (-1.5, -1)],
)
def test_a_number_is_bounded_and_anything_else_stays(value: object, number: object) -> None:
    assert whole_number(value) == number


WRONG_TYPES: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"model": 5}, "invalid model 5: expected text"),
    ("openai", {"stream": "yes"}, "invalid stream 'yes': expected true or false"),
    ("openai", {"max_tokens": "x"}, "invalid max_tokens 'x': expected a whole number"),
    ("anthropic", {"stop_sequences": 5}, "invalid stop_sequences 5: expected text or a list of texts"),
    ("anthropic", {"temperature": "hot"}, "invalid temperature 'hot': expected a number"),
    ("anthropic", {"metadata": {"user_id": 5}}, "invalid metadata.user_id 5: expected text"),
    ("openai-responses", {"max_output_tokens": "x"}, "invalid max_output_tokens 'x': expected a whole number"),
    ("openai-responses", {"reasoning": {"effort": 5}}, "invalid reasoning.effort 5: expected text"),
    ("openai-responses", {"tool_choice": 5}, "invalid tool_choice 5: expected text or an object"),
    ("gemini", {"generationConfig": {"topK": "x"}}, "invalid generationConfig.topK 'x': expected a whole number"),
    ("ollama", {"options": {"num_predict": "x"}}, "invalid options.num_predict 'x': expected a whole number"),
    ("ollama", {"think": 5}, "invalid think 5: expected text"),
    ("ollama", {"tools": [1]}, "invalid tools [1]: expected a list of objects"),
    ("acytoo", {"temperature": "hot"}, "invalid temperature 'hot': expected a number"),
]


@pytest.mark.parametrize(("name", "fields", "message"), WRONG_TYPES)
def test_an_error_about_a_type_has_the_name_of_the_field_in_its_api(
    name: str, fields: dict[str, Any], message: str
) -> None:
    dialect = dialects.by_name(name)
    path, body = example(dialect, stream=False)
    with pytest.raises(RequestError) as caught:
        dialect.decode_request(ServerRequest(path, {}, json.dumps({**body, **fields}).encode()))
    assert (caught.value.status, caught.value.message) == (400, message)
