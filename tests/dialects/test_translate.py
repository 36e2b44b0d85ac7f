"""Translation of requests between APIs: fields that only the source API has are dropped or refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError
from acytoo.http import Endpoint, ServerRequest
from acytoo.types import Request
from tests.dialects.strategies import encode, round_trip, to_server_request
from tests.dialects.test_every_request import HELLO, SCHEMA, TOOL, meaning

OTHER_APIS = [
    dialects.OpenAI(),
    dialects.OpenAIResponses(),
    dialects.Ollama(),
    dialects.Gemini(),
]


PDF_DATA = "data:application/pdf;base64,JVBERi0="

NO_OP_FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "openai": (
        {"tools": [], "stop": []},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": "none"},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"logprobs": False, "top_logprobs": 0},
        {"functions": [], "function_call": "none", "modalities": ["text"], "n": 1, "response_format": {"type": "text"}},
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


@pytest.mark.parametrize("source", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("fields", [{"logit_bias": {}}, {"functions": []}, {"mcp_servers": []}])
def test_another_apis_field_that_asks_for_the_default_is_dropped_too(source: Dialect, fields: dict[str, Any]) -> None:
    request = Request(HELLO, "m", extra={**fields, "odd": 1}, extra_for=source.name)
    # Ollama ignores fields that it does not know, so none of its clients' fields is refused.
    assert translate(request, source).extra == ({} if source.name == "ollama" else {"odd": 1})


CONVERSATION_FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "openai-responses": (
        {"input": "Hello", "previous_response_id": "resp_0"},
        {"input": "Hello", "conversation": {"id": "conv_0"}},
        {"input": "Hello", "prompt": {"id": "pmpt_0"}},
        {"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": "x"}, {"id": "msg_1"}]},
        {"input": [{"role": "user", "content": "x"}, {"type": "computer_call_output", "call_id": "c", "output": {}}]},
    ),
    "anthropic": (
        {"messages": HELLO, "max_tokens": 9, "thread": {"type": "create"}},
        {"messages": HELLO, "max_tokens": 9, "thread": {"type": "continue", "previous_message_id": "msg_1"}},
    ),
    "gemini": (
        {"contents": [{"parts": [{"text": "Hello"}]}], "cachedContent": "cachedContents/1"},
        {"contents": [{"parts": [{"text": "Hello"}]}], "cached_content": "cachedContents/1"},
    ),
}
"""Requests that refer to a part of the conversation instead of sending it."""


@pytest.mark.parametrize(
    ("source", "body"),
    [(dialects.by_name(name), body) for name, bodies in CONVERSATION_FIELDS.items() for body in bodies],
)
def test_a_reference_to_a_part_of_the_conversation_is_an_error_and_never_dropped(
    source: Dialect, body: dict[str, Any]
) -> None:
    path = "/v1beta/models/m:generateContent" if source.name == "gemini" else source.routes[0]
    request = source.decode_request(ServerRequest(path, {}, msgspec.json.encode(body))).request
    with pytest.raises(RequestError, match=r"send the|send its|which only") as caught:
        translate(request, source)
    assert caught.value.status == 400


def test_a_stored_prompt_is_not_an_item_that_could_be_sent_itself() -> None:
    source = dialects.OpenAIResponses()
    body = msgspec.json.encode({"input": "Hello", "prompt": {"id": "pmpt_0"}})
    request = source.decode_request(ServerRequest(source.routes[0], {}, body)).request
    with pytest.raises(RequestError, match=r"prompt refers to a template .* send its text as instructions"):
        translate(request, source)


def test_deprecated_functions_are_an_error_and_never_dropped() -> None:
    source = dialects.OpenAI()
    for fields in (
        {"functions": [{"name": "f", "parameters": {}}], "function_call": "auto"},
        {"messages": [*HELLO, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}]},
        {"messages": [*HELLO, {"role": "function", "name": "f", "content": "1"}]},
    ):
        body = msgspec.json.encode({"messages": HELLO, **fields})
        with pytest.raises(RequestError, match=r"deprecated.*: send tool"):
            translate(source.decode_request(ServerRequest(source.routes[0], {}, body)).request, source)


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


PAIRS = [(source, target) for source in dialects.ALL for target in dialects.ALL if source is not target]


every_pair = pytest.mark.parametrize(
    ("source", "target"), PAIRS, ids=[f"{source.name} to {target.name}" for source, target in PAIRS]
)


@every_pair
def test_an_unknown_field_is_refused_by_name_when_translating(source: Dialect, target: Dialect) -> None:
    request = translate(round_trip(source, Request(HELLO, "m", extra={"xodd": 5})), source)
    request.temperature = None
    request.max_tokens = None
    if source.name == "ollama":  # it ignores unknown fields itself
        assert b"xodd" not in encode(target, request).body
        return
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
def test_a_change_to_a_document_is_refused_by_name(target: Dialect) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    content = [{"type": "document", "source": source, "transformations": [{"type": "crop"}]}]
    request = decode_anthropic({"messages": [{"role": "user", "content": content}]})
    with pytest.raises(UnsupportedError, match="transformations"):
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


@pytest.mark.parametrize("source", dialects.ALL, ids=lambda dialect: dialect.name)
def test_no_thinking_is_no_effort_if_it_is_a_switch_of_the_source(source: Dialect) -> None:
    request = translate(Request(HELLO, "m", reasoning_effort="none", extra_for=source.name), source)
    assert request.reasoning_effort == (None if source.name in ("ollama", "gemini") else "none")


SERVER_TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
OTHERS = [dialect for dialect in dialects.ALL if dialect.name not in ("anthropic", "acytoo")]
to_others = pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)


@to_others
@pytest.mark.parametrize("more", [[], [{"name": "f", "input_schema": {"type": "object"}}]])
def test_a_tool_that_only_anthropic_runs_is_refused_by_name(target: Dialect, more: list[Any]) -> None:
    body = {"messages": HELLO, "tools": [SERVER_TOOL, *more], "tool_choice": {"type": "any"}}
    request = translate(decode_anthropic(body), dialects.Anthropic())
    request.tool_choice = None if target.name == "ollama" else request.tool_choice
    with pytest.raises(UnsupportedError, match="web_search_20250305"):
        encode(target, request)
    sent = target.encode_request(request, Endpoint("http://h"), Unsupported(target.name, drop=True)).body
    assert b"web_search" not in sent
    fields = msgspec.json.decode(sent)
    assert bool(fields.get("tools")) == bool(more)
    if target.name != "ollama":  # a choice without tools is refused
        assert bool(fields.keys() & {"tool_choice", "toolConfig"}) == bool(more)


@to_others
def test_a_document_of_text_is_text_where_there_are_no_text_files(target: Dialect) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Grüße"}
    content = [{"type": "document", "source": source, "title": "a.txt"}, {"type": "document", "source": source}]
    body = {"messages": [{"role": "user", "content": content}]}
    sent = encode(target, translate(decode_anthropic(body), dialects.Anthropic())).body.decode()
    if target.name == "gemini":
        assert sent.count('"inlineData":{"mimeType":"text/plain"') == 2
    else:
        assert "Grüße" in sent
        assert "file_id" not in sent


@pytest.mark.parametrize("target", [dialects.OpenAI(), dialects.OpenAIResponses()], ids=lambda dialect: dialect.name)
def test_a_pdf_without_a_name_gets_one_where_it_needs_one(target: Dialect) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    body = {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}
    sent = encode(target, translate(decode_anthropic(body), dialects.Anthropic())).body
    assert b'"filename":"document.pdf"' in sent


@to_others
def test_a_list_of_one_text_is_sent_as_text(target: Dialect) -> None:
    block = {"type": "text", "text": "only this", "cache_control": {"type": "ephemeral"}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [block]}
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body = {"system": [block], "messages": [{"role": "user", "content": [block]}, *turns]}
    request = translate(decode_anthropic(body), dialects.Anthropic())
    assert [message["content"] for message in request.messages if message["content"]] == ["only this"] * 3
    assert b"only this" in encode(target, request).body


def test_a_choice_of_tools_that_were_all_dropped_is_not_sent_to_anthropic() -> None:
    tools: list[Any] = [{"type": "novel"}]
    request = Request(HELLO, "m", tools=tools, tool_choice="required", parallel_tool_calls=False)
    target = dialects.Anthropic()
    sent = msgspec.json.decode(target.encode_request(request, Endpoint("http://h"), Unsupported("a", drop=True)).body)
    assert not sent.keys() & {"tools", "tool_choice"}


@pytest.mark.parametrize("target", [*OTHERS, dialects.Acytoo()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("place", ["user", "result"])
@pytest.mark.parametrize(
    "block",
    [
        {"type": "search_result", "title": "One", "source": "two", "content": [{"type": "text", "text": "three"}]},
        {
            "type": "document",
            "title": "One",
            "context": "two",
            "source": {"type": "content", "content": [{"type": "text", "text": "three"}]},
        },
        {"type": "document", "title": "One", "context": "two", "source": {"type": "content", "content": "three"}},
    ],
    ids=["search_result", "document", "document of text"],
)
def test_the_text_of_a_block_that_only_anthropic_has_is_sent_as_text(
    target: Dialect, place: str, block: dict[str, Any]
) -> None:
    if place == "result" and target.name == "acytoo":
        pytest.skip("that API has no calls")
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [block]}
    turns = {
        "user": [{"role": "user", "content": [block]}],
        "result": [*HELLO, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}],
    }
    sent = encode(target, translate(decode_anthropic({"messages": turns[place]}), dialects.Anthropic())).body.decode()
    assert "One\\ntwo" in sent
    assert "three" in sent
    assert "search_result" not in sent


@pytest.mark.parametrize("target", [*OTHERS, dialects.Acytoo()], ids=lambda dialect: dialect.name)
def test_the_summary_of_a_compacted_conversation_is_never_dropped(target: Dialect) -> None:
    blocks = [{"type": "compaction", "content": "We spoke of Paris."}, {"type": "text", "text": "Good."}]
    request = decode_anthropic({"messages": [*HELLO, {"role": "assistant", "content": blocks}, *HELLO]})
    unsupported = Unsupported(target.name, drop=True)
    translated = translate(request, dialects.Anthropic(), unsupported)
    assert b"We spoke of Paris." in target.encode_request(translated, Endpoint("http://h"), unsupported).body
    assert "compaction content" not in unsupported.dropped


def test_a_block_of_anthropic_is_sent_to_anthropic_as_it_is() -> None:
    block = {"type": "search_result", "title": "One", "source": "two", "content": [{"type": "text", "text": "three"}]}
    request = decode_anthropic({"messages": [{"role": "user", "content": [block]}]})
    sent = encode(dialects.Anthropic(), translate(request, dialects.Anthropic(), Unsupported("anthropic"))).body
    assert msgspec.json.decode(sent)["messages"][0]["content"] == [block]


@pytest.mark.parametrize("target", [dialects.OpenAI(), dialects.OpenAIResponses()], ids=lambda dialect: dialect.name)
def test_the_context_of_a_document_is_sent_as_text(target: Dialect) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    content = [{"type": "document", "source": source, "context": "A letter."}]
    request = decode_anthropic({"messages": [{"role": "user", "content": content}]})
    sent = encode(target, translate(request, dialects.Anthropic())).body
    assert b"A letter." in sent
    assert b"JVBERi0=" in sent


@pytest.mark.parametrize(
    ("target", "model", "effort", "sent"),
    [
        (dialects.Ollama(), "m", "minimal", b'"think":"low"'),
        (dialects.Ollama(), "m", "xhigh", b'"think":"high"'),
        (dialects.Ollama(), "m", "max", b'"think":"high"'),
        (dialects.Gemini(), "gemini-3-pro", "max", b'"thinkingLevel":"HIGH"'),
        (dialects.Gemini(), "gemini-2.5-pro", "max", b'"thinkingBudget":24576'),
        (dialects.Gemini(), "gemini-2.5-pro", "xhigh", b'"thinkingBudget":24576'),
    ],
)
def test_a_servers_client_gets_the_nearest_effort_that_the_backend_has(
    target: Dialect, model: str, effort: str, sent: bytes
) -> None:
    # Claude Code and Codex have such efforts in a menu; without this, every request of a session is refused.
    request = Request(HELLO, model, reasoning_effort=effort)
    unsupported = Unsupported(target.name, drop_preferences=True)
    assert sent in target.encode_request(request, Endpoint("http://h"), unsupported).body
    assert unsupported.dropped == [f"reasoning_effort={effort!r}"]
    with pytest.raises(UnsupportedError, match="reasoning_effort"):
        target.encode_request(request, Endpoint("http://h"), Unsupported(target.name))


def sent_for(fields: dict[str, Any], target: Dialect, unsupported: Unsupported | None = None) -> bytes:
    """Return the body that a backend gets for a chat completion's request with these fields."""
    source = dialects.OpenAI()
    body = msgspec.json.encode({"model": "m", "messages": HELLO, **fields})
    request = source.decode_request(ServerRequest(source.routes[0], {}, body)).request
    unsupported = unsupported or Unsupported(target.name, drop_preferences=True)
    return target.encode_request(translate(request, source, unsupported), Endpoint("http://h"), unsupported).body


OTHERS = [dialects.Anthropic(), dialects.Gemini(), dialects.OpenAIResponses(), dialects.Ollama()]

WISHES: list[dict[str, Any]] = [
    {"thinking": {"type": "disabled"}},
    {"enable_thinking": False},
    {"enable_thinking": True, "thinking_budget": 100},
    {"reasoning": {"enabled": True, "exclude": True}, "include_reasoning": True},
    {"reasoning_split": True},
    {"transforms": ["middle-out"]},
    {"prompt_mode": "reasoning"},
]
"""What clients of compatible servers send for reasoning, and for models that another server has."""


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("fields", WISHES, ids=lambda fields: next(iter(fields)))
def test_what_clients_of_compatible_servers_wish_is_left_out_and_reported(
    fields: dict[str, Any], target: Dialect
) -> None:
    unsupported = Unsupported(target.name, drop_preferences=True)
    assert sent_for(fields, target, unsupported) == sent_for({}, target)
    assert set(unsupported.dropped) == {name for name, value in fields.items()}


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "fields",
    [
        {
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": [],
            "ignore_eos": False,
            "skip_special_tokens": True,
        },
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"plugins": [], "usage": {"include": True}, "previous_response_id": ""},
    ],
    ids=["vllm", "template", "openrouter"],
)
def test_options_of_compatible_servers_that_ask_for_the_default_are_left_out(
    fields: dict[str, Any], target: Dialect
) -> None:
    assert sent_for(fields, target) == sent_for({}, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
def test_openrouters_effort_is_an_effort(target: Dialect) -> None:
    assert sent_for({"reasoning": {"effort": "low"}}, target) == sent_for({"reasoning_effort": "low"}, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "fields",
    [
        {"min_p": 0.05},
        {"web_search_options": {}},
        {"provider": {"data_collection": "deny"}},
        {"chat_template_kwargs": {"documents": ["x"]}},
        {"data_sources": [{"type": "azure_search"}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_options_of_compatible_servers_that_change_more_are_refused_by_name(
    fields: dict[str, Any], target: Dialect
) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(fields))):
        sent_for(fields, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
def test_the_name_of_an_author_is_left_out_and_reported(target: Dialect) -> None:
    # AutoGen names the author of each message of a user.
    named = {"messages": [{"role": "user", "content": "Hello", "name": "user"}]}
    unsupported = Unsupported(target.name, drop_preferences=True)
    assert sent_for(named, target, unsupported) == sent_for(
        {"messages": [{"role": "user", "content": "Hello"}]}, target
    )
    assert "the name of a message" in "".join(unsupported.dropped)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
def test_a_refusal_among_the_parts_of_a_turn_is_not_lost(target: Dialect) -> None:
    content = [{"type": "text", "text": "Half a"}, {"type": "refusal", "refusal": "No."}]
    sent = sent_for({"messages": [*HELLO, {"role": "assistant", "content": content}, *HELLO]}, target)
    assert b"Half a" in sent
    assert b"No." in sent


@pytest.mark.parametrize("target", OTHERS[:3], ids=lambda dialect: dialect.name)
def test_mistrals_name_for_a_required_call_is_understood(target: Dialect) -> None:
    fields = {"tools": [TOOL]}
    assert sent_for({**fields, "tool_choice": "any"}, target) == sent_for({**fields, "tool_choice": "required"}, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
def test_groqs_default_effort_is_no_effort(target: Dialect) -> None:
    assert sent_for({"reasoning_effort": "default"}, target) == sent_for({}, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "fields", [{"structured_outputs": {"json": SCHEMA}}, {"guided_json": SCHEMA}], ids=lambda fields: next(iter(fields))
)
def test_vllms_schemas_are_those_of_the_response_format(fields: dict[str, Any], target: Dialect) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
    assert sent_for(fields, target) == sent_for({"response_format": format_}, target)


@pytest.mark.parametrize("target", OTHERS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"regex": "a+"}},
        {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": " "}},
        {"structured_outputs": {"json": "{}"}},
        {"guided_json": SCHEMA, "response_format": {"type": "json_object"}},
        {"guided_choice": ["a", "b"]},
    ],
    ids=["regex", "more", "text", "two", "choice"],
)
def test_what_else_vllm_enforces_is_refused_by_name(fields: dict[str, Any], target: Dialect) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(fields))):
        sent_for(fields, target, Unsupported(target.name, drop_preferences=True))


@pytest.mark.parametrize("target", [dialects.Gemini(), dialects.Ollama()], ids=lambda dialect: dialect.name)
def test_mistrals_name_of_the_seed_is_understood(target: Dialect) -> None:
    assert sent_for({"random_seed": 3}, target) == sent_for({"seed": 3}, target)
    assert sent_for({"random_seed": 3, "seed": 4}, target) == sent_for({"seed": 4}, target)
    assert sent_for({"random_seed": None}, target) == sent_for({}, target)


@pytest.mark.parametrize("target", OTHERS[:3], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("document", "file"),
    [
        ({"document_url": PDF_DATA}, {"file_data": PDF_DATA}),
        ({"document_url": PDF_DATA, "document_name": "a.pdf"}, {"file_data": PDF_DATA, "filename": "a.pdf"}),
        ({"document_url": "https://h/a.pdf"}, {"file_data": "https://h/a.pdf"}),
    ],
    ids=["data", "named", "url"],
)
def test_mistrals_documents_are_files(document: dict[str, Any], file: dict[str, Any], target: Dialect) -> None:
    def sent(part: dict[str, Any]) -> bytes:
        return sent_for({"messages": [{"role": "user", "content": [part]}]}, target)

    assert sent({"type": "document_url", **document}) == sent({"type": "file", "file": file})


FILES: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "openai": (
        dialects.OpenAI(),
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    ),
    "openai-responses": (
        dialects.OpenAIResponses(),
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ),
    "anthropic": (
        dialects.Anthropic(),
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}
            ],
        },
    ),
    "gemini": (
        dialects.Gemini(),
        {"contents": [{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}}]}]},
    ),
}
"""Requests with a file that only their own service has."""


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("target", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", FILES)
def test_a_file_by_its_id_is_sent_only_to_the_service_that_has_it(name: str, target: Dialect, drop: bool) -> None:
    source, fields = FILES[name]
    path = source.routes[0].replace("{model:.+}", "m")
    body = msgspec.json.encode({"model": "m", **fields})
    request = source.decode_request(ServerRequest(path, {}, body)).request
    unsupported = Unsupported(target.name, drop=drop)
    if target.name.partition("-")[0] == name.partition("-")[0]:
        translate(request, source, unsupported)
    else:
        with pytest.raises(RequestError, match=r"a file by its id.*: send the file's data"):
            translate(request, source, unsupported)


@pytest.mark.parametrize(
    ("file", "feature"),
    [
        ({"file_data": "data:video/mp4;base64,AAAA"}, "video/mp4 files"),
        ({"file_url": "https://x/a.pdf"}, "a file's URL"),
    ],
)
def test_a_file_that_is_no_pdf_or_a_url_is_refused_by_name_for_chat_completions(
    file: dict[str, Any], feature: str
) -> None:
    messages: list[Any] = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    with pytest.raises(UnsupportedError, match=feature):
        encode(dialects.OpenAI(), Request(messages, "m", extra_for="gemini"))


PDF_URL = "https://h/a.PDF?x=1"
PDF_BY_URL: list[tuple[Dialect, dict[str, Any]]] = [
    (
        dialects.OpenAI(),  # as OpenRouter's clients send it
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": "", "file_data": PDF_URL}}]}]},
    ),
    (
        dialects.OpenAIResponses(),
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": PDF_URL}]}]},
    ),
    (
        dialects.Anthropic(),
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": PDF_URL}}]}
            ],
        },
    ),
    (
        dialects.Gemini(),
        {"contents": [{"parts": [{"fileData": {"mimeType": "application/pdf", "fileUri": PDF_URL}}]}]},
    ),
]
"""Requests with a PDF that anyone can fetch, each as its API has it."""


@pytest.mark.parametrize(
    ("target", "part"),
    [
        (dialects.OpenAIResponses(), {"type": "input_file", "file_url": PDF_URL}),
        (dialects.Anthropic(), {"type": "document", "source": {"type": "url", "url": PDF_URL}}),
        (dialects.Gemini(), {"fileData": {"mimeType": "application/pdf", "fileUri": PDF_URL}}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize(("source", "fields"), PDF_BY_URL, ids=[source.name for source, _ in PDF_BY_URL])
def test_a_pdf_by_its_url_is_sent_by_its_url(
    source: Dialect, fields: dict[str, Any], target: Dialect, part: dict[str, Any]
) -> None:
    if source.name == target.name:
        return
    path = source.routes[0].replace("{model:.+}", "m")
    request = source.decode_request(ServerRequest(path, {}, msgspec.json.encode({"model": "m", **fields}))).request
    unsupported = Unsupported(target.name, required=source.required_options)
    sent = target.encode_request(translate(request, source, unsupported), Endpoint("http://h"), unsupported)
    body = msgspec.json.decode(sent.body)
    message = (body.get("messages") or body.get("input") or body.get("contents"))[0]
    assert (message.get("content") or message.get("parts")) == [part]


@pytest.mark.parametrize("target", OTHERS[:3], ids=lambda dialect: dialect.name)
def test_an_image_by_its_url_may_be_the_data_of_a_file(target: Dialect) -> None:
    def sent(part: dict[str, Any]) -> bytes:
        return sent_for({"messages": [{"role": "user", "content": [part]}]}, target)

    url = "https://h/a.png"
    file = sent({"type": "file", "file": {"filename": "", "file_data": url}})
    assert file == sent({"type": "image_url", "image_url": {"url": url}})


@pytest.mark.parametrize("fields", [{"top_p": 1}, {"top_k": 0}, {"top_k": -1}, {"stop": []}])
def test_an_option_that_asks_for_the_default_is_left_out_for_an_api_without_it(fields: dict[str, Any]) -> None:
    assert sent_for(fields, dialects.Acytoo()) == sent_for({}, dialects.Acytoo())
