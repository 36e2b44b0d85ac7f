"""Anthropic's requests: the shared shape to bodies, and bodies to the shared shape."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.anthropic import Anthropic
from acytoo.dialects.base import Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Reply, Request, ToolCall, collect
from tests.dialects.anthropic.helpers import DIALECT, HELLO, JSON, decode, encode, texts

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather now.", "parameters": SCHEMA},
}


# Encode.


def test_the_url_and_headers_are_the_documented_ones() -> None:
    for url in ("https://api.anthropic.com", "https://api.anthropic.com/", "https://api.anthropic.com/v1"):
        http_request = DIALECT.encode_request(
            Request(HELLO, "claude"), Endpoint(url, Secret("sk-1")), Unsupported("anthropic")
        )
        assert http_request.url == "https://api.anthropic.com/v1/messages"
    assert http_request.headers["x-api-key"] == "sk-1"
    assert http_request.headers["anthropic-version"] == "2023-06-01"


def test_the_key_can_be_sent_as_a_bearer_token() -> None:
    dialect = Anthropic(key_header="authorization")
    http_request = dialect.encode_request(
        Request(HELLO), Endpoint("https://x", Secret("sk-1")), Unsupported("anthropic")
    )
    assert http_request.headers["authorization"] == "Bearer sk-1"
    assert "x-api-key" not in http_request.headers


def test_max_tokens_has_a_default_because_the_api_requires_it() -> None:
    assert encode(Request(HELLO, "claude")) == {
        "model": "claude",
        "messages": HELLO,
        "max_tokens": 4096,
        "stream": True,
    }
    assert encode(Request(HELLO), Anthropic(default_max_tokens=9))["max_tokens"] == 9


@pytest.mark.parametrize(
    ("messages", "system", "turns"),
    [
        (
            [{"role": "system", "content": "Be brief."}, *HELLO],
            "Be brief.",
            HELLO,
        ),
        (
            [{"role": "system", "content": "A"}, *HELLO, {"role": "developer", "content": "B"}],
            [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
            HELLO,
        ),
        (
            [*HELLO, {"role": "user", "content": "Again"}],
            None,
            [{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "Again"}]}],
        ),
        (
            [*HELLO, {"role": "assistant", "content": "", "reasoning": [{"text": "foreign", "source": "gemini"}]}],
            None,
            HELLO,
        ),
        (
            [{"role": "assistant", "content": None, "refusal": "No."}, *HELLO],
            None,
            [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}, *HELLO],
        ),
    ],
)
def test_messages_become_system_and_turns(messages: list[Any], system: Any, turns: Any) -> None:
    body = encode(Request(messages))
    assert (body.get("system"), body["messages"]) == (system, turns)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/csv;base64,w6QsYg=="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä,b"}},
        ),
        (
            {"type": "file", "file": {"file_data": PNG}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
    ],
)
def test_parts_become_blocks(part: Any, sent: dict[str, Any]) -> None:
    assert encode(Request([{"role": "user", "content": [part]}]))["messages"][0]["content"] == [sent]


def test_tool_results_and_the_message_after_them_are_one_user_turn() -> None:
    calls = [
        {"id": "call:1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call:1", "content": "20"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "no"}], "is_error": True},
        {"role": "user", "content": "So?"},
    ]
    assert encode(Request(messages))["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "20"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "no"}],
                    "is_error": True,
                },
                {"type": "text", "text": "So?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice_and_parallel_calls_are_one_field(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert encode(Request(HELLO, tools=[WEATHER], **fields))["tool_choice"] == sent


def test_options_have_anthropics_names() -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    request = Request(
        HELLO,
        stop=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        user="u1",
        response_format=response_format,
        tools=[WEATHER],
    )
    body = encode(request)
    assert body["stop_sequences"] == ["END"]
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.5, 0.9, 5)
    assert body["metadata"] == {"user_id": "u1"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert body["tools"] == [{"name": "get_weather", "description": "The weather now.", "input_schema": SCHEMA}]


@pytest.mark.parametrize(
    ("effort_as", "effort", "max_tokens", "sent"),
    [
        ("effort", "high", None, ({"type": "adaptive"}, {"effort": "high"}, 4096)),
        ("effort", "minimal", 50, ({"type": "adaptive"}, {"effort": "low"}, 50)),
        ("effort", "none", None, ({"type": "disabled"}, None, 4096)),
        ("budget", "low", None, ({"type": "enabled", "budget_tokens": 2048}, None, 6144)),
        ("budget", "high", 3000, ({"type": "enabled", "budget_tokens": 2999}, None, 3000)),
    ],
)
def test_an_effort_is_sent_as_effort_or_as_budget(
    effort_as: Literal["effort", "budget"], effort: str, max_tokens: int | None, sent: tuple[Any, ...]
) -> None:
    body = encode(Request(HELLO, reasoning_effort=effort, max_tokens=max_tokens), Anthropic(effort_as=effort_as))
    assert (body.get("thinking"), body.get("output_config"), body["max_tokens"]) == sent


def test_extra_fields_replace_derived_ones() -> None:
    extra = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "betas": ["b1", "b2"], "metadata": {"z": 1}}
    request = Request(HELLO, reasoning_effort="high", user="u", extra=extra)
    http_request = DIALECT.encode_request(request, Endpoint("https://x"), Unsupported("anthropic"))
    body = json.loads(http_request.body)
    assert body["thinking"] == extra["thinking"]
    assert "output_config" not in body
    assert body["metadata"] == {"user_id": "u", "z": 1}
    assert http_request.headers["anthropic-beta"] == "b1,b2"
    assert "betas" not in body


@pytest.mark.parametrize("betas", [5, True, {"b": 1}, ["b1", 2]])
def test_betas_that_are_not_texts_are_a_usage_error(betas: object) -> None:
    with pytest.raises(UsageError, match="betas must be"):
        encode(Request(HELLO, extra={"betas": betas}))


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": 0.1}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"reasoning_effort": "silly"}, "silly"),
        ({"tool_choice": {"type": "allowed_tools"}}, "allowed_tools"),
        ({"tools": [{"type": "novel"}]}, "novel tools"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "input_audio"),
        ({"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]}, "name"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": PNG}]}, *HELLO]},
            "system message",
        ),
        ({"extra": {"store": True}, "extra_for": "openai"}, "store"),
    ],
)
def test_what_the_api_cannot_express_is_refused_or_dropped(fields: dict[str, Any], feature: str) -> None:
    request = Request(**({"messages": HELLO} | fields))
    with pytest.raises(UnsupportedError, match=feature):
        encode(request)
    body = encode(request, drop=True)
    assert body.keys() <= {"model", "messages", "max_tokens", "stream", "tools"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url part"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "file part"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}
                ]
            },
            r"messages\[0\].tool_calls\[0\]",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[]"}}]}
                ]
            },
            "JSON object",
        ),
        ({"tools": [{"type": "function"}]}, r"tools\[0\]"),
        ({"tool_choice": "perhaps"}, "perhaps"),
        ({"messages": [{"role": "system", "content": "x"}]}, "a message that is not a system message"),
    ],
)
def test_a_malformed_request_is_refused_before_it_is_sent(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode(Request(**({"messages": HELLO} | fields)))


def test_the_callers_messages_are_not_modified() -> None:
    messages = [*HELLO, {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": "b"}]
    before = json.dumps(messages)
    encode(Request(messages))
    assert json.dumps(messages) == before


def test_the_message_of_a_reply_can_be_sent_back() -> None:
    content = [
        {"type": "thinking", "thinking": "Let me see", "signature": "WaUjzkypQ2mUEVM36O2T"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
        {"type": "text", "text": "Hi!"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
    ]
    body = {"type": "message", "content": content, "stop_reason": "tool_use"}
    reply = collect(DIALECT.read_reply(json.dumps(body).encode()))
    assert encode(Request([*HELLO, reply.message]))["messages"][1] == {"role": "assistant", "content": content}


# Decode.


def test_a_request_without_stream_is_not_streamed() -> None:
    parsed = DIALECT.decode_request(
        ServerRequest("/v1/messages", {}, json.dumps({"model": "c", "messages": HELLO}).encode())
    )
    assert parsed.request == Request(HELLO, "c", stream=False, extra_for="anthropic")


def test_fields_outside_the_shared_shape_are_kept_for_this_api() -> None:
    body = {
        "model": "c",
        "messages": HELLO,
        "service_tier": "auto",
        "context_management": {"edits": []},
        "container": "c1",
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "output_config": {"task_budget": 1},
        "metadata": {"user_id": "u", "more": 1},
    }
    request = decode(body, **{"anthropic-beta": "a-1, b-2"})
    assert request.extra == {
        "service_tier": "auto",
        "context_management": {"edits": []},
        "container": "c1",
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "output_config": {"task_budget": 1},
        "metadata": {"more": 1},
        "betas": ["a-1", "b-2"],
    }
    assert (request.user, request.reasoning_effort) == ("u", "medium")
    encoded = encode(request)
    assert encoded == body | {"max_tokens": 4096}


def test_a_turn_with_reasoning_after_text_keeps_its_order() -> None:
    content = [
        {"type": "thinking", "thinking": "a", "signature": "s1"},
        {"type": "text", "text": "First"},
        {"type": "thinking", "thinking": "b", "signature": "s2"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    request = decode({"messages": [*HELLO, {"role": "assistant", "content": content}]})
    assert [m["role"] for m in request.messages] == ["user", "assistant", "assistant"]
    assert encode(request)["messages"][1] == {"role": "assistant", "content": content}


def test_a_turn_with_texts_between_its_calls_keeps_its_order() -> None:
    hint = {"cache_control": {"type": "ephemeral"}}
    content = [
        {"type": "text", "text": "First"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "text", "text": "then", **hint},
        {"type": "tool_use", "id": "b", "name": "f", "input": {}},
        {"type": "thinking", "thinking": "c", "signature": "s"},
        {"type": "text", "text": "that"},
    ]
    request = decode({"messages": [*HELLO, {"role": "assistant", "content": content}]})
    assert encode(request)["messages"][1] == {"role": "assistant", "content": content}
    for target in (dialects.OpenAI(), dialects.Ollama()):
        unsupported = Unsupported(target.name)
        sent = translate(request, DIALECT, unsupported)
        body = json.loads(target.encode_request(sent, Endpoint("http://h"), unsupported).body)
        assert body["messages"][1]["content"] == "Firstthenthat"


def test_the_mark_of_another_model_goes_back_to_anthropic_and_to_no_other_api() -> None:
    mark = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    signed = {"type": "thinking", "thinking": "a", "signature": "s"}
    for content in ([signed, mark, signed, {"type": "text", "text": "Hi"}], [mark]):
        request = decode({"messages": [*HELLO, {"role": "assistant", "content": content}, *HELLO]})
        assert encode(request)["messages"][1] == {"role": "assistant", "content": content}
        unsupported = Unsupported("openai")
        sent = translate(request, DIALECT, unsupported)
        body = json.loads(dialects.OpenAI().encode_request(sent, Endpoint("http://h"), unsupported).body)
        assert [message["content"] for message in body["messages"] if message["role"] == "assistant"][-1] == (
            "Hi" if len(content) > 1 else ""
        )


def test_an_instruction_in_mid_conversation_is_text_for_other_apis() -> None:
    block = {"type": "mid_conv_system", "content": [{"type": "text", "text": "Be brief"}]}
    request = decode({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, block]}]})
    unsupported = Unsupported("ollama")
    sent = translate(request, DIALECT, unsupported)
    body = json.loads(dialects.Ollama().encode_request(sent, Endpoint("http://h"), unsupported).body)
    assert body["messages"][0]["content"] == "HiBe brief"


def test_a_call_sent_back_by_a_client_keeps_geminis_signature() -> None:
    calls = collect([ToolCall(0, "a", "f", "{}", "sig", "gemini")]).tool_calls
    reply = DIALECT.write_reply(Reply(tool_calls=calls), Request(HELLO))
    turn = {"role": "assistant", "content": json.loads(reply)["content"]}
    assert decode({"messages": [*HELLO, turn]}).messages[1]["tool_calls"] == calls


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "image", "source": {"type": "url", "url": "https://x"}, "cache_control": {"type": "ephemeral"}},
        {"type": "document", "source": {"type": "content", "content": "x"}, "title": "t"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "ä"},
            "title": "t",
            "citations": {"enabled": True},
            "context": "c",
        },
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "mid_conv_system", "content": [{"type": "text", "text": "Be brief"}]},
    ],
)
def test_a_block_round_trips(block: dict[str, Any]) -> None:
    turn = {"role": "user", "content": [block]}
    assert encode(decode({"messages": [turn]}))["messages"] == [turn]


def test_server_tools_and_their_blocks_round_trip() -> None:
    content = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "Sunny"},
    ]
    tools = [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        {"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}, "strict": True},
    ]
    body = {"messages": [*HELLO, {"role": "assistant", "content": content}], "tools": tools}
    encoded = encode(decode(body))
    assert (encoded["messages"], encoded["tools"]) == (body["messages"], tools)


def test_a_system_message_between_turns_keeps_its_position_for_anthropics_clients() -> None:
    turns = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Now shout."}]
    assert encode(decode({"messages": turns}))["messages"] == turns


def test_the_legacy_field_output_format_is_read() -> None:
    request = decode({"messages": HELLO, "output_format": {"type": "json_schema", "schema": SCHEMA}})
    assert encode(request)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "messages is missing"),
        ({"messages": "Hi"}, "messages is missing or not a list"),
        ({"messages": []}, "messages is empty"),
        ({"messages": ["Hi"]}, r"messages\[0\] is not an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\].role is 'tool'"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\].content is missing"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, r"content\[0\].type is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"content\[0\].text is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id is missing"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": []}]}]}, "input is missing or"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "a"}, {"type": "text"}]}]},
            r"messages\[0\].content\[1\].text is missing",
        ),
        ({"messages": HELLO, "system": 3}, "system is missing or neither"),
        ({"messages": HELLO, "system": [{"type": "text"}]}, r"system\[0\].text is missing"),
        ({"messages": HELLO, "tools": {}}, "tools is not a list"),
        ({"messages": HELLO, "tools": [{"name": "f"}]}, r"tools\[0\].input_schema"),
        ({"messages": HELLO, "tool_choice": {"type": "perhaps"}}, "perhaps"),
        ({"messages": HELLO, "max_tokens": "many"}, "max_tokens"),
        ({"messages": HELLO, "thinking": "yes"}, "thinking is not an object"),
        ({"messages": HELLO, "output_config": {"format": {"type": "yaml"}}}, "output_config.format"),
    ],
)
def test_the_error_for_a_malformed_body_names_the_field(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        decode(body)
    assert raised.value.status == 400


TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": JSON})
FIELDS = ("system", "tools", "tool_choice", "metadata", "thinking", "output_config", "stop_sequences", "stream")
BODY = st.fixed_dictionaries({"messages": JSON | st.lists(TURN)}, optional=dict.fromkeys(FIELDS, JSON))


@given(body=BODY)
def test_any_json_is_decoded_or_refused_with_400(body: dict[str, Any]) -> None:
    try:
        decode(json.loads(json.dumps(body, allow_nan=False).encode()))
    except ValueError:
        return
    except RequestError as error:
        assert error.status == 400


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Requests that this API can express, as `decode` returns them."""
    image = st.just({"type": "image_url", "image_url": {"url": PNG}})
    pdf = st.just({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}})
    parts = st.lists(
        st.builds(lambda text: {"type": "text", "text": text}, texts) | image | pdf, min_size=2, max_size=3
    )
    replies = texts.map(lambda text: f"{text}.")  # the API refuses blank ones, and white space at the end of the last
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts | parts)})
        reply: dict[str, Any] = {"role": "assistant", "content": draw(replies)}
        if draw(st.booleans()):
            reply["reasoning"] = [
                {"text": draw(texts), "signature": draw(texts), "source": "anthropic"},
                {"data": draw(texts), "source": "anthropic"},
            ]
        messages.append(reply)
        if draw(st.booleans()):
            ids = [f"{name}-{len(messages)}" for name in "ab"[: draw(st.integers(1, 2))]]
            function = {"name": draw(texts), "arguments": msgspec.json.encode({"x": draw(texts)}).decode()}
            reply["tool_calls"] = [{"id": i, "type": "function", "function": function} for i in ids]
            reply["content"] = draw(replies | st.none())
            messages += [{"role": "tool", "tool_call_id": i, "content": draw(texts | parts)} for i in ids]
            messages.append({"role": "assistant", "content": draw(replies)})
    has_tools = draw(st.booleans())
    response_format = {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}
    choices: list[Any] = ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}]
    return Request(
        messages,
        draw(texts),
        stream=draw(st.booleans()),
        max_tokens=draw(st.integers(1, 9999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 99)),
        stop=draw(st.none() | st.lists(texts, min_size=1, max_size=2)),
        tools=[WEATHER] if has_tools else None,
        tool_choice=draw(st.sampled_from(choices)) if has_tools else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if has_tools else None,
        response_format=draw(st.none() | st.just(response_format)),
        reasoning_effort=draw(st.sampled_from([None, "low", "medium", "high", "xhigh", "max"])),
        user=draw(st.none() | texts),
        extra_for="anthropic",
    )


@given(request=requests())
def test_an_encoded_request_decodes_to_itself(request: Request) -> None:
    assert decode(encode(request)) == request


def test_a_turn_without_content_is_left_out_and_those_after_it_are_sent() -> None:
    messages: list[Any] = [*HELLO, {"role": "assistant", "content": ""}, {"role": "user", "content": "Again"}]
    [turn] = encode(Request(messages, "claude"))["messages"]
    assert [part["text"] for part in turn["content"]] == ["Hello", "Again"]


CALLING: list[Any] = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
RESULT: Any = {"role": "tool", "tool_call_id": "c", "content": "ok"}
TOOL_USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        # home-assistant/core issue 175637, anomalyco/opencode issue 31259
        ([*HELLO, {"role": "assistant", "content": " \n"}, {"role": "user", "content": "x"}], None),
        (
            [
                *HELLO,
                {"role": "assistant", "content": [{"type": "text", "text": " "}]},
                {"role": "user", "content": "x"},
            ],
            None,
        ),
        ([*HELLO, {"role": "assistant", "content": "\n\n", "tool_calls": CALLING}, RESULT], [TOOL_USE]),
        (
            [
                *HELLO,
                {"role": "assistant", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "x"}]},
                *HELLO,
            ],
            [{"type": "text", "text": " "}, {"type": "text", "text": "x"}],
        ),
        # tailcallhq/forgecode issue 1872
        ([*HELLO, {"role": "assistant", "content": "It is \n"}], "It is"),
        (
            [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "It is "}]}],
            [{"type": "text", "text": "It is"}],
        ),
        (
            [
                *HELLO,
                {"role": "assistant", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": " "}]},
            ],
            [{"type": "text", "text": "Hi"}],
        ),
        ([*HELLO, {"role": "assistant", "content": "It is "}, *HELLO], "It is "),
        ([*HELLO, {"role": "assistant", "content": None, "tool_calls": CALLING}], [TOOL_USE]),
    ],
)
def test_blank_texts_that_the_api_refuses_are_left_out(messages: Any, turns: object) -> None:
    sent = encode(Request(messages, "claude"))["messages"]
    if turns is None:
        assert [turn["role"] for turn in sent] == ["user"]
    else:
        assert sent[1]["content"] == turns


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/messages", {}, True),
        ("/v1/messages/count_tokens", {}, True),
        ("/v1/models", {}, False),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, True),
    ],
)
def test_a_client_is_known_by_its_path_or_its_version(path: str, headers: dict[str, str], expected: bool) -> None:
    assert DIALECT.is_client(ServerRequest(path, headers, b"")) is expected


def test_a_count_is_read() -> None:
    assert DIALECT.read_count(b'{"input_tokens": 7}') == 7


@pytest.mark.parametrize(("limit", "dropped"), [(1024, True), (1025, False), (5000, False), (None, False)])
def test_an_effort_needs_room_for_the_least_budget(limit: int | None, dropped: bool) -> None:
    dialect = Anthropic(effort_as="budget")
    request = Request(HELLO, "m", reasoning_effort="low", max_tokens=limit)
    unsupported = Unsupported("anthropic", drop=True)
    body = json.loads(dialect.encode_request(request, Endpoint("https://h", Secret("k")), unsupported).body)
    assert unsupported.dropped == (["reasoning_effort with max_tokens of 1024 or less"] if dropped else [])
    expected = None if dropped else {"type": "enabled", "budget_tokens": min(2048, (limit or 10_000) - 1)}
    assert body.get("thinking") == expected


@pytest.mark.parametrize("url", ["https://api.anthropic.com", "https://h", "https://api.deepseek.com/anthropic"])
def test_a_turn_with_calls_has_the_thinking_that_its_service_wants(url: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    blocks: list[tuple[Any, str]] = [
        ([], ""),
        ([{"text": "h"}, {"text": "m"}, {"data": "x", "source": "gemini"}], "hm"),
    ]
    for reasoning, text in blocks:
        turn: Any = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": reasoning}
        [_, sent] = encode(Request([*HELLO, turn], "m"), url=url)["messages"]
        thought = [{"type": "thinking", "thinking": text, "signature": ""}] if "deepseek" in url else []
        assert sent["content"] == [*thought, use]
    own: Any = {"role": "assistant", "content": None, "tool_calls": [call]}
    own["reasoning"] = [{"text": "hm", "signature": "s", "source": "anthropic"}]
    [_, sent] = encode(Request([*HELLO, own], "m"), url=url)["messages"]
    assert sent["content"] == [{"type": "thinking", "thinking": "hm", "signature": "s"}, use]
    plain: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}
    [_, sent] = encode(Request([*HELLO, plain], "m"), url=url)["messages"]
    assert sent["content"] == "Hi"
