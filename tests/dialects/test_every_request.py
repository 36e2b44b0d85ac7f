"""Requests in every dialect: decoded as encoded, and what an API cannot express is refused by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError, RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ServerRequest
from acytoo.messages import content_text
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Request
from tests.dialects.strategies import ARGUMENTS, NAME, TEXT
from tests.dialects.test_every_dialect import REMOVED, WRONG_VALUES, every, paths_in, replace_at

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA}}
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def encode(dialect: Dialect, request: Request) -> HTTPRequest:
    """Encode a request. Raises UnsupportedError for whatever the API cannot express."""
    return dialect.encode_request(request, Endpoint("http://h"), Unsupported(dialect.name))


def to_server_request(outgoing: HTTPRequest) -> ServerRequest:
    """Return the request as a server receives it."""
    url = urlsplit(outgoing.url)
    return ServerRequest(url.path, outgoing.headers, outgoing.body, dict(parse_qsl(url.query)))


def round_trip(dialect: Dialect, request: Request) -> Request:
    """Encode a request and return the request that a server decodes from it."""
    return dialect.decode_request(to_server_request(encode(dialect, request))).request


def request_with(option: str, value: Any) -> Request:
    """Return a request with an option and with the other options that it needs."""
    others: dict[str, Any] = {}
    if option in ("tool_choice", "parallel_tool_calls"):
        others["tools"] = [TOOL]
    if option == "top_logprobs":
        others["logprobs"] = True
    return Request(HELLO, "m", **{**others, option: value})


FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
OTHER_APIS = [
    dialects.OpenAI(),
    dialects.OpenAIResponses(),
    dialects.Ollama(),
    dialects.Gemini(),
]
OPTION_VALUES: dict[str, tuple[Any, ...]] = {
    "temperature": (0.0, 0.25, 1.0),
    "top_p": (0.5,),
    "top_k": (5,),
    "max_tokens": (1, 5000),
    "stop": (["x"], ["x", "\n\n"]),
    "seed": (7,),
    "presence_penalty": (0.5, -0.5),
    "frequency_penalty": (0.5,),
    "tools": ([TOOL], [TOOL, {"type": "function", "function": {"name": "g", "parameters": SCHEMA}}]),
    "tool_choice": ("auto", "none", "required", {"type": "function", "function": {"name": "f"}}),
    "parallel_tool_calls": (False,),
    "response_format": (FORMAT,),
    "reasoning_effort": ("low", "high"),
    "logprobs": (True,),
    "top_logprobs": (3,),
    "user": ("someone",),
}

INEXPRESSIBLE: dict[str, dict[str, tuple[Any, ...]]] = {
    "gemini": {"parallel_tool_calls": (False,)},
    "ollama": {
        "tool_choice": ("required", {"type": "function", "function": {"name": "f"}}),
        "parallel_tool_calls": (False,),
    },
}
"""Values that an API cannot express although it has the option."""


def comparable(option: str, value: Any) -> Any:
    """Return the part of an option's value that every API with the option can express."""
    if option == "tools":
        return [{k: v for k, v in tool["function"].items() if k != "strict"} for tool in value]
    if option == "response_format":
        return value["json_schema"]["schema"]
    return value


def test_every_option_has_test_values() -> None:
    assert OPTION_VALUES.keys() == OPTIONS


OPTION_CASES = [(option, value) for option, values in OPTION_VALUES.items() for value in values]


@every
@pytest.mark.parametrize(
    ("option", "value"), OPTION_CASES, ids=[f"{name}={value!r:.30}" for name, value in OPTION_CASES]
)
def test_an_option_is_decoded_as_encoded_or_refused_by_name(dialect: Dialect, option: str, value: Any) -> None:
    request = request_with(option, value)
    if option in dialect.options and value not in INEXPRESSIBLE.get(dialect.name, {}).get(option, ()):
        back = getattr(round_trip(dialect, request), option)
        assert back is not None or value in ("auto", "none"), "only these may be expressed by leaving the option out"
        assert back is None or comparable(option, back) == comparable(option, value)
        return
    if value == "auto":  # the default, so no API refuses it
        encode(dialect, Request(HELLO, "m", tool_choice="auto"))
        return
    with pytest.raises(UnsupportedError, match=option):
        encode(dialect, Request(HELLO, "m", **{option: value}))
    unsupported = Unsupported(dialect.name, drop=True)
    dialect.encode_request(request, Endpoint("http://h"), unsupported)
    assert any(option in dropped for dropped in unsupported.dropped)


NO_OP_FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "openai": (
        {"tools": [], "stop": []},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": "none"},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"logprobs": False, "top_logprobs": 0},
        {"functions": [], "modalities": ["text"], "n": 1, "response_format": {"type": "text"}},
    ),
    "openai-responses": (
        {"tools": [], "parallel_tool_calls": True, "tool_choice": "auto"},
        {"text": {"format": {"type": "text"}}, "top_logprobs": 0, "background": False},
    ),
    "anthropic": ({"tools": [], "stop_sequences": [], "tool_choice": {"type": "auto"}}, {"mcp_servers": []}),
    "ollama": ({"tools": [], "options": {"stop": [], "presence_penalty": 0}},),
    "gemini": (
        {"tools": [], "generationConfig": {"stopSequences": [], "candidateCount": 1}},
        {"tools": [{"functionDeclarations": []}], "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}},
        {"generationConfig": {"responseModalities": ["TEXT"], "frequencyPenalty": 0}},
    ),
}
"""Fields that clients send although they ask for the default."""
NO_OP_CASES = [(dialect, fields) for dialect in dialects.ALL for fields in NO_OP_FIELDS.get(dialect.name, ())]


@pytest.mark.parametrize(
    ("source", "fields"), NO_OP_CASES, ids=[f"{dialect.name}-{'-'.join(fields)}" for dialect, fields in NO_OP_CASES]
)
def test_fields_that_ask_for_the_default_are_dropped_when_translating(source: Dialect, fields: dict[str, Any]) -> None:
    incoming = to_server_request(encode(source, Request(HELLO, "m", stream=False)))
    body = msgspec.json.encode(msgspec.json.decode(incoming.body) | fields)
    request = translate(source.decode_request(msgspec.structs.replace(incoming, body=body)).request, source)
    request.max_tokens = None  # required by Anthropic, and some APIs do not have it
    for target in (dialect for dialect in dialects.ALL if dialect is not source):
        sent = encode(target, request).body
        for part in (b"[]", b"tool", b"allel", b"ogit_bias", b"odalities"):
            assert part not in sent


@pytest.mark.parametrize("callers", [[["code_execution"], ["direct"]], [["direct"], ["code_execution"]]])
def test_a_field_that_is_a_no_op_on_one_tool_only_is_rejected_by_name(callers: list[list[str]]) -> None:
    tools: list[Any] = [{**TOOL, "allowed_callers": each} for each in callers]
    request = translate(Request(HELLO, "m", tools=tools, extra_for="anthropic"), dialects.Anthropic())
    with pytest.raises(UnsupportedError, match="allowed_callers"):
        encode(dialects.OpenAI(), request)


@every
def test_options_that_are_not_set_are_not_sent(dialect: Dialect) -> None:
    back = round_trip(dialect, Request(HELLO, "m"))
    options = {option for option in OPTIONS if getattr(back, option) is not None}
    assert options <= {"temperature"} if dialect.name == "acytoo" else options <= {"max_tokens"}
    assert back.model == "m"


@every
@pytest.mark.parametrize("stream", [True, False])
def test_the_stream_flag_is_decoded_as_encoded(dialect: Dialect, stream: bool) -> None:
    back = round_trip(dialect, Request(HELLO, "m", stream=stream))
    assert back.stream is (True if dialect.name == "acytoo" else stream)


# Messages.


def meaning(messages: list[Any]) -> list[tuple[Any, ...]]:
    """Return what the messages mean: system texts first, then the turns. A call's id is replaced by its position."""
    system = [("system", text_of(m)) for m in messages if m["role"] in ("system", "developer")]
    ids: list[str] = []
    turns: list[tuple[Any, ...]] = []
    for message in messages:
        if message["role"] == "tool":
            turns.append(("tool", ids.index(message["tool_call_id"]), text_of(message)))
        elif message["role"] in ("user", "assistant"):
            calls = message.get("tool_calls") or []
            ids += [call["id"] for call in calls]
            functions = [call["function"] for call in calls]
            turns.append(
                (
                    message["role"],
                    text_of(message),
                    [(f["name"], msgspec.json.decode(f["arguments"])) for f in functions],
                )
            )
    return system + turns


def text_of(message: Any) -> str:
    """Return the text of a message that has no other content."""

    def fail(feature: str) -> None:
        raise AssertionError(f"{feature} in a message that had only text")

    return content_text(message.get("content"), fail)


MARKED_TEXT = TEXT.map(lambda text: f"<{text}>")


@st.composite
def conversations(draw: st.DrawFn, tools: bool) -> list[Any]:
    """Draw an optional system message and some turns, of which the user or a tool has the last."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(MARKED_TEXT)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(MARKED_TEXT)})
        if tools and draw(st.booleans()):
            names = draw(st.lists(NAME, min_size=1, max_size=2, unique=True))
            calls = [
                {"id": f"{turn}-{name}", "type": "function", "function": {"name": name, "arguments": draw(ARGUMENTS)}}
                for name in names
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | MARKED_TEXT), "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(MARKED_TEXT)} for call in calls]
        messages.append({"role": "assistant", "content": draw(MARKED_TEXT)})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": draw(MARKED_TEXT)})
    return messages


@every
@given(st.data())
@slow
def test_a_conversation_is_decoded_as_encoded(dialect: Dialect, data: st.DataObject) -> None:
    messages = data.draw(conversations("tools" in dialect.options))
    before = msgspec.json.encode(messages)
    assert meaning(round_trip(dialect, Request(messages, "m")).messages) == meaning(messages)
    assert msgspec.json.encode(messages) == before


@every
def test_text_parts_of_a_message_are_decoded_as_their_text(dialect: Dialect) -> None:
    parts: Any = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    back = round_trip(dialect, Request([{"role": "user", "content": parts}], "m"))
    assert [text_of(message) for message in back.messages] == ["Hello"]


@every
def test_a_key_is_sent_and_decoded_but_not_in_the_url_or_repr(dialect: Dialect) -> None:
    outgoing = dialect.encode_request(
        Request(HELLO, "m"), Endpoint("http://h", Secret("s3cret")), Unsupported(dialect.name)
    )
    assert "s3cret" not in outgoing.url
    parsed = dialect.decode_request(to_server_request(outgoing))
    assert [secret.reveal() for secret in parsed.secrets] == ["s3cret"]
    assert "s3cret" not in repr(parsed)


# Fields of one API.


@every
def test_an_unknown_field_is_kept_within_a_dialect(dialect: Dialect) -> None:
    request = Request(HELLO, "m", extra={"xodd": {"deep": [1, None]}})
    back = round_trip(dialect, request)
    assert back.extra["xodd"] == {"deep": [1, None]}
    assert round_trip(dialect, back).extra["xodd"] == {"deep": [1, None]}


PAIRS = [(source, target) for source in dialects.ALL for target in dialects.ALL if source is not target]
every_pair = pytest.mark.parametrize(
    ("source", "target"), PAIRS, ids=[f"{source.name} to {target.name}" for source, target in PAIRS]
)


@every_pair
def test_an_unknown_field_is_refused_by_name_when_translating(source: Dialect, target: Dialect) -> None:
    request = translate(round_trip(source, Request(HELLO, "m", extra={"xodd": 5})), source)
    request.temperature = None
    request.max_tokens = None
    with pytest.raises(UnsupportedError, match="xodd"):
        encode(target, request)
    unsupported = Unsupported(target.name, drop=True)
    outgoing = target.encode_request(request, Endpoint("http://h"), unsupported)
    assert "xodd" in unsupported.dropped
    assert b"xodd" not in outgoing.body


@every_pair
def test_ignorable_fields_are_dropped_without_an_error_when_translating(source: Dialect, target: Dialect) -> None:
    extra = {field: {"x": 1} for field in source.ignorable_fields if "." not in field}
    request = translate(Request(HELLO, "m", extra=extra, extra_for=source.name), source)
    unsupported = Unsupported(target.name)
    target.encode_request(request, Endpoint("http://h"), unsupported)
    assert unsupported.dropped == []


EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
ANTHROPIC_BODY: dict[str, Any] = {
    "system": [{"type": "text", "text": "S", **EPHEMERAL}],
    "tools": [
        {"name": "f", "input_schema": SCHEMA, **EPHEMERAL, "defer_loading": True, "eager_input_streaming": True}
        | {"input_examples": [{"x": "y"}]}
    ],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi", **EPHEMERAL}, {"type": "text", "text": "there"}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Look.", "citations": [{"type": "char_location", "cited_text": "c"}]},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}, **EPHEMERAL},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "42", **EPHEMERAL}],
                }
                | EPHEMERAL
            ],
        },
    ],
}
"""A request with Anthropic's own fields on parts, calls, results and tools."""


def decode_anthropic(body: dict[str, Any]) -> Request:
    encoded = msgspec.json.encode({"model": "m", **body})
    return dialects.Anthropic().decode_request(ServerRequest("/v1/messages", {}, encoded)).request


def test_anthropics_own_fields_on_parts_and_tools_are_sent_to_anthropic() -> None:
    sent = msgspec.json.decode(encode(dialects.Anthropic(), decode_anthropic(ANTHROPIC_BODY)).body)
    assert (sent["system"], sent["tools"], sent["messages"]) == (
        ANTHROPIC_BODY["system"],
        ANTHROPIC_BODY["tools"],
        ANTHROPIC_BODY["messages"],
    )


@pytest.mark.parametrize("target", OTHER_APIS, ids=lambda dialect: dialect.name)
def test_anthropics_own_fields_on_parts_and_tools_are_not_sent_to_another_api(target: Dialect) -> None:
    request = decode_anthropic(ANTHROPIC_BODY)
    sent = encode(target, translate(request, dialects.Anthropic())).body.decode()
    for field in ("cache_control", "ephemeral", "defer_loading", "eager", "input_examples", "citations", "cited"):
        assert field not in sent
    for field in ("hi", "there", "Look.", "42", '"f"'):
        assert field in sent
    assert request == decode_anthropic(ANTHROPIC_BODY)


@pytest.mark.parametrize("target", OTHER_APIS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("field", "value"), [("context", "A letter."), ("transformations", [{"type": "crop"}])])
def test_anthropics_own_fields_on_a_document_are_refused_by_name(target: Dialect, field: str, value: Any) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    content = [{"type": "document", "source": source, field: value}]
    request = decode_anthropic({"messages": [{"role": "user", "content": content}]})
    with pytest.raises(UnsupportedError, match=field):
        encode(target, translate(request, dialects.Anthropic()))


@pytest.mark.parametrize("dialect", [dialects.OpenAI(), dialects.Anthropic()], ids=lambda dialect: dialect.name)
def test_a_callers_cache_control_is_sent_to_apis_that_have_it(dialect: Dialect) -> None:
    marked: Any = [{"role": "user", "content": [{"type": "text", "text": "hi", **EPHEMERAL}]}]
    assert b"ephemeral" in encode(dialect, Request(marked, "m")).body


FAILED_TOOL = decode_anthropic(
    {
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": content}
                    for content in ("42", [{"type": "text", "text": "43"}, {"type": "text", "text": "44"}])
                ],
            },
        ]
    }
)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (dialects.OpenAI(), '"content":"Error: 42"'),
        (dialects.OpenAIResponses(), '"output":"Error: 42"'),
        (dialects.Ollama(), '"content":"Error: 42"'),
        (dialects.Gemini(), '"response":{"error":"42"}'),
        (dialects.Anthropic(), '"is_error":true'),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_failed_tool_is_reported_in_every_api(target: Dialect, field: str) -> None:
    sent = encode(target, translate(FAILED_TOOL, dialects.Anthropic())).body.decode()
    assert field in sent
    assert '"Error: "' in sent or "Error: 43" in sent or target.name in ("gemini", "anthropic")
    succeeded = msgspec.structs.replace(FAILED_TOOL, messages=[{**m, "is_error": False} for m in FAILED_TOOL.messages])
    assert "rror" not in encode(target, succeeded).body.decode().replace('"is_error":false', "")


def test_a_failed_tool_is_decoded_from_gemini() -> None:
    back = round_trip(dialects.Gemini(), FAILED_TOOL)
    assert [(m["content"], m["is_error"]) for m in back.messages[2:]] == [("42", True), ("4344", True)]
    assert b'"Error: 42"' in encode(dialects.OpenAI(), translate(back, dialects.Gemini())).body


@pytest.mark.parametrize(
    ("part", "feature"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, "inlineData content"),
        ({"inline_data": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "s"}, "inlineData content"),
        ({"executableCode": {"language": "PYTHON", "code": "print(1)"}}, "executableCode content"),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, "codeExecutionResult content"),
        ({"fileData": {"fileUri": "gs://x"}}, "fileData content"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("target", [d for d in dialects.ALL if d.name != "gemini"], ids=lambda d: d.name)
def test_parts_that_only_gemini_has_are_refused_by_name_when_translating(
    target: Dialect, part: dict[str, Any], feature: str
) -> None:
    turns = [{"parts": [{"text": "Draw."}]}, {"role": "model", "parts": [{"text": "There:"}, part]}]
    body = msgspec.json.encode({"contents": turns})
    request = dialects.Gemini().decode_request(ServerRequest("/v1beta/models/m:generateContent", {}, body)).request
    with pytest.raises(UnsupportedError, match=feature):
        encode(target, translate(request, dialects.Gemini()))
    unsupported = Unsupported(target.name, drop=True)
    sent = target.encode_request(translate(request, dialects.Gemini()), Endpoint("http://h"), unsupported).body
    assert [feature in dropped for dropped in unsupported.dropped] == [True]
    assert b"There:" in sent


@pytest.mark.parametrize("target", OTHER_APIS, ids=lambda dialect: dialect.name)
def test_a_block_that_only_anthropic_has_is_refused_by_name_when_translating(target: Dialect) -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    request = decode_anthropic({"messages": [*HELLO, {"role": "assistant", "content": [block]}, *HELLO]})
    with pytest.raises(UnsupportedError, match="server_tool_use content"):
        encode(target, translate(request, dialects.Anthropic()))


@every_pair
def test_a_conversation_keeps_its_meaning_when_translated(source: Dialect, target: Dialect) -> None:
    messages = [{"role": "system", "content": "Be kind."}, *HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]
    request = translate(round_trip(source, Request(messages, "m")), source)
    request.temperature = None
    back = round_trip(target, msgspec.structs.replace(request, max_tokens=None))
    assert meaning(back.messages) == meaning(messages)


# Invalid requests.


def full_request(dialect: Dialect) -> HTTPRequest:
    """Return a request that uses everything that this API has."""
    options = {name: values[0] for name, values in OPTION_VALUES.items() if name in dialect.options}
    messages = [{"role": "system", "content": "Be kind."}, *HELLO]
    if "tools" in dialect.options:
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":"y"}'}}
        messages.append({"role": "assistant", "content": "Hm", "tool_calls": [call], "reasoning": [{"text": "m"}]})
        messages.append({"role": "tool", "tool_call_id": "a", "content": "z"})
        url = "data:image/png;base64,AAAA"
        image = {"type": "image_url", "image_url": {"url": url}}
        messages.append({"role": "user", "content": [{"type": "text", "text": "This?"}, image]})
    return dialect.encode_request(
        Request(messages, "m", **options), Endpoint("http://h"), Unsupported(dialect.name, drop=True)
    )


@every
@given(st.data())
@slow
def test_a_wrong_value_anywhere_is_a_400_or_can_be_encoded_by_every_dialect(
    dialect: Dialect, data: st.DataObject
) -> None:
    incoming = to_server_request(full_request(dialect))
    document = msgspec.json.decode(incoming.body)
    path = data.draw(st.sampled_from(paths_in(document)))
    body = msgspec.json.encode(replace_at(document, path, data.draw(WRONG_VALUES)))
    try:
        request = dialect.decode_request(msgspec.structs.replace(incoming, body=body)).request
    except RequestError as error:
        assert error.status == 400
        assert len(error.message) > 10
        return
    for target in dialects.ALL:
        try:
            target.encode_request(
                translate(request, dialect), Endpoint("http://h"), Unsupported(target.name, drop=True)
            )
        except UsageError:
            pass


ALLOWED_TOOLS = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
}
STRUCTURED_OPTIONS = [(option, value) for option, value in OPTION_CASES if isinstance(value, (list, dict))]
WRONG_SHAPES: list[Any] = [None, 5, "x", [], {}, True, [5], ["x"], [{}], {"x": 5}, {"type": "function"}, REMOVED]
WRONG_SHAPES += [{"type": "function", "function": "x"}, {"type": "allowed_tools", "allowed_tools": 5}]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *STRUCTURED_OPTIONS,
        ("tool_choice", ALLOWED_TOOLS),
        ("tools", [TOOL, {"type": "custom", "custom": {"name": "sh"}}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_of_a_wrong_shape_is_a_400_or_can_be_encoded_by_every_dialect(option: str, value: Any) -> None:
    for path in paths_in(value):
        for wrong in WRONG_SHAPES:
            body = {"messages": HELLO, "model": "m", "tools": [TOOL]} | {option: replace_at(value, path, wrong)}
            try:
                request = dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(body))).request
            except RequestError as error:
                assert option in error.message
                continue
            for target in dialects.ALL:
                try:
                    target.encode_request(
                        translate(request, dialects.OpenAI()),
                        Endpoint("http://h"),
                        Unsupported(target.name, drop=True),
                    )
                except UsageError as error:
                    assert option in error.message


@pytest.mark.parametrize("function", ["x", 5, None, {}, {"name": 5}, []])
def test_a_tool_choice_that_names_no_function_is_a_400(function: Any) -> None:
    body = {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "function", "function": function}}
    with pytest.raises(RequestError, match="tool_choice must be"):
        dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(body)))


@every
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'"x"', b"null", b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"{}"],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_a_request_is_a_400(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(to_server_request(encode(dialect, Request(HELLO, "m"))), body=body)
    with pytest.raises(RequestError) as caught:
        dialect.decode_request(incoming)
    assert caught.value.status == 400
    assert caught.value.message


@every
@given(st.binary(max_size=60))
@slow
def test_any_bytes_as_a_body_raise_only_acytoo_errors(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(to_server_request(encode(dialect, Request(HELLO, "m"))), body=body)
    try:
        dialect.decode_request(incoming)
    except AcytooError:
        pass


@every
@pytest.mark.parametrize("text", ["\ud83d", "a\udfffb"])
def test_a_lone_surrogate_is_an_error_before_anything_is_sent(dialect: Dialect, text: str) -> None:
    with pytest.raises(UsageError):
        encode(dialect, Request([{"role": "user", "content": text}], "m"))
