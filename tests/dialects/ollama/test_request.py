"""Ollama's requests: the shared shape to a body, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.base import Unsupported
from acytoo.dialects.ollama import OllamaGenerate
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Finish, Request, Start
from tests.dialects.ollama.helpers import (
    DIALECT,
    HELLO,
    PNG,
    WEATHER,
    anything,
    arguments,
    decode,
    encode,
    make_request,
    no_deadline,
    texts,
)

BODY = ["messages", "model", "stream", "options", "tools", "think", "format", "logprobs", "keep_alive"]


@given(st.dictionaries(st.sampled_from(BODY), anything, max_size=6), st.lists(st.dictionaries(texts, anything)))
@no_deadline
def test_garbage_in_a_request_raises_a_400(body: dict[str, Any], messages: list[Any]) -> None:
    for candidate in (body, body | {"messages": [{"role": "user", "content": "x"} | m for m in messages]}, [body]):
        try:
            decode(candidate)
        except RequestError as error:
            assert error.status == 400


# Encode.


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        (
            {
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 40,
                "max_tokens": 9,
                "stop": ["x"],
                "seed": 1,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
            },
            {
                "options": {
                    "temperature": 0.5,
                    "top_p": 0.9,
                    "top_k": 40,
                    "num_predict": 9,
                    "stop": ["x"],
                    "seed": 1,
                    "presence_penalty": 0.1,
                    "frequency_penalty": 0.2,
                }
            },
        ),
        ({"stream": False}, {"stream": False}),
        ({"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True}, {"tools": [WEATHER]}),
        ({"tools": [WEATHER], "tool_choice": "none"}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"format": {"type": "object"}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "high"}, {"think": "high"}),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        (
            {"temperature": 1.0, "extra": {"keep_alive": "5m", "options": {"num_ctx": 9, "temperature": 0}}},
            {"options": {"temperature": 0, "num_ctx": 9}, "keep_alive": "5m"},
        ),
        ({"extra": {"options.num_ctx": 9}, "extra_for": "ollama"}, {"options": {"num_ctx": 9}}),
    ],
)
def test_options_are_encoded_in_this_apis_shape(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert encode(make_request(**options)) == {"model": "llama3.2", "messages": HELLO, "stream": True} | fields


def test_the_request_goes_to_the_chat_path_with_the_key_if_there_is_one() -> None:
    for key, authorization in (("", None), ("ok-1", "Bearer ok-1")):
        outgoing = DIALECT.encode_request(
            make_request(), Endpoint("https://ollama.com/", Secret(key)), Unsupported("ollama")
        )
        assert (outgoing.url, outgoing.method) == ("https://ollama.com/api/chat", "POST")
        assert outgoing.headers.get("authorization") == authorization


def test_history_with_calls_results_and_images_is_encoded() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, image, {"type": "text", "text": "this?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": [{"text": "hm", "signature": "x"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    assert encode(make_request(messages))["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Where is this?", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1", "tool_name": "weather"},
        {"role": "assistant", "content": "No."},
    ]


def request_with_part(part: dict[str, Any]) -> Request:
    return make_request([{"role": "user", "content": [{"type": "text", "text": "see"}, part]}])


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (make_request(user="u"), "user"),
        (make_request(tools=[WEATHER], tool_choice="required"), "tool_choice='required'"),
        (make_request(parallel_tool_calls=False), "parallel_tool_calls"),
        (make_request(tools=[{"type": "web_search"}]), "the tool type 'web_search'"),
        (make_request(reasoning_effort="minimal"), "reasoning_effort"),
        (make_request(response_format={"type": "grammar"}), "grammar"),
        (request_with_part({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}), "image's URL"),
        (request_with_part({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "input_audio"),
        (make_request([{"role": "user", "content": "x", "name": "Ann"}]), "name"),
        (make_request(extra={"metadata": {}}, extra_for="openai"), "metadata"),
    ],
)
def test_an_unsupported_feature_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match="ollama") as caught:
        encode(request_)
    assert feature in caught.value.feature
    assert encode(request_, drop=True)["messages"]


def test_arguments_that_are_not_an_object_are_refused() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{half"}}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\]"):
        encode(make_request([{"role": "assistant", "content": None, "tool_calls": [call]}]))


# Decode.


def test_a_request_streams_unless_stream_is_false() -> None:
    body = {"model": "m", "messages": HELLO}
    assert decode(body).stream is True
    assert decode(body | {"stream": False}).stream is False


def test_a_request_of_the_python_client_is_decoded() -> None:
    # As ollama-python 0.6 sends it: calls without ids, results with the tool's name, an empty list of tools.
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    request = decode(
        {
            "model": "m",
            "stream": True,
            "tools": [],
            "think": True,
            "options": {"num_predict": -1, "num_ctx": 99, "stop": "x"},
            "keep_alive": 0,
            "messages": [
                {"role": "user", "content": "look", "images": ["/9j/4AAQ"]},
                {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call, call]},
                {"role": "tool", "tool_name": "weather", "content": "sunny"},
                {"role": "tool", "tool_name": "weather", "content": "rain"},
            ],
        }
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}}
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert request.messages == [
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {
            "role": "assistant",
            "content": "",
            "reasoning": [{"text": "hm"}],
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": function},
                {"id": "call_1", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "sunny", "name": "weather"},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain", "name": "weather"},
    ]
    assert (request.tools, request.max_tokens, request.stop, request.reasoning_effort) == (None, None, ["x"], "medium")
    assert (request.extra, request.extra_for) == ({"options.num_ctx": 99, "keep_alive": 0}, "ollama")


def test_results_without_ids_match_calls_by_name_then_in_order() -> None:
    calls: list[Any] = [{"function": {"name": name, "arguments": {}}} for name in ("now", "weather", "now")]
    results = [{"role": "tool", "tool_name": name, "content": "x"} for name in ("weather", "now", "", "lost")]
    messages = decode({"messages": [{"role": "assistant", "tool_calls": calls}, *results]}).messages
    assert [message["tool_call_id"] for message in messages[1:]] == ["call_1", "call_0", "call_2", "call_3"]


def test_a_new_id_is_not_one_that_another_call_has() -> None:
    calls: list[Any] = [{"function": {"name": "now", "arguments": {}}, **own} for own in ({}, {"id": "call_0"})]
    turns = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_name": "now", "content": "x"}]
    messages = decode({"messages": turns}).messages
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["call_1", "call_0"]
    assert messages[1]["tool_call_id"] == "call_1"


def test_a_result_may_have_an_id_that_its_call_has_lost() -> None:
    """LiteLLM sends the ids of a reply with the results, and without them the calls."""
    calls: list[Any] = [{"function": {"name": "now", "arguments": {"at": place}}} for place in "xy"]
    results = [{"role": "tool", "tool_call_id": f"call_{place}", "content": place} for place in "xy"]
    messages = decode({"messages": [{"role": "assistant", "tool_calls": calls}, *results]}).messages
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["call_0", "call_1"]
    assert [(message["tool_call_id"], message["content"]) for message in messages[1:]] == [
        ("call_0", "x"),
        ("call_1", "y"),
    ]


@pytest.mark.parametrize(("num_predict", "max_tokens"), [(1, 1), (0, 0), (-1, None), (-2, None)])
def test_a_negative_number_of_tokens_is_no_limit(num_predict: int, max_tokens: int | None) -> None:
    request = decode({"messages": HELLO, "options": {"num_predict": num_predict}})
    assert (request.max_tokens, request.extra) == (max_tokens, {})


@pytest.mark.parametrize("field", ["messages", None])
@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(None, "load"), ("5m", "load"), (-1, "load"), (0, "unload"), ("0", "unload"), ("0s", "unload")],
)
def test_a_request_without_messages_loads_or_unloads_the_model(field: str | None, keep_alive: Any, reason: str) -> None:
    body = {"model": "m", "keep_alive": keep_alive} | ({field: []} if field else {})
    for path in ("/api/chat", "/api/generate"):
        dialect = DIALECT if path == "/api/chat" else OllamaGenerate()
        call = dialect.decode_request(ServerRequest(path, {}, json.dumps(body).encode()))
        assert (call.request.messages, call.reply) == ([], [Start(model="m"), Finish(reason, raw=reason)])


def test_an_image_may_be_a_data_url() -> None:
    url = "data:image/webp;base64,UklGR"
    message = decode({"messages": [{"role": "user", "content": "", "images": [url]}]}).messages[0]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": url}}]


def generate(**fields: Any) -> Request:
    """Return the request that a server reads from a body of `/api/generate`."""
    body = json.dumps({"model": "m", **fields}).encode()
    return OllamaGenerate().decode_request(ServerRequest("/api/generate", {}, body)).request


def test_a_prompt_to_generate_becomes_messages() -> None:
    request = generate(
        prompt="Hi", system="Be short", images=["/9j/4AAQ"], stream=False, options={"num_predict": 9}, format="json",
        suffix="", template=None, raw=False, context=[],
    )  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}}
    assert request.messages == [
        {"role": "system", "content": "Be short"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, image]},
    ]
    assert (request.max_tokens, request.stream, request.response_format) == (9, False, {"type": "json_object"})
    assert request.extra == {}
    assert generate(prompt="Hi", images=[]).messages == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x", "system": []}, "system"),
        ({"prompt": "x", "context": [1, 2]}, "context"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
        ({"prompt": "x", "raw": True}, "raw"),
        ({"prompt": "x", "images": [3]}, "images"),
    ],
)
def test_what_only_generate_can_do_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        generate(**fields)
    assert caught.value.status == 400


def test_translation_drops_the_defaults_that_clients_send() -> None:
    options = {"mirostat": 0, "mirostat_eta": 0.1, "mirostat_tau": 5.0, "repeat_penalty": 1.1, "repeat_last_n": 64}
    options |= {"min_p": 0.05, "tfs_z": 1, "typical_p": 1, "penalize_newline": True, "seed": 3}
    request = decode({"messages": HELLO, "chat_id": "x", "options": options})
    assert translate(request, DIALECT).extra == {}
    assert request.seed == 3


def test_translation_drops_runner_options_and_keeps_sampling_options() -> None:
    request = decode({"messages": HELLO, "keep_alive": "5m", "options": {"num_ctx": 9, "mirostat": 1}})
    assert translate(request, DIALECT).extra == {"options.mirostat": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "messages"),
        ({"messages": []}, "empty"),
        ({"messages": ["x"]}, "list of objects"),
        ({"messages": [{"role": "king", "content": "x"}]}, "king"),
        ({"messages": [{"content": "x"}]}, "has the role ''"),
        ({"messages": HELLO, "options": 3}, "options"),
        ({"messages": HELLO, "options": {"temperature": "hot"}}, "temperature"),
        ({"messages": HELLO, "options": {"top_k": 4.5}}, "top_k"),
        ({"messages": [{"role": "user", "content": "x", "images": [3]}]}, "images"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "tool call"),
        ({"messages": HELLO, "think": [1]}, r"invalid think \[1\]: expected text$"),
    ],
)
def test_a_malformed_request_raises_a_400_that_names_the_field(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        decode(body)
    assert caught.value.status == 400


# Round trips.


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Draw messages in the shared shape that this API can express."""
    messages: list[Any] = [{"role": "system", "content": text} for text in draw(st.lists(texts, max_size=1))]
    for turn in range(draw(st.integers(1, 3))):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        text = draw(texts)
        content = text if draw(st.booleans()) else [{"type": "text", "text": text}, image]
        reply: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            reply["reasoning"] = [{"text": draw(texts)}]
        messages += [{"role": "user", "content": content}, reply]
        if call_arguments := draw(st.lists(arguments, max_size=2)):
            names = [draw(texts) for _ in call_arguments]
            argument_texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in call_arguments]
            reply["tool_calls"] = [
                {
                    "id": f"{turn}.{i}",
                    "type": "function",
                    "function": {"name": names[i], "arguments": argument_texts[i]},
                }
                for i in range(len(call_arguments))
            ]
            messages += [
                {"role": "tool", "tool_call_id": f"{turn}.{i}", "content": draw(texts), "name": names[i]}
                for i in range(len(call_arguments))
            ]
    return messages


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


SCHEMA = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}

requests = st.builds(
    Request,
    messages=conversations(),
    model=texts,
    stream=st.booleans(),
    temperature=optional(st.integers(0, 2).map(float)),
    top_p=optional(st.just(0.5)),
    top_k=optional(st.integers(1, 99)),
    max_tokens=optional(st.integers(1, 99)),
    stop=optional(st.lists(texts, min_size=1, max_size=2)),
    seed=optional(st.integers(0, 99)),
    presence_penalty=optional(st.just(0.25)),
    frequency_penalty=optional(st.just(-0.25)),
    tools=optional(st.just([WEATHER])),
    response_format=optional(st.sampled_from([{"type": "json_object"}, SCHEMA])),
    reasoning_effort=optional(st.sampled_from(["none", "low", "medium", "high"])),
    logprobs=optional(st.booleans()),
    top_logprobs=optional(st.integers(0, 20)),
    extra=st.dictionaries(st.sampled_from(["keep_alive", "options.num_ctx", "options.mirostat"]), st.integers(0, 9)),
    extra_for=st.just("ollama"),
)


@given(requests)
@no_deadline
def test_a_request_survives_a_round_trip(request: Request) -> None:
    assert decode(encode(request)) == request
