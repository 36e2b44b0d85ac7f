"""Requests of OpenAI's Responses: the shared shape to a body, and back."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.base import Unsupported
from acytoo.dialects.openai import OpenAI
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, ServerRequest
from acytoo.messages import check_options
from acytoo.types import Reply, Request
from tests.dialects.openai_responses.helpers import (
    DIALECT,
    ENDPOINT,
    NAME,
    anything,
    decode,
    encode,
    make_request,
    objects,
    text,
    texts,
)

PNG = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("message", "items"),
    [
        ({"role": "user", "content": "Hi"}, [{"role": "user", "content": "Hi"}]),
        ({"role": "developer", "content": "Hi"}, [{"role": "developer", "content": "Hi"}]),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "this?"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
                ],
            },
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "this?"},
                        {"type": "input_image", "image_url": PNG, "detail": "low"},
                        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
                    ],
                }
            ],
        ),
        (
            {
                "role": "assistant",
                "content": "so",
                "reasoning": [
                    {"text": "hm", "id": "rs_1", "data": "gAAA", "source": NAME},
                    {"text": "as it is", "id": "rs_2", "source": NAME},
                    {"text": "foreign", "signature": "s", "source": "anthropic"},
                    {"text": "without a source"},
                ],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            [
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                    "encrypted_content": "gAAA",
                },
                {
                    "type": "reasoning",
                    "id": "rs_2",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "as it is"}],
                },
                {"type": "message", "role": "assistant", "content": [text("so")]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
        ),
        (
            {"role": "assistant", "content": None, "refusal": "no"},
            [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, {"type": "refusal", "refusal": "no"}]},
            [{"type": "message", "role": "assistant", "content": [text("so"), {"type": "refusal", "refusal": "no"}]}],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "content": None},
            [{"type": "function_call_output", "call_id": "c", "output": ""}],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": [{"type": "text", "text": "sun"}]},
            [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sun"}]}],
        ),
    ],
)
def test_a_message_becomes_items(message: dict[str, Any], items: list[Any]) -> None:
    assert encode(make_request(message))["input"] == items


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"stream": False}, {}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}),
        ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        (
            {"reasoning_effort": "low", "extra": {"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}}},
            {
                "reasoning": {"effort": "low", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
                "text": {"verbosity": "low"},
            },
        ),
        ({"logprobs": True, "top_logprobs": 2}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}),
        ({"extra": {"store": True}}, {"store": True}),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": {"type": "object", "properties": {}},
                        "strict": False,
                    },
                    {"type": "web_search"},
                ]
            },
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "name": "f"}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
        ),
    ],
)
def test_options_are_sent_in_the_shape_of_this_api(options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = encode(make_request(**options))
    plain = {"model": "gpt-x", "input": [{"role": "user", "content": "Hello"}], "store": False, "stream": True}
    if options.get("stream") is False:
        del plain["stream"]
    assert body == {**plain, **fields}


def test_the_first_system_message_becomes_the_instructions() -> None:
    body = encode(make_request({"role": "system", "content": "short"}, {"role": "user", "content": "Hi"}))
    assert (body["instructions"], len(body["input"])) == ("short", 1)


def test_the_request_goes_to_the_endpoint_with_its_key() -> None:
    outgoing = DIALECT.encode_request(make_request(), ENDPOINT, Unsupported(NAME))
    assert outgoing.url == "https://api.example/v1/responses"
    assert outgoing.headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("chat_request", "feature"),
    [
        (make_request(stop=["x"]), "stop"),
        (make_request(seed=1), "seed"),
        (make_request(presence_penalty=0.1), "presence_penalty"),
        (make_request(frequency_penalty=0.1), "frequency_penalty"),
        (make_request(top_k=1), "top_k"),
        (make_request(extra={"keep_alive": 1}, extra_for="ollama"), "keep_alive"),
        (make_request({"role": "user", "content": "x", "name": "Ann"}), "the name of a message"),
        (make_request(tools=[{"type": "search"}], extra_for="ollama"), "the tool type 'search'"),
        (
            make_request({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
            "input_audio content",
        ),
    ],
)
def test_a_feature_that_the_api_lacks_is_refused_by_name_or_dropped(chat_request: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        encode(chat_request)
    assert caught.value.feature == feature
    assert encode(chat_request, drop=True)["model"] == "gpt-x"


@pytest.mark.parametrize("include", [None, "reasoning.encrypted_content"])
def test_an_include_that_is_not_a_list_does_not_break_a_request_about_reasoning(include: object) -> None:
    body = encode(decode({"model": "m", "input": "x", "include": include, "reasoning": {"summary": "auto"}}))
    assert body["include"] == (include or ["reasoning.encrypted_content"])


def test_a_custom_tool_in_the_shape_of_chat_completions_is_this_apis() -> None:
    grammar = {"syntax": "lark", "definition": "start: /a/"}
    tool = {"type": "custom", "custom": {"name": "f", "format": {"type": "grammar", "grammar": grammar}}}
    sent = encode(make_request(tools=[tool], tool_choice={"type": "custom", "custom": {"name": "f"}}))
    assert sent["tools"] == [{"type": "custom", "name": "f", "format": {"type": "grammar", **grammar}}]
    assert sent["tool_choice"] == {"type": "custom", "name": "f"}


def test_an_image_without_a_url_is_refused() -> None:
    with pytest.raises(UsageError, match="image_url part"):
        encode(make_request({"role": "user", "content": [{"type": "image_url"}]}))


def test_encoding_does_not_change_the_callers_messages() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
    ]
    before = json.dumps(messages)
    encode(Request(messages, tools=[{"type": "function", "function": {"name": "f"}}]))
    assert json.dumps(messages) == before


@given(objects(anything), st.lists(objects(anything), max_size=3))
def test_garbage_in_a_request_raises_a_400(body: dict[str, Any], items: list[Any]) -> None:
    try:
        decode({**body, "input": items})
    except RequestError as error:
        assert error.status == 400


MESSAGE_ITEM = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text("so")]}
CALL_ITEM = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"}
CHAT_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("Hi", [{"role": "user", "content": "Hi"}]),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], [{"role": "user", "content": "Hi"}]),
        ([MESSAGE_ITEM], [{"role": "assistant", "content": "so"}]),
        ([{"role": "assistant", "content": "so"}], [{"role": "assistant", "content": "so"}]),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g"}, MESSAGE_ITEM, CALL_ITEM],
            [
                {
                    "role": "assistant",
                    "content": "so",
                    "reasoning": [{"data": "g", "id": "rs_1", "source": NAME}],
                    "tool_calls": [CHAT_CALL],
                }
            ],
        ),
        (
            [
                CALL_ITEM,
                {**CALL_ITEM, "call_id": "d"},
                {"type": "function_call_output", "call_id": "c", "output": "sun"},
            ],
            [
                {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "d"}]},
                {"role": "tool", "tool_call_id": "c", "content": "sun"},
            ],
        ),
        (
            [MESSAGE_ITEM, MESSAGE_ITEM],
            [{"role": "assistant", "content": "so"}, {"role": "assistant", "content": "so"}],
        ),
        (
            [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            [{"role": "assistant", "content": None, "refusal": "no"}],
        ),
        (
            [{**MESSAGE_ITEM, "content": [text("so"), {"type": "refusal", "refusal": "no"}]}],
            [{"role": "assistant", "content": "so", "refusal": "no"}],
        ),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}],
            [{"role": "assistant", "content": "", "reasoning": [{"text": "hm", "id": "rs_1", "source": NAME}]}],
        ),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "high"}]}],
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}]}],
        ),
    ],
)
def test_items_become_messages(value: Any, messages: list[Any]) -> None:
    assert decode({"model": "m", "input": value}).messages == messages


def test_reasoning_between_calls_keeps_its_place() -> None:
    calls = [{"type": "function_call", "call_id": id_, "name": "f", "arguments": "{}"} for id_ in ("c1", "c2")]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]}
    (message,) = decode({"model": "m", "input": [calls[0], thought, calls[1], answer]}).messages
    assert message["content"] == "so"
    assert [call["id"] for call in message["tool_calls"]] == ["c1", "c2"]
    assert [(part["type"], part.get("index"), part.get("text")) for part in message["turn_parts"]] == [
        ("tool_call", 0, None),
        ("reasoning", 0, None),
        ("tool_call", 1, None),
        ("text", None, "so"),
    ]


@pytest.mark.parametrize(
    "order", [["call", "thought", "refusal"], ["call", "refusal", "thought"], ["refusal", "call", "thought"]]
)
def test_a_text_after_a_refusal_in_a_turn_with_calls_is_kept(order: list[str]) -> None:
    items = {
        "call": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        "thought": {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        "refusal": {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    }
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]}
    (message,) = decode({"model": "m", "input": [*[items[kind] for kind in order], answer]}).messages
    assert (message["content"], message["refusal"]) == ("so", "no")
    assert message["turn_parts"][-1] == {"type": "text", "text": "so"}


def test_another_apis_signature_survives_a_client_of_this_api() -> None:
    block: Any = {"text": "hm", "signature": "sig", "source": "anthropic"}
    body = json.loads(DIALECT.write_reply(Reply("so", reasoning=[block]), make_request()))
    assert decode({"model": "m", "input": body["output"]}).messages[0]["reasoning"] == [block]


def test_a_request_is_streamed_only_if_stream_is_true() -> None:
    assert not decode({"model": "m", "input": "x"}).stream
    assert decode({"model": "m", "input": "x", "stream": True}).stream


OWN_FEATURES: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools:web_search"),
    ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice:web_search_preview"),
]


@pytest.mark.parametrize(("fields", "feature"), OWN_FEATURES)
def test_a_feature_of_this_api_alone_is_refused_by_name_in_translation(fields: dict[str, Any], feature: str) -> None:
    request = translate(decode({"model": "m", "input": "x", **fields}), DIALECT)
    with pytest.raises(UnsupportedError) as caught:
        OpenAI().encode_request(request, ENDPOINT, Unsupported("openai"))
    assert caught.value.feature == feature


@pytest.mark.parametrize(("fields", "feature"), OWN_FEATURES)
def test_a_feature_of_this_api_alone_is_sent_to_an_endpoint_of_it(fields: dict[str, Any], feature: str) -> None:
    body = encode(decode({"model": "m", "input": "x", **fields}))
    assert {name: body[name] for name in fields} == fields


def test_ignorable_fields_are_dropped_in_translation() -> None:
    body = {
        "model": "m",
        "input": "x",
        "store": True,
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "previous_response_id": None,
    }
    request = translate(decode(body), DIALECT)
    assert (request.extra, request.reasoning_effort) == ({}, "low")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "input is missing"),
        ({"input": []}, "input is missing"),
        ({"input": ["x"]}, r"input\[0\] must be an item"),
        ({"input": [{"role": "user"}]}, r"input\[0\] has no content"),
        ({"input": [{"role": "user", "content": [{}]}]}, r"input\[0\]\.content\[0\] must be a part"),
        ({"input": [{"role": "robot", "content": "x"}]}, "robot"),
        ({"input": [{"type": "message", "content": "x"}]}, "''"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "call_id is missing"),
        ({"input": "x", "tools": {}}, "tools must be a list"),
        ({"input": "x", "tools": [{"type": "function"}]}, "no name"),
        ({"input": "x", "text": "json"}, "text must be an object"),
        ({"input": "x", "temperature": "hot"}, "temperature"),
    ],
)
def test_a_malformed_request_raises_a_400_that_names_the_problem(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(RequestError, match=problem) as caught:
        decode({"model": "m", **body})
    assert caught.value.status == 400


parts = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, texts),
    st.builds(lambda t: {"type": "image_url", "image_url": {"url": t, "detail": "low"}}, texts),
    st.builds(lambda t: {"type": "file", "file": {"filename": t, "file_data": t}}, texts),
)
contents = st.one_of(texts, st.lists(parts, min_size=2, max_size=3))
blocks = st.builds(lambda t, d: {"text": t, "data": d, "id": "rs_1", "source": NAME}, texts, st.just("gAAA"))
functions = st.builds(
    lambda name, strict: {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object"}, **({"strict": True} if strict else {})},
    },
    texts,
    st.booleans(),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Draw a history with every kind of message. No two messages of the assistant are adjacent."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": draw(st.sampled_from(["user", "developer", "system"])), "content": draw(contents)})
        turn: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            turn["reasoning"] = draw(st.lists(blocks, min_size=1, max_size=2))
        if draw(st.booleans()):
            turn["refusal"] = draw(texts)
        messages.append(turn)
        if draw(st.booleans()):
            turn["content"] = draw(st.none() | texts)
            ids = [f"call_{len(messages)}_{number}" for number in range(draw(st.integers(1, 3)))]
            turn["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": draw(texts), "arguments": draw(texts)}}
                for id_ in ids
            ]
            results = [{"role": "tool", "tool_call_id": id_, "content": draw(contents)} for id_ in ids]
            messages += results
    return messages


choices = st.sampled_from(
    [
        "auto",
        "none",
        "required",
        {"type": "function", "function": {"name": "f"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    ]
)
formats = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
    ]
)
requests = st.builds(
    Request,
    conversations(),
    model=texts,
    stream=st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(1, 9),
    tools=st.none() | st.lists(functions, min_size=1, max_size=2),
    tool_choice=st.none() | choices,
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | formats,
    reasoning_effort=st.none() | st.sampled_from(["none", "low", "high"]),
    logprobs=st.just(True),
    top_logprobs=st.none() | st.integers(0, 20),
    user=st.none() | texts,
)


@given(requests)
def test_a_request_that_the_api_can_express_is_decoded_unchanged(chat_request: Request) -> None:
    check_options(chat_request)
    outgoing = DIALECT.encode_request(chat_request, ENDPOINT, Unsupported(NAME))
    call = DIALECT.decode_request(ServerRequest("/v1/responses", outgoing.headers, outgoing.body))
    decoded = call.request
    assert decoded.extra.pop("store") is False
    assert "message.output_text.logprobs" in decoded.extra.pop("include")
    chat_request.extra_for = NAME
    assert decoded == chat_request


@pytest.mark.parametrize(("data", "include"), [("gAAA", ["reasoning.encrypted_content"]), ("", None)])
def test_encrypted_reasoning_is_requested_if_the_history_has_any(data: str, include: list[str] | None) -> None:
    turn = {
        "role": "assistant",
        "content": "so",
        "reasoning": [{"text": "hm", "id": "r", "data": data, "source": NAME}],
    }
    assert encode(make_request({"role": "user", "content": "Hi"}, turn)).get("include") == include


def test_the_mode_of_allowed_tools_is_kept() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    tools = [{"type": "function", "name": "f"}]
    assert decode({"model": "m", "input": "x", "tools": tools, "tool_choice": choice}).tool_choice == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
    }


def test_batches_are_those_of_this_api() -> None:
    assert json.loads(DIALECT.batches().line("r", b"{}"))["url"] == "/v1/responses"


def test_audio_of_a_turn_is_reported_as_unsupported() -> None:
    turn = {"role": "assistant", "content": "so", "audio": {"id": "a"}}
    with pytest.raises(UnsupportedError, match="audio of an assistant message"):
        encode(make_request(turn))


def test_a_prompt_of_the_apis_own_store_is_refused_with_what_to_do() -> None:
    error = DIALECT.conversation_error("prompt")
    assert error is not None
    assert error.message == "prompt refers to a template that this server does not have: send its text as instructions"


NO_PARAMETERS: Any = {"type": "object", "properties": {}}
FUNCTION_TOOL = {"type": "function", "parameters": NO_PARAMETERS, "strict": False, "name": "f"}
LOGPROBS, ENCRYPTED = "message.output_text.logprobs", "reasoning.encrypted_content"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"include": ["x", LOGPROBS]}, {"include": [LOGPROBS, "x"]}),
        ({"include": "x"}, {"include": "x"}),
        ({"tools": [{"type": "web_search"}]}, {"tools": [FUNCTION_TOOL, {"type": "web_search"}]}),
        ({"tools:web_search": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
        ({"text": {"verbosity": "low"}}, {"text": {"format": {"type": "json_object"}, "verbosity": "low"}}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"store": True}, {"store": True}),
        ({"reasoning": {"summary": "auto"}}, {"include": [LOGPROBS, ENCRYPTED]}),
        ({"reasoning": {}}, {"include": [LOGPROBS]}),
    ],
    ids=range(9),
)
def test_extra_fields_are_merged_with_those_of_the_options(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    function: Any = {"type": "function", "function": {"name": "f"}}
    request = make_request(tools=[function], response_format={"type": "json_object"}, logprobs=True, extra=extra)
    body = encode(request)
    assert {name: body[name] for name in expected} == expected
    assert body["store"] is extra.get("store", False)


@pytest.mark.parametrize("choice", ["auto", "none", "required", "odd"])
def test_a_choice_by_name_is_kept(choice: str) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    assert decode({"model": "m", "input": "x", "tools": tools, "tool_choice": choice}).tool_choice == choice


_TURN_ITEMS: dict[str, dict[str, Any]] = {
    "reasoning": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    "message": {"role": "assistant", "content": "so"},
    "call": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    "second call": {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
}


@pytest.mark.parametrize("names", list(itertools.permutations(_TURN_ITEMS)), ids=", ".join)
def test_the_items_of_a_turn_keep_their_order(names: tuple[str, ...]) -> None:
    items = [_TURN_ITEMS[name] for name in names]
    results = [{"type": "function_call_output", "call_id": id_, "output": "r"} for id_ in ("c1", "c2")]
    request = decode({"model": "m", "input": [{"role": "user", "content": "x"}, *items, *results]})
    sent = json.loads(DIALECT.encode_request(request, Endpoint("http://x"), Unsupported(DIALECT.name)).body)["input"]
    kinds = [item.get("type", "message") for item in items]
    assert [item.get("type", "message") for item in sent[1:5]] == kinds
    assert [item["call_id"] for item in sent if item.get("type") == "function_call"] == [
        item["call_id"] for item in items if "call_id" in item
    ]
