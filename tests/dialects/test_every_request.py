"""Requests in every dialect: what is built is parsed again, what cannot be said is refused by its name."""

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
from tests.dialects.strategies import ARGUMENTS, PIECE, WORD
from tests.dialects.test_every_dialect import GONE, WRONG, every, places_in, replaced

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA}}
slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def built(dialect: Dialect, request: Request) -> HTTPRequest:
    return dialect.encode_request(request, Endpoint("http://h"), Unsupported(dialect.name))


def received(outgoing: HTTPRequest) -> ServerRequest:
    url = urlsplit(outgoing.url)
    return ServerRequest(url.path, outgoing.headers, outgoing.body, dict(parse_qsl(url.query)))


def there_and_back(dialect: Dialect, request: Request) -> Request:
    return dialect.decode_request(received(built(dialect, request))).request


def request_with(option: str, value: Any) -> Request:
    """A request with the option, and with those it needs beside it."""
    beside: dict[str, Any] = {}
    if option in ("tool_choice", "parallel_tool_calls"):
        beside["tools"] = [TOOL]
    if option == "top_logprobs":
        beside["logprobs"] = True
    return Request(HELLO, "m", **{**beside, option: value})


FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
ELSEWHERE = [
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

WITHOUT: dict[str, dict[str, tuple[Any, ...]]] = {
    "gemini": {"parallel_tool_calls": (False,)},
    "ollama": {
        "tool_choice": ("required", {"type": "function", "function": {"name": "f"}}),
        "parallel_tool_calls": (False,),
    },
}
"""Values for which an API that has the option has no word."""


def plain(option: str, value: Any) -> Any:
    """An option's value, as far as every API that has the option tells it."""
    if option == "tools":
        return [{k: v for k, v in tool["function"].items() if k != "strict"} for tool in value]
    if option == "response_format":
        return value["json_schema"]["schema"]
    return value


def test_every_option_is_tried() -> None:
    assert OPTION_VALUES.keys() == OPTIONS


OPTION_CASES = [(option, value) for option, values in OPTION_VALUES.items() for value in values]


@every
@pytest.mark.parametrize(
    ("option", "value"), OPTION_CASES, ids=[f"{name}={value!r:.30}" for name, value in OPTION_CASES]
)
def test_an_option_is_sent_and_understood_or_refused_by_name(dialect: Dialect, option: str, value: Any) -> None:
    request = request_with(option, value)
    if option in dialect.options and value not in WITHOUT.get(dialect.name, {}).get(option, ()):
        back = getattr(there_and_back(dialect, request), option)
        assert back is not None or value in ("auto", "none"), "only these may be said by silence"
        assert back is None or plain(option, back) == plain(option, value)
        return
    if value == "auto":  # is what happens anyway
        built(dialect, Request(HELLO, "m", tool_choice="auto"))
        return
    with pytest.raises(UnsupportedError, match=option):
        built(dialect, Request(HELLO, "m", **{option: value}))
    unsupported = Unsupported(dialect.name, drop=True)
    dialect.encode_request(request, Endpoint("http://h"), unsupported)
    assert any(option in loss for loss in unsupported.dropped)


NOTHING: dict[str, tuple[dict[str, Any], ...]] = {
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
"""What clients say that asks for what happens anyway."""
NOTHING_CASES = [(dialect, fields) for dialect in dialects.ALL for fields in NOTHING.get(dialect.name, ())]


@pytest.mark.parametrize(
    ("source", "fields"), NOTHING_CASES, ids=[f"{dialect.name}-{'-'.join(fields)}" for dialect, fields in NOTHING_CASES]
)
def test_what_asks_for_nothing_is_refused_nowhere_else_and_sends_no_empty_list(
    source: Dialect, fields: dict[str, Any]
) -> None:
    incoming = received(built(source, Request(HELLO, "m", stream=False)))
    body = msgspec.json.encode(msgspec.json.decode(incoming.body) | fields)
    request = translate(source.decode_request(msgspec.structs.replace(incoming, body=body)).request, source)
    request.max_tokens = None  # Anthropic's clients must give it, some APIs have no word for it
    for target in (dialect for dialect in dialects.ALL if dialect is not source):
        sent = built(target, request).body
        for word in (b"[]", b"tool", b"allel", b"ogit_bias", b"odalities"):
            assert word not in sent


@pytest.mark.parametrize("callers", [[["code_execution"], ["direct"]], [["direct"], ["code_execution"]]])
def test_a_field_that_is_a_no_op_on_one_tool_only_is_rejected_by_name(callers: list[list[str]]) -> None:
    tools: list[Any] = [{**TOOL, "allowed_callers": each} for each in callers]
    request = translate(Request(HELLO, "m", tools=tools, extra_for="anthropic"), dialects.Anthropic())
    with pytest.raises(UnsupportedError, match="allowed_callers"):
        built(dialects.OpenAI(), request)


@every
def test_nothing_asked_for_is_nothing_sent(dialect: Dialect) -> None:
    back = there_and_back(dialect, Request(HELLO, "m"))
    given = {option for option in OPTIONS if getattr(back, option) is not None}
    assert given <= {"temperature"} if dialect.name == "acytoo" else given <= {"max_tokens"}
    assert back.model == "m"


@every
@pytest.mark.parametrize("stream", [True, False])
def test_a_stream_is_asked_for_or_not(dialect: Dialect, stream: bool) -> None:
    back = there_and_back(dialect, Request(HELLO, "m", stream=stream))
    assert back.stream is (True if dialect.name == "acytoo" else stream)


# Messages.


def said(messages: list[Any]) -> list[tuple[Any, ...]]:
    """What the messages say: system texts first, then the turns, calls told by their place."""
    system = [("system", told(m)) for m in messages if m["role"] in ("system", "developer")]
    ids: list[str] = []
    turns: list[tuple[Any, ...]] = []
    for message in messages:
        if message["role"] == "tool":
            turns.append(("tool", ids.index(message["tool_call_id"]), told(message)))
        elif message["role"] in ("user", "assistant"):
            calls = message.get("tool_calls") or []
            ids += [call["id"] for call in calls]
            functions = [call["function"] for call in calls]
            turns.append(
                (message["role"], told(message), [(f["name"], msgspec.json.decode(f["arguments"])) for f in functions])
            )
    return system + turns


def told(message: Any) -> str:
    def lost(feature: str) -> None:
        raise AssertionError(f"{feature} appeared from nowhere")

    return content_text(message.get("content"), lost)


TEXT = PIECE.map(lambda text: f"<{text}>")


@st.composite
def conversations(draw: st.DrawFn, tools: bool) -> list[Any]:
    """A system message or none, then turns by turns, ending with the user or a tool."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXT)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXT)})
        if tools and draw(st.booleans()):
            names = draw(st.lists(WORD, min_size=1, max_size=2, unique=True))
            calls = [
                {"id": f"{turn}-{name}", "type": "function", "function": {"name": name, "arguments": draw(ARGUMENTS)}}
                for name in names
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | TEXT), "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT)} for call in calls]
        messages.append({"role": "assistant", "content": draw(TEXT)})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": draw(TEXT)})
    return messages


@every
@given(st.data())
@slowly
def test_a_conversation_is_understood_as_it_was_meant(dialect: Dialect, data: st.DataObject) -> None:
    messages = data.draw(conversations("tools" in dialect.options))
    before = msgspec.json.encode(messages)
    assert said(there_and_back(dialect, Request(messages, "m")).messages) == said(messages)
    assert msgspec.json.encode(messages) == before


@every
def test_a_message_in_parts_is_understood_like_its_text(dialect: Dialect) -> None:
    parts: Any = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    back = there_and_back(dialect, Request([{"role": "user", "content": parts}], "m"))
    assert [told(message) for message in back.messages] == ["Hello"]


@every
def test_a_key_is_sent_and_found_again_and_in_no_log(dialect: Dialect) -> None:
    outgoing = dialect.encode_request(
        Request(HELLO, "m"), Endpoint("http://h", Secret("s3cret")), Unsupported(dialect.name)
    )
    assert "s3cret" not in outgoing.url
    found = dialect.decode_request(received(outgoing))
    assert [secret.reveal() for secret in found.secrets] == ["s3cret"]
    assert "s3cret" not in repr(found)


# Fields we do not know.


@every
def test_a_field_we_do_not_know_passes_within_a_dialect(dialect: Dialect) -> None:
    request = Request(HELLO, "m", extra={"xodd": {"deep": [1, None]}})
    back = there_and_back(dialect, request)
    assert back.extra["xodd"] == {"deep": [1, None]}
    assert there_and_back(dialect, back).extra["xodd"] == {"deep": [1, None]}


PAIRS = [(one, other) for one in dialects.ALL for other in dialects.ALL if one is not other]
crossings = pytest.mark.parametrize(
    ("source", "target"), PAIRS, ids=[f"{source.name} to {target.name}" for source, target in PAIRS]
)


@crossings
def test_a_field_we_do_not_know_is_refused_by_name_on_a_crossing(source: Dialect, target: Dialect) -> None:
    request = translate(there_and_back(source, Request(HELLO, "m", extra={"xodd": 5})), source)
    request.temperature = None
    request.max_tokens = None
    with pytest.raises(UnsupportedError, match="xodd"):
        built(target, request)
    unsupported = Unsupported(target.name, drop=True)
    outgoing = target.encode_request(request, Endpoint("http://h"), unsupported)
    assert "xodd" in unsupported.dropped
    assert b"xodd" not in outgoing.body


@crossings
def test_what_is_harmless_vanishes_silently_on_a_crossing(source: Dialect, target: Dialect) -> None:
    given = {field: {"x": 1} for field in source.ignorable_fields if "." not in field}
    request = translate(Request(HELLO, "m", extra=given, extra_for=source.name), source)
    unsupported = Unsupported(target.name)
    target.encode_request(request, Endpoint("http://h"), unsupported)
    assert unsupported.dropped == []


CACHED = {"cache_control": {"type": "ephemeral"}}
OWN: dict[str, Any] = {
    "system": [{"type": "text", "text": "S", **CACHED}],
    "tools": [
        {"name": "f", "input_schema": SCHEMA, **CACHED, "defer_loading": True, "eager_input_streaming": True}
        | {"input_examples": [{"x": "y"}]}
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi", **CACHED}, {"type": "text", "text": "there"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Look.", "citations": [{"type": "char_location", "cited_text": "c"}]},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}, **CACHED},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42", **CACHED}]}
                | CACHED
            ],
        },
    ],
}
"""What Anthropic's clients put on parts, calls, results and tools."""


def of_anthropic(body: dict[str, Any]) -> Request:
    encoded = msgspec.json.encode({"model": "m", **body})
    return dialects.Anthropic().decode_request(ServerRequest("/v1/messages", {}, encoded)).request


def test_fields_of_anthropics_own_on_parts_and_tools_reach_its_own_endpoints() -> None:
    sent = msgspec.json.decode(built(dialects.Anthropic(), of_anthropic(OWN)).body)
    assert (sent["system"], sent["tools"], sent["messages"]) == (OWN["system"], OWN["tools"], OWN["messages"])


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda dialect: dialect.name)
def test_fields_of_anthropics_own_on_parts_and_tools_reach_no_other_api(target: Dialect) -> None:
    request = of_anthropic(OWN)
    sent = built(target, translate(request, dialects.Anthropic())).body.decode()
    for field in ("cache_control", "ephemeral", "defer_loading", "eager", "input_examples", "citations", "cited"):
        assert field not in sent
    for field in ("hi", "there", "Look.", "42", '"f"'):
        assert field in sent
    assert request == of_anthropic(OWN)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("field", "value"), [("context", "A letter."), ("transformations", [{"type": "crop"}])])
def test_what_anthropics_own_fields_say_of_a_document_is_refused_by_name(
    target: Dialect, field: str, value: Any
) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    content = [{"type": "document", "source": source, field: value}]
    request = of_anthropic({"messages": [{"role": "user", "content": content}]})
    with pytest.raises(UnsupportedError, match=field):
        built(target, translate(request, dialects.Anthropic()))


@pytest.mark.parametrize("dialect", [dialects.OpenAI(), dialects.Anthropic()], ids=lambda dialect: dialect.name)
def test_a_cache_mark_of_the_users_own_is_sent_where_it_can_be(dialect: Dialect) -> None:
    marked: Any = [{"role": "user", "content": [{"type": "text", "text": "hi", **CACHED}]}]
    assert b"ephemeral" in built(dialect, Request(marked, "m")).body


FAILED = of_anthropic(
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
    ("target", "word"),
    [
        (dialects.OpenAI(), '"content":"Error: 42"'),
        (dialects.OpenAIResponses(), '"output":"Error: 42"'),
        (dialects.Ollama(), '"content":"Error: 42"'),
        (dialects.Gemini(), '"response":{"error":"42"}'),
        (dialects.Anthropic(), '"is_error":true'),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_that_a_tool_failed_is_told_in_every_api(target: Dialect, word: str) -> None:
    sent = built(target, translate(FAILED, dialects.Anthropic())).body.decode()
    assert word in sent
    assert '"Error: "' in sent or "Error: 43" in sent or target.name in ("gemini", "anthropic")
    went_well = msgspec.structs.replace(FAILED, messages=[{**m, "is_error": False} for m in FAILED.messages])
    assert "rror" not in built(target, went_well).body.decode().replace('"is_error":false', "")


def test_a_tools_failure_comes_from_gemini_too() -> None:
    back = there_and_back(dialects.Gemini(), FAILED)
    assert [(m["content"], m["is_error"]) for m in back.messages[2:]] == [("42", True), ("4344", True)]
    assert b'"Error: 42"' in built(dialects.OpenAI(), translate(back, dialects.Gemini())).body


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
def test_what_only_geminis_models_say_is_refused_by_name_on_a_crossing(
    target: Dialect, part: dict[str, Any], feature: str
) -> None:
    turns = [{"parts": [{"text": "Draw."}]}, {"role": "model", "parts": [{"text": "There:"}, part]}]
    body = msgspec.json.encode({"contents": turns})
    asked = dialects.Gemini().decode_request(ServerRequest("/v1beta/models/m:generateContent", {}, body)).request
    with pytest.raises(UnsupportedError, match=feature):
        built(target, translate(asked, dialects.Gemini()))
    unsupported = Unsupported(target.name, drop=True)
    sent = target.encode_request(translate(asked, dialects.Gemini()), Endpoint("http://h"), unsupported).body
    assert [feature in loss for loss in unsupported.dropped] == [True]
    assert b"There:" in sent


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda dialect: dialect.name)
def test_a_block_that_only_anthropic_knows_is_refused_by_name_on_a_crossing(target: Dialect) -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    request = of_anthropic({"messages": [*HELLO, {"role": "assistant", "content": [block]}, *HELLO]})
    with pytest.raises(UnsupportedError, match="server_tool_use content"):
        built(target, translate(request, dialects.Anthropic()))


@crossings
def test_a_conversation_crosses(source: Dialect, target: Dialect) -> None:
    messages = [{"role": "system", "content": "Be kind."}, *HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]
    there = translate(there_and_back(source, Request(messages, "m")), source)
    there.temperature = None
    back = there_and_back(target, msgspec.structs.replace(there, max_tokens=None))
    assert said(back.messages) == said(messages)


# What is wrong.


def rich(dialect: Dialect) -> HTTPRequest:
    """A request with everything this API has."""
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
@slowly
def test_a_wrong_value_anywhere_is_answered_with_400_or_understood_by_every_dialect(
    dialect: Dialect, data: st.DataObject
) -> None:
    incoming = received(rich(dialect))
    document = msgspec.json.decode(incoming.body)
    path = data.draw(st.sampled_from(places_in(document)))
    body = msgspec.json.encode(replaced(document, path, data.draw(WRONG)))
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


ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
}
SHAPED = [(option, value) for option, value in OPTION_CASES if isinstance(value, (list, dict))]
ILL_SHAPED: list[Any] = [None, 5, "x", [], {}, True, [5], ["x"], [{}], {"x": 5}, {"type": "function"}, GONE]
ILL_SHAPED += [{"type": "function", "function": "x"}, {"type": "allowed_tools", "allowed_tools": 5}]


@pytest.mark.parametrize(
    ("option", "value"),
    [*SHAPED, ("tool_choice", ALLOWED), ("tools", [TOOL, {"type": "custom", "custom": {"name": "sh"}}])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_of_a_wrong_shape_inside_is_answered_with_400_or_understood_by_every_dialect(
    option: str, value: Any
) -> None:
    for path in places_in(value):
        for wrong in ILL_SHAPED:
            given = {"messages": HELLO, "model": "m", "tools": [TOOL]} | {option: replaced(value, path, wrong)}
            try:
                asked = dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(given))).request
            except RequestError as error:
                assert option in error.message
                continue
            for target in dialects.ALL:
                try:
                    target.encode_request(
                        translate(asked, dialects.OpenAI()),
                        Endpoint("http://h"),
                        Unsupported(target.name, drop=True),
                    )
                except UsageError as error:
                    assert option in error.message


@pytest.mark.parametrize("function", ["x", 5, None, {}, {"name": 5}, []])
def test_a_tool_choice_that_names_no_function_is_answered_with_400(function: Any) -> None:
    body = {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "function", "function": function}}
    with pytest.raises(RequestError, match="tool_choice must be"):
        dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(body)))


@every
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'"x"', b"null", b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"{}"],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_request_is_refused_with_400(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(received(built(dialect, Request(HELLO, "m"))), body=body)
    with pytest.raises(RequestError) as caught:
        dialect.decode_request(incoming)
    assert caught.value.status == 400
    assert caught.value.message


@every
@given(st.binary(max_size=60))
@slowly
def test_any_bytes_for_a_body_raise_nothing_but_our_errors(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(received(built(dialect, Request(HELLO, "m"))), body=body)
    try:
        dialect.decode_request(incoming)
    except AcytooError:
        pass


@every
@pytest.mark.parametrize("text", ["\ud83d", "a\udfffb"])
def test_half_a_character_is_told_before_anything_is_sent(dialect: Dialect, text: str) -> None:
    with pytest.raises(UsageError):
        built(dialect, Request([{"role": "user", "content": text}], "m"))
