"""What OpenAI's Responses have besides requests and replies: paths, counts, models, and what cannot be translated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.dialects.openai_responses import OpenAIResponses
from tests.dialects.openai_responses.helpers import DIALECT, ENDPOINT, NAME, make_request

GONE = "refers to items that this server does not have: send the items themselves: store: false"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            "prompt",
            "prompt refers to a template that this server does not have: send its text as instructions",
        ),
        ("previous_response_id", f"previous_response_id {GONE}"),
        ("conversation", f"conversation {GONE}"),
        ("input:item_reference", f"item_reference {GONE}"),
        ("input:web_search_call", f"the input has an item of the type web_search_call, which only {NAME} has"),
        ("tools:web_search", None),
        ("store", None),
    ],
)
def test_what_carries_the_conversation_is_refused_by_name(field: str, message: str | None) -> None:
    error = DIALECT.conversation_error(field)
    assert (error and error.message) == message
    assert error is None or error.status == 400


def test_a_count_has_what_is_counted_and_leaves_out_what_the_api_lacks() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    options: dict[str, Any] = {"max_tokens": 5, "temperature": 0.5, "stop": ["x"], "tool_choice": "auto"}
    request = make_request(
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "input_audio", "input_audio": {}}]},
        tools=[function],
        reasoning_effort="low",
        **options,
    )
    sent = DIALECT.encode_count_request(request, ENDPOINT)
    assert (sent.method, sent.url) == ("POST", "https://api.example/v1/responses/input_tokens")
    assert sent.headers["authorization"] == "Bearer sk-1"
    no_parameters = {"type": "object", "properties": {}}
    assert json.loads(sent.body) == {
        "model": "gpt-x",
        "instructions": "Be brief",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "tools": [{"type": "function", "parameters": no_parameters, "strict": False, "name": "f"}],
        "tool_choice": "auto",
        "reasoning": {"effort": "low"},
    }
    assert DIALECT.read_count(b'{"object": "response.input_tokens", "input_tokens": 7}') == 7
    assert json.loads(DIALECT.write_count(7)) == {"object": "response.input_tokens", "input_tokens": 7}


def test_the_models_are_beside_the_replies() -> None:
    sent = DIALECT.encode_models_request(ENDPOINT)
    assert (sent.method, sent.url, sent.body) == ("GET", "https://api.example/v1/models", b"")
    assert sent.headers["authorization"] == "Bearer sk-1"
    other = OpenAIResponses("/v2/responses").encode_models_request(ENDPOINT)
    assert other.url == "https://api.example/v1/v2/models"
    assert DIALECT.read_models(b'{"data": [{"id": "a"}, {"id": "b"}]}') == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "named"), [("image_generation_call", "image"), ("web_search_call", "web_search_call"), ("", "")]
)
def test_an_item_without_text_is_named_by_its_type(kind: str, named: str) -> None:
    assert DIALECT.kind_of_part({"type": kind} if kind else {}) == named


def test_each_path_of_replies_has_one_of_counts() -> None:
    assert [f"{route}/input_tokens" for route in DIALECT.routes] == list(DIALECT.count_routes)
