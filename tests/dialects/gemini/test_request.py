"""Gemini's requests: the shared shape to a body, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.base import Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, ServerRequest
from acytoo.messages import check_options
from acytoo.secret import Secret
from acytoo.types import Request, collect
from tests.dialects.gemini.helpers import (
    CONTENTS,
    DECLARATION,
    DIALECT,
    HELLO,
    PNG,
    SCHEMA,
    WEATHER,
    arguments,
    decode,
    encode,
    fields,
    make_request,
    no_deadline,
    response,
    texts,
)

BODY = ["contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safety_settings", "cachedContent"]
CONFIG = ["temperature", "stopSequences", "responseSchema", "responseMimeType", "thinkingConfig", "candidateCount"]
PART = ["text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"]


@given(fields(BODY), fields(CONFIG), st.lists(fields(PART), max_size=3), st.sampled_from(["user", "model"]))
@no_deadline
def test_garbage_in_a_request_raises_a_400(
    body: dict[str, Any], config: dict[str, Any], parts: list[Any], role: str
) -> None:
    for candidate in (
        body,
        body | {"contents": [{"role": role, "parts": parts}]},
        {"contents": CONTENTS, "generationConfig": config},
        [body],
    ):
        try:
            decode(candidate)
        except RequestError as error:
            assert error.status == 400


# Encode.


@pytest.mark.parametrize(
    ("options", "body"),
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
                "logprobs": True,
                "top_logprobs": 3,
            },
            {
                "generationConfig": {
                    "temperature": 0.5,
                    "topP": 0.9,
                    "topK": 40,
                    "maxOutputTokens": 9,
                    "stopSequences": ["x"],
                    "seed": 1,
                    "presencePenalty": 0.1,
                    "frequencyPenalty": 0.2,
                    "responseLogprobs": True,
                    "logprobs": 3,
                }
            },
        ),
        ({"tools": [WEATHER], "parallel_tool_calls": True}, {"tools": [{"functionDeclarations": [DECLARATION]}]}),
        ({"tool_choice": "auto"}, {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ({"tool_choice": "none"}, {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        ({"tool_choice": "required"}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"generationConfig": {"responseMimeType": "application/json"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ),
        (
            {"reasoning_effort": "low", "model": "gemini-3-pro-preview"},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}},
        ),
        (
            {"reasoning_effort": "low", "model": "models/gemini-2.5-flash"},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}},
        ),
        ({"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        (
            {
                "seed": 1,
                "tools": [WEATHER],
                "extra": {
                    "alt": "json",
                    "cachedContent": "c",
                    "generationConfig.speechConfig": {},
                    "generationConfig": {"seed": 2, "topK": 3},
                    "tools.googleSearch": {},
                },
            },
            {
                "cachedContent": "c",
                "generationConfig": {"seed": 2, "topK": 3, "speechConfig": {}},
                "tools": [{"functionDeclarations": [DECLARATION]}, {"googleSearch": {}}],
            },
        ),
    ],
)
def test_options_are_encoded_in_this_apis_shape(options: dict[str, Any], body: dict[str, Any]) -> None:
    assert encode(make_request(**options)) == {"contents": CONTENTS} | body


@pytest.mark.parametrize(
    ("base", "model", "stream", "url"),
    [
        ("https://g.example", "gemini-x", True, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("https://g.example/", "models/gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("https://g.example?a=1", "org/m 1:8b", True, "/v1beta/models/org/m%201:8b:streamGenerateContent?a=1&alt=sse"),
        ("https://g.example", "tunedModels/mine", False, "/v1beta/tunedModels/mine:generateContent"),
        ("https://g.example", "m?key=x", False, "/v1beta/models/m%3Fkey%3Dx:generateContent"),
    ],
)
def test_the_model_and_whether_to_stream_are_in_the_url(base: str, model: str, stream: bool, url: str) -> None:
    outgoing = DIALECT.encode_request(
        make_request(model=model, stream=stream), Endpoint(base, Secret("g-1")), Unsupported("gemini")
    )
    assert outgoing.url == "https://g.example" + url
    assert outgoing.headers["x-goog-api-key"] == "g-1"


def test_a_model_is_required() -> None:
    with pytest.raises(UsageError, match="model"):
        encode(make_request(model=""))


def test_a_message_other_than_system_is_required() -> None:
    with pytest.raises(UsageError, match="system"):
        encode(make_request([{"role": "system", "content": "x"}]))


def test_history_with_calls_results_and_media_is_encoded() -> None:
    signed = {"google": {"thought_signature": "s2"}}
    calls = [
        {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}, "extra_content": signed},
        {"id": "c2", "function": {"name": "now", "arguments": ""}},
    ]
    blocks = [
        {"text": "hm", "source": "gemini"},
        {"signature": "s1", "source": "gemini"},
        {"text": "mine", "signature": "x", "source": "anthropic"},
    ]
    messages: list[Any] = [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.JPG?x=1"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "file", "file": {"file_id": "https://example.com/files/1"}},
            ],
        },
        {"role": "assistant", "content": "Wait", "reasoning": blocks, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "developer", "content": "In French"},
        {"role": "user", "content": "Well?"},
    ]
    body = encode(make_request(messages))
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief"}, {"text": "In French"}]}
    assert body["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "look"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.JPG?x=1"}},
                {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
                {"fileData": {"fileUri": "https://example.com/files/1"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"text": "Wait", "thoughtSignature": "s1"},
                {
                    "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}},
                    "thoughtSignature": "s2",
                },
                {"functionCall": {"id": "c2", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "c2", "name": "now", "response": {"output": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "Well?"}]},
    ]


INVENTED = "call_0123456789abcdef01234567"
CALLED: Any = {"function": {"name": "f", "arguments": "{}"}}


def parts_of(*ids: str, url: str = "https://g.example", results: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the calls with these ids and their results as they are sent."""
    messages = [*HELLO, {"role": "assistant", "tool_calls": [{"id": each, **CALLED} for each in ids]}]
    messages += [{"role": "tool", "tool_call_id": each, "name": "f", "content": each} for each in results or ids]
    outgoing = DIALECT.encode_request(make_request(messages), Endpoint(url), Unsupported("gemini"))
    parts = [part for content in json.loads(outgoing.body)["contents"][1:] for part in content["parts"]]
    return [part.get("functionCall") or part["functionResponse"] for part in parts]


def test_an_id_that_the_server_did_not_send_is_not_sent_back() -> None:
    data = json.dumps(response({"functionCall": {"name": "f", "args": {}}}, reason="STOP")).encode()
    [call] = collect(DIALECT.read_reply(data)).tool_calls
    for part in parts_of(call["id"]):
        assert "id" not in part
    assert [part["id"] for part in parts_of("c1")] == ["c1", "c1"]


def test_vertex_ai_gets_no_ids_of_calls() -> None:
    # vercel/ai issue 15664.
    for part in parts_of("c1", url="https://aiplatform.googleapis.com"):
        assert "id" not in part


def test_results_are_in_the_order_of_their_calls() -> None:
    assert [part["response"] for part in parts_of("b", "a", results=("x", "a", "b"))[2:]] == [
        {"output": "b"},
        {"output": "a"},
        {"output": "x"},
    ]


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"output": "ok"}, "ok"),
        ("ok", "ok"),
        (None, ""),
        ({"a": 1}, '{"a":1}'),
        ({"output": 1}, '{"output":1}'),
        ([1], "[1]"),
    ],
)
def test_the_response_of_a_function_is_its_text_or_json(response: object, text: str) -> None:
    called = {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": response}}]}
    assert decode({"contents": [*CONTENTS, called, result]}).messages[2]["content"] == text


def test_a_signature_that_arrived_with_an_empty_text_is_sent_with_one() -> None:
    turn = {
        "role": "assistant",
        "content": "Hi",
        "reasoning": [{"signature": "s1", "source": "gemini"}],
        "turn_parts": [{"type": "text", "text": "Hi"}, {"type": "reasoning", "index": 0, "source": "gemini"}],
    }
    parts = encode(make_request([*HELLO, turn]))["contents"][1]["parts"]
    assert parts == [{"text": "Hi"}, {"text": "", "thoughtSignature": "s1"}]


@pytest.mark.parametrize(("model", "is_signed"), [("gemini-3-flash", True), ("gemini-2.5-pro", False)])
def test_a_call_of_another_model_is_sent_to_gemini_3_with_the_documented_placeholder(
    model: str, is_signed: bool
) -> None:
    # Source: ai.google.dev, "Thought signatures": without one, Gemini 3 responds with 400.
    calls = [{"id": str(i), "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in range(2)]
    messages: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "0", "content": "x"},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ]
    body = encode(make_request(messages, model=model))
    signed = [part.get("thoughtSignature") for part in body["contents"][1]["parts"]]
    assert signed == (["skip_thought_signature_validator", None] if is_signed else [None, None])
    assert "extra_content" not in decode(body).messages[1]["tool_calls"][0]


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (make_request(user="u"), "user"),
        (make_request(parallel_tool_calls=False), "parallel_tool_calls=False"),
        (make_request(tools=[{"type": "web_search"}]), "the tool type 'web_search'"),
        (make_request(tool_choice="sometimes"), "tool_choice='sometimes'"),
        (make_request(reasoning_effort="extreme"), "reasoning_effort='extreme'"),
        (make_request(model="gemini-2.5-pro", reasoning_effort="xhigh"), "reasoning_effort='xhigh'"),
        (make_request(reasoning_effort="max"), "reasoning_effort='max'"),
        (make_request(response_format={"type": "grammar"}), "response_format 'grammar'"),
        (make_request([{"role": "user", "content": [{"type": "video", "video": 1}]}]), "video content"),
        (make_request([{"role": "user", "content": "x", "name": "Ann"}]), "the name of a message's author"),
        (
            make_request([*HELLO, {"role": "tool", "tool_call_id": "lost", "content": "x"}]),
            "the result of a call that is not in the messages ('lost')",
        ),
        (make_request(extra={"metadata": {}}, extra_for="openai"), "metadata"),
    ],
)
def test_an_unsupported_feature_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match="gemini") as caught:
        encode(request_)
    assert caught.value.feature == feature
    assert encode(request_, drop=True)["contents"]


def test_arguments_that_are_not_an_object_are_refused() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\]"):
        encode(make_request([{"role": "assistant", "content": None, "tool_calls": [call]}]))


# Decode.


def test_a_request_in_snake_case_is_decoded() -> None:
    # As google-genai 3.4 sends some of its fields.
    request = decode(
        {
            "system_instruction": {"parts": [{"text": "Be brief"}], "role": "user"},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}],
                },
                {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"x": 1}}}]},
                {"parts": [{"function_response": {"name": "f", "response": {"result": [1]}}}, {"text": "Well?"}]},
            ],
            "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": SCHEMA}]}],
            "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f", "g"]}},
            "generation_config": {"max_output_tokens": 9, "thinking_config": {"thinking_level": "HIGH"}},
            "safety_settings": [],
        }
    )
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert request.messages == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": '{"result":[1]}', "name": "f"},
        {"role": "user", "content": "Well?"},
    ]
    assert request.tools == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    assert encode(request)["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
    }
    assert (request.max_tokens, request.reasoning_effort, request.extra) == (9, "high", {"safetySettings": []})


def test_a_schema_in_geminis_own_form_becomes_json_schema() -> None:
    own = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "maxLength": "9"},
            "any_of": {
                "anyOf": [{"type": "INTEGER"}, {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "1"}]
            },
        },
        "propertyOrdering": ["type"],
        "required": ["type"],
    }
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "maxLength": 9},
            "any_of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]},
        },
        "required": ["type"],
    }
    request = decode(
        {
            "contents": CONTENTS,
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": own}]}],
            "generationConfig": {"responseSchema": own, "responseMimeType": "application/json"},
        }
    )
    assert request.tools is not None
    assert request.tools[0]["function"]["parameters"] == schema
    assert request.response_format == {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}


@pytest.mark.parametrize(
    ("own", "schema"),
    [
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "STRING", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"any_of": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        ),
        ({"nullable": True}, {}),
    ],
)
def test_a_nullable_schema_allows_null(own: dict[str, Any], schema: dict[str, Any]) -> None:
    request = decode({"contents": CONTENTS, "tools": [{"functionDeclarations": [{"name": "f", "parameters": own}]}]})
    assert request.tools is not None
    assert request.tools[0]["function"]["parameters"] == schema


def test_an_enum_reply_is_refused_by_name_in_translation() -> None:
    # Source: Gemini API reference, GenerationConfig: with `text/x.enum`, the reply is a value without quotes.
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a", "b"]}}
    request = decode({"contents": CONTENTS, "generationConfig": config})
    assert translate(request, DIALECT).extra == {"generationConfig.responseMimeType": "text/x.enum"}
    assert encode(request)["generationConfig"]["responseMimeType"] == "text/x.enum"


def test_a_field_name_that_begins_with_an_underscore_is_kept() -> None:
    body = {"contents": CONTENTS, "generationConfig": {"_unknownField": 1}}
    assert encode(decode(body)) == body


def test_both_names_of_the_field_with_a_json_schema_are_read() -> None:
    # Source: Gemini API reference, GenerationConfig, `responseJsonSchema` and `_responseJsonSchema`.
    for name in ("responseJsonSchema", "_responseJsonSchema", "response_json_schema"):
        config = {"responseMimeType": "application/json", name: {"type": "object"}}
        request = translate(decode({"contents": CONTENTS, "generationConfig": config}), DIALECT)
        assert request.response_format is not None
        assert request.response_format["json_schema"]["schema"] == {"type": "object"}
        assert request.extra == {}


@pytest.mark.parametrize("config", [{"mediaResolution": "MEDIA_RESOLUTION_LOW"}, {"enableEnhancedCivicAnswers": False}])
def test_hints_in_the_config_are_not_refused_in_translation(config: dict[str, Any]) -> None:
    request = decode({"contents": CONTENTS, "generationConfig": config})
    assert translate(request, DIALECT).extra == {}
    assert encode(request)["generationConfig"] == config


@pytest.mark.parametrize(
    ("thinking", "effort", "kept"),
    [
        ({"thinkingBudget": 0}, "none", False),
        ({"thinkingBudget": 512}, "low", False),
        ({"thinkingBudget": 8192}, "medium", False),
        ({"thinkingBudget": 32768}, "high", False),
        ({"thinkingBudget": -1, "includeThoughts": True}, None, True),
        ({"includeThoughts": True}, None, True),
    ],
)
def test_a_thinking_budget_becomes_an_effort_and_an_automatic_one_is_kept(
    thinking: dict[str, Any], effort: str | None, kept: bool
) -> None:
    request = decode({"contents": CONTENTS, "generationConfig": {"thinkingConfig": thinking, "candidateCount": 1}})
    assert request.reasoning_effort == effort
    assert request.extra == ({"generationConfig.thinkingConfig": thinking} if kept else {})
    assert translate(request, DIALECT).extra == {}


def test_fields_of_this_api_alone_keep_their_name_in_translation() -> None:
    body = {
        "contents": CONTENTS,
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"speechConfig": {}},
        "toolConfig": {"retrievalConfig": {}},
        "safetySettings": [],
    }
    request = decode(body)
    assert set(translate(request, DIALECT).extra) == {
        "tools.googleSearch",
        "generationConfig.speechConfig",
        "toolConfig.retrievalConfig",
    }
    assert encode(request) == body


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-x:streamGenerateContent", "gemini-x", True),
        ("/v1/models/org/llama3:8b:generateContent", "org/llama3:8b", False),
        ("/v1beta/models/models/x:generateContent", "x", False),
    ],
)
def test_the_model_and_whether_to_stream_come_from_the_path(path: str, model: str, stream: bool) -> None:
    request = DIALECT.decode_request(ServerRequest(path, {}, json.dumps({"contents": CONTENTS}).encode())).request
    assert (request.model, request.stream) == (model, stream)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "contents"),
        ({"contents": 3}, "contents must be a list"),
        ({"contents": ["x"]}, r"contents\[0\] must be an object"),
        ({"contents": [{"parts": [{}]}]}, "empty part"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"name": 3}}]}]}, "name"),
        ({"contents": CONTENTS, "generationConfig": []}, "generationConfig"),
        ({"contents": CONTENTS, "generationConfig": {"temperature": "hot"}}, "temperature"),
        ({"contents": CONTENTS, "tools": [{"functionDeclarations": [{}]}]}, "name"),
    ],
)
def test_a_malformed_request_raises_a_400_that_names_the_field(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        decode(body)
    assert caught.value.status == 400


def test_an_unknown_part_is_refused_by_name_and_forwarded_unchanged() -> None:
    body = json.dumps({"contents": [{"parts": [{"toolResponse": {"x": 1}}]}], "model": "left alone"}).encode()
    incoming = ServerRequest("/v1beta/models/gemini-x:generateContent", {}, body)
    request = DIALECT.decode_request(incoming).request
    with pytest.raises(UnsupportedError, match="toolResponse"):
        encode(request)
    endpoint = Endpoint("https://g.example", Secret("g-1"))
    outgoing = DIALECT.http_request(request, endpoint, DIALECT.for_model(body, "gemini-x"))
    assert outgoing.url == "https://g.example/v1beta/models/gemini-x:generateContent"
    assert (outgoing.body, outgoing.headers["x-goog-api-key"]) == (body, "g-1")


def test_tokens_are_counted_with_tools_and_instruction() -> None:
    request = make_request([{"role": "system", "content": "Be brief"}, *HELLO], tools=[WEATHER], user="u")
    outgoing = DIALECT.encode_count_request(request, Endpoint("https://g.example"))
    body = json.loads(outgoing.body)["generateContentRequest"]
    assert outgoing.url == "https://g.example/v1beta/models/gemini-2.0-flash:countTokens"
    assert body["model"] == "models/gemini-2.0-flash"
    decoded = DIALECT.decode_request(
        ServerRequest("/v1beta/models/gemini-2.0-flash:countTokens", {}, outgoing.body)
    ).request
    assert (decoded.messages, decoded.tools, decoded.stream) == (request.messages, [WEATHER], False)
    assert DIALECT.read_count(DIALECT.write_count(31)) == 31


def test_a_token_count_of_contents_alone_is_decoded() -> None:
    body = json.dumps({"contents": CONTENTS}).encode()
    assert DIALECT.decode_request(ServerRequest("/v1/models/m:countTokens", {}, body)).request.messages == HELLO


def test_another_verb_is_refused() -> None:
    with pytest.raises(RequestError, match="generateContent"):
        decode({"contents": CONTENTS}, verb="embedContent")


# Round trips.


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Draw messages in the shared shape that this API can express."""
    messages: list[Any] = [{"role": "system", "content": text} for text in draw(st.lists(texts, max_size=2))]
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}
    for turn in range(draw(st.integers(1, 3))):
        text = draw(texts)
        media = draw(st.lists(st.sampled_from([image, audio, file]), max_size=2))
        content = [{"type": "text", "text": text}, *media] if media else text
        reply: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            reply["reasoning"] = [{"text": draw(texts), "signature": "c2ln", "source": "gemini"}]
            reply["reasoning"] += draw(st.lists(st.just({"signature": "czI=", "source": "gemini"}), max_size=1))
        messages += [{"role": "user", "content": content}, reply]
        if call_arguments := draw(st.lists(arguments, max_size=2)):
            names = [draw(texts) for _ in call_arguments]
            argument_texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in call_arguments]
            reply["content"] = draw(st.none() | texts)
            if reply["content"] is None:
                reply.pop("reasoning", None)
            reply["tool_calls"] = [
                {
                    "id": f"{turn}.{i}",
                    "type": "function",
                    "function": {"name": names[i], "arguments": argument_texts[i]},
                }
                for i in range(len(call_arguments))
            ]
            if draw(st.booleans()):
                reply["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
            messages += [
                {"role": "tool", "tool_call_id": f"{turn}.{i}", "content": draw(texts), "name": names[i]}
                for i in range(len(call_arguments))
            ]
    return messages


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


FORMAT = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}
CHOICES = ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]
EXTRA = ["cachedContent", "generationConfig.speechConfig", "toolConfig.retrievalConfig", "tools.googleSearch"]

requests = st.builds(
    Request,
    messages=conversations(),
    model=st.just("gemini-2.0-flash"),
    stream=st.just(True),
    temperature=optional(st.integers(0, 2).map(float)),
    top_p=optional(st.just(0.5)),
    top_k=optional(st.integers(1, 99)),
    max_tokens=optional(st.integers(1, 99)),
    stop=optional(st.lists(texts, min_size=1, max_size=2)),
    seed=optional(st.integers(0, 99)),
    presence_penalty=optional(st.just(0.25)),
    frequency_penalty=optional(st.just(-0.25)),
    tools=optional(st.just([WEATHER])),
    tool_choice=optional(st.sampled_from(CHOICES)),
    response_format=optional(st.sampled_from([{"type": "json_object"}, FORMAT])),
    reasoning_effort=optional(st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"])),
    logprobs=optional(st.booleans()),
    top_logprobs=optional(st.integers(0, 20)),
    extra=st.dictionaries(st.sampled_from(EXTRA), st.just({"x": 1})),
    extra_for=st.just("gemini"),
)


@given(requests)
@no_deadline
def test_a_request_survives_a_round_trip(request: Request) -> None:
    check_options(request)
    decoded = decode(encode(request))
    for message in decoded.messages:
        message.pop("turn_parts", None)
    assert decoded == request


@pytest.mark.parametrize("part", [{}, {"text": None}, {"text": 5}, {"inlineData": {}}])
def test_a_part_of_the_instruction_without_a_text_is_empty(part: dict[str, Any]) -> None:
    request = decode({"systemInstruction": {"parts": [part]}, "contents": CONTENTS})
    assert request.messages == [{"role": "system", "content": ""}, *HELLO]


def test_a_file_by_its_uri_is_an_image_or_a_file() -> None:
    def content_of(media_type: str) -> Any:
        parts = [{"text": "See"}, {"fileData": {"mimeType": media_type, "fileUri": "gs://b/f"}}]
        return decode({"contents": [{"role": "user", "parts": parts}]}).messages[0]["content"]

    def with_type(part: Any, media_type: str) -> Any:
        return {**part, "mimeType": media_type}

    file, image = (
        {"type": "file", "file": {"file_id": "gs://b/f"}},
        {"type": "image_url", "image_url": {"url": "gs://b/f"}},
    )
    assert content_of("application/pdf")[1] == with_type(file, "application/pdf")
    assert content_of("image/png")[1] == with_type(image, "image/png")


@pytest.mark.parametrize(
    "part",
    [
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/f"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://h/a.png"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}, "videoMetadata": {"fps": 1}},
        {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"startOffset": "1s"}},
        {
            "inlineData": {"mimeType": "image/png", "data": "AAAA"},
            "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"},
        },
    ],
    ids=range(5),
)
def test_media_of_a_client_go_back_to_gemini_as_they_were_and_to_other_apis_plainly(part: Any) -> None:
    contents = [{"role": "user", "parts": [{"text": "See"}, part]}]
    request = decode({"contents": contents})
    assert encode(request)["contents"] == contents
    content: Any = translate(request, DIALECT).messages[0]["content"]
    assert all(one.keys().isdisjoint({"mimeType", "videoMetadata", "mediaResolution"}) for one in content)


def test_the_path_decides_about_the_model_and_the_stream_and_not_the_body() -> None:
    fields = {"model": "other", "stream": False, "messages": "x"}
    assert decode({"contents": CONTENTS, **fields}) == decode({"contents": CONTENTS})


@pytest.mark.parametrize(
    ("path", "headers", "query", "is_own"),
    [
        ("/v1beta/files", {}, {}, True),
        ("/v1/models/m:generateContent", {}, {}, True),
        ("/v1/models/m:countTokens", {}, {}, True),
        ("/v1/models", {}, {"key": "k"}, True),
        ("/v1/models", {"x-goog-api-key": "k"}, {}, True),
        ("/v1/models", {"x-goog-api-client": "c"}, {}, True),
        ("/v1/models", {}, {}, False),
    ],
)
def test_its_clients_are_recognized(path: str, headers: dict[str, str], query: dict[str, str], is_own: bool) -> None:
    assert DIALECT.is_client(ServerRequest(path, headers, b"", query)) is is_own


@pytest.mark.parametrize(
    ("instruction", "texts"),
    [
        ("Be brief", ["Be brief"]),
        ({"parts": [{"text": "Be brief"}, {"text": "Be kind"}]}, ["Be brief", "Be kind"]),
        ({"parts": [{}]}, [""]),
        ({}, []),
        (None, []),
    ],
)
def test_an_instruction_is_a_text_or_parts(instruction: Any, texts: list[str]) -> None:
    request = decode({"systemInstruction": instruction, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
    assert request.messages == [
        *[{"role": "system", "content": text} for text in texts],
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    ("effort", "budget", "level"),
    [
        ("none", {"thinkingBudget": 0}, {"thinkingBudget": 0}),
        ("minimal", {"thinkingBudget": 1024}, {"thinkingLevel": "MINIMAL"}),
        ("low", {"thinkingBudget": 1024}, {"thinkingLevel": "LOW"}),
        ("medium", {"thinkingBudget": 8192}, {"thinkingLevel": "MEDIUM"}),
        ("high", {"thinkingBudget": 24576}, {"thinkingLevel": "HIGH"}),
        ("xhigh", {"thinkingBudget": 24576}, {"thinkingLevel": "XHIGH"}),
        ("max", {"thinkingBudget": 24576}, {"thinkingLevel": "HIGH"}),
        ("extreme", None, None),
    ],
)
def test_an_effort_is_a_budget_or_a_level(effort: str, budget: Any, level: Any) -> None:
    for model, size in (("gemini-2.5-pro", budget), ("models/gemini-2.5-flash", budget), ("gemini-3-pro", level)):
        body = encode(make_request(model=model, reasoning_effort=effort), drop=True)
        thinking = size if size is None or effort == "none" else {**size, "includeThoughts": True}
        assert body.get("generationConfig", {}).get("thinkingConfig") == thinking


@pytest.mark.parametrize(
    ("config", "choice", "extra"),
    [
        ({"functionCallingConfig": {"mode": "AUTO"}}, "auto", {}),
        ({"functionCallingConfig": {"mode": "NONE"}}, "none", {}),
        ({"functionCallingConfig": {"mode": "any"}}, "required", {}),
        ({"functionCallingConfig": {"mode": "VALIDATED"}}, "auto", {}),
        ({"functionCallingConfig": {"allowedFunctionNames": ["f"]}}, "auto", {}),
        ({"functionCallingConfig": {}}, None, {}),
        ({"retrievalConfig": {"x": 1}}, None, {"toolConfig.retrievalConfig": {"x": 1}}),
        (
            {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            {"type": "function", "function": {"name": "f"}},
            {},
        ),
        (
            {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": name}} for name in "fg"],
                },
            },
            {},
        ),
    ],
    ids=range(9),
)
def test_a_calling_config_is_a_tool_choice(config: Any, choice: Any, extra: Any) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    request = decode({"contents": CONTENTS, "tools": tools, "toolConfig": config})
    assert (request.tool_choice, request.extra) == (choice, extra)
    if isinstance(choice, dict):
        assert encode(request)["toolConfig"] == config


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ({"text": "x"}, "x"),
        (
            {"inlineData": {"mimeType": "image/png", "data": "A"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}},
        ),
        (
            {"inlineData": {"mimeType": "audio/wav", "data": "A"}},
            {"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}},
        ),
        (
            {"inlineData": {"mimeType": "audio/mp3", "data": "A"}},
            {"type": "input_audio", "input_audio": {"data": "A", "format": "mp3"}},
        ),
        (
            {"inlineData": {"mimeType": "audio/ogg", "data": "A"}},
            {"type": "file", "file": {"file_data": "data:audio/ogg;base64,A"}},
        ),
        ({"inlineData": {"data": "A"}}, {"type": "file", "file": {"file_data": "data:;base64,A"}}),
        ({"fileData": {"fileUri": "gs://b/f"}}, {"type": "file", "file": {"file_id": "gs://b/f"}}),
        ({"executableCode": {"code": "1"}}, {"executableCode": {"code": "1"}, "type": "executableCode"}),
    ],
    ids=range(8),
)
def test_a_part_of_a_user_is_a_part_of_the_shared_shape(part: Any, content: Any) -> None:
    [message] = decode({"contents": [{"role": "user", "parts": [part]}]}).messages
    assert message["content"] == (content if isinstance(content, str) else [content])


@pytest.mark.parametrize(
    ("response", "content", "is_error"),
    [
        ({"output": "ok"}, "ok", False),
        ({"error": "no"}, "no", True),
        ({"error": {"code": 1}}, '{"error":{"code":1}}', True),
        ({"output": "ok", "error": "no"}, '{"output":"ok","error":"no"}', False),
        ({"other": "x"}, '{"other":"x"}', False),
    ],
)
def test_a_result_is_an_error_if_it_has_only_that(response: Any, content: str, is_error: bool) -> None:
    called = {"role": "model", "parts": [{"functionCall": {"name": "f", "id": "c1"}}]}
    result: dict[str, Any] = {"name": "f", "id": "c1", "response": response}
    answered = {"role": "user", "parts": [{"functionResponse": result}]}
    message = decode({"contents": [*CONTENTS, called, answered]}).messages[2]
    assert message == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": content,
        "name": "f",
        **({"is_error": True} if is_error else {}),
    }
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    with_media = {"role": "user", "parts": [{"functionResponse": {**result, "parts": [image]}}]}
    message = decode({"contents": [*CONTENTS, called, with_media]}).messages[2]
    assert message["content"] == [
        {"type": "text", "text": content},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
