"""A turn that is sent back: complete and in order to where it came from, translated for every other API."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.openai import OpenAI
from acytoo.dialects.services import for_service, service_at, with_service
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.messages import check_messages
from acytoo.providers import azure, compatible, openai
from acytoo.types import ChatMessage, Finish, Item, Reasoning, Reply, Request, collect
from tests.dialects.strategies import VALUES

TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
USER: Any = {"role": "user", "content": "Hello"}


def message_of(dialect: Dialect, document: object, url: str = "http://h") -> ChatMessage:
    """Return the message of a reply that is one document, after it was stored as JSON."""
    message: ChatMessage = json.loads(json.dumps(collect(items_of(dialect, document, url)).message))
    return message


def body_of(dialect: Dialect, *messages: Any, url: str = "http://h", **options: Any) -> Any:
    """Return the body that a client sends for messages. Raises for whatever the API cannot express."""
    request = Request(check_messages([USER, *messages]), "m", tools=TOOLS, **options)
    request = for_service(request, dialect.name, service_at(dialect.name, url))
    return json.loads(dialect.encode_request(request, Endpoint(url), Unsupported(dialect.name)).body)


def rewritten(dialect: Dialect, items: list[Item], *, stream: bool) -> ChatMessage:
    """Return the message that a client receives whose reply a server of ours has read and written again."""
    request = Request([USER], "m", stream=stream)
    if stream:
        writer = dialect.writer(request)
        body = writer.write(items) + writer.end()
    else:
        body = dialect.write_reply(collect(items), request)
    kind = "text/event-stream" if stream else "application/json"
    reader = dialect.reader(ResponseHead(200, {"content-type": kind}))
    message: ChatMessage = collect(reader.feed(body) + reader.flush()).message
    return message


def items_of(dialect: Dialect, document: object, url: str = "http://h") -> list[Item]:
    """Return the items of a reply that is one document, as the client returns them."""
    reader = dialect.reader(ResponseHead(200, {"content-type": "application/json"}))
    items = reader.feed(msgspec.json.encode(document)) + reader.flush()
    reader.close()
    return with_service(items, dialect.name, service_at(dialect.name, url))


def results_of(message: ChatMessage) -> list[Any]:
    calls = message.get("tool_calls") or []
    return [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]


# Each API's own turns.

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
inputs = st.dictionaries(names, VALUES, max_size=2)


@st.composite
def anthropic_blocks(draw: st.DrawFn) -> list[Any]:
    blocks = draw(
        st.lists(
            st.one_of(
                st.builds(lambda text: {"type": "text", "text": text}, texts),
                st.builds(lambda text, url: {"type": "text", "text": text, "citations": [{"url": url}]}, texts, texts),
                st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "sig"}, texts),
                st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": ""}, texts),
                st.builds(lambda data: {"type": "redacted_thinking", "data": data}, names),
                st.builds(lambda input_: {"type": "tool_use", "name": "f", "input": input_}, inputs),
                st.builds(lambda input_: {"type": "server_tool_use", "name": "web_search", "input": input_}, inputs),
                st.builds(lambda title: {"type": "web_search_tool_result", "content": [{"title": title}]}, texts),
                st.builds(lambda text: {"type": "compaction", "content": text}, texts),
            ),
            min_size=1,
            max_size=7,
        )
    )
    for number, block in enumerate(blocks):
        if block["type"] == "text":
            block["text"] += "."  # the API refuses blank texts, and white space at the end of the last
        if block["type"] in ("tool_use", "server_tool_use"):
            block["id"] = f"toolu_{number}"
            if number % 2:
                block["caller"] = {"type": "direct"} if number % 3 else {"type": "code_execution", "tool_id": "s"}
    return blocks


def anthropic_events(blocks: list[Any]) -> bytes:
    """Return the stream of a message with these blocks, as Anthropic sends it."""
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "model": "m", "content": []}}]
    for index, block in enumerate(blocks):
        start, deltas = dict(block), []
        if block["type"] == "text":
            start["text"] = ""
            deltas = [{"type": "citations_delta", "citation": c} for c in start.pop("citations", [])]
            deltas += [{"type": "text_delta", "text": character} for character in block["text"]]
        elif block["type"] == "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas.append({"type": "thinking_delta", "thinking": block["thinking"]})
            if block["signature"]:
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif "input" in block:
            start["input"] = {}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:3], text[3:]) if piece]
        elif block["type"] == "compaction":
            start["content"] = ""
            deltas = [{"type": "compaction_delta", "content": block["content"]}]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "pause_turn"}}, {"type": "message_stop"}]
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events)


@given(anthropic_blocks())
def test_an_anthropic_turn_goes_back_as_it_was_received_streamed_or_not(blocks: list[Any]) -> None:
    dialect = dialects.Anthropic()
    document = {"id": "m", "model": "m", "content": blocks, "stop_reason": "pause_turn"}
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    streamed = collect(reader.feed(anthropic_events(blocks)) + reader.flush()).message
    for message in (message_of(dialect, document), streamed):
        sent = body_of(dialect, message)["messages"][1]["content"]
        assert sent == blocks or (len(blocks) == 1 and sent == blocks[0].get("text"))


@given(anthropic_blocks())
def test_an_anthropic_turn_that_a_client_sends_is_encoded_again_in_its_order(blocks: list[Any]) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": [USER, {"role": "assistant", "content": blocks}]}
    request = dialects.Anthropic().decode_request(ServerRequest("/v1/messages", {}, msgspec.json.encode(body))).request
    sent = body_of(dialects.Anthropic(), *request.messages[1:])["messages"][1:]
    # Thinking without a signature is refused, and a call is the model's own unless it has another `caller`.
    expected = [
        {
            name: value
            for name, value in block.items()
            if (name, value) != ("caller", DIRECT) or block["type"] != "tool_use"
        }
        for block in blocks
        if block.get("signature") != ""
    ]
    received = [block for turn in sent for block in blocks_of(turn["content"])]
    assert received == expected


DIRECT = {"type": "direct"}


def blocks_of(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def test_unsigned_thinking_goes_back_to_a_compatible_service_but_not_to_anthropic_itself() -> None:
    dialect = dialects.Anthropic()
    content = [{"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "text", "text": "Hi"}]
    for url, expected in (("https://api.deepseek.com/anthropic", content), ("https://api.anthropic.com", "Hi")):
        message = message_of(dialect, {"id": "m", "content": content, "stop_reason": "end_turn"}, url)
        assert body_of(dialect, message, url=url)["messages"][1]["content"] == expected


RUN = {"type": "server_tool_use", "id": "s1", "name": "code_execution", "input": {"code": "f()"}}
CALLED_BY_CODE = {
    "type": "tool_use",
    "id": "t1",
    "name": "f",
    "input": {},
    "caller": {"type": "code_execution_20250825", "tool_id": "s1"},
}
CONTAINER = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}


def in_container(*, stream: bool, reason: str = "tool_use") -> bytes:
    """Return a reply whose code waits for the result of a call."""
    message = {"id": "m", "content": [RUN, CALLED_BY_CODE], "stop_reason": reason, "container": CONTAINER}
    if not stream:
        return msgspec.json.encode(message)
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "content": []}}]
    for index, block in enumerate((RUN, CALLED_BY_CODE)):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason, "container": CONTAINER}})
    return b"".join([b"data: " + msgspec.json.encode(event) + b"\n\n" for event in [*events, {"type": "message_stop"}]])


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_results_for_code_go_to_its_container_and_to_no_other_service(stream: bool) -> None:
    # UKGovernmentBEIS/inspect_ai pull request 4603.
    dialect, url = dialects.Anthropic(), "https://api.anthropic.com"
    reader = dialect.reader(ResponseHead(200, {}))
    items = with_service(
        reader.feed(in_container(stream=stream)) + reader.flush(), "anthropic", service_at("anthropic", url)
    )
    message = collect(items).message
    body = body_of(dialect, message, *results_of(message), url=url)
    assert body["container"] == "container_1"
    assert body["messages"][1]["content"] == [RUN, CALLED_BY_CODE]
    assert body_of(dialect, message, *results_of(message), USER, url=url)["container"] == "container_1"
    assert body_of(dialect, message, url=url)["container"] == "container_1"  # of `pause_turn`
    own: Any = {"container": {"skills": []}}
    assert body_of(dialect, message, url=url, extra=own, extra_for="anthropic")["container"] == own["container"]
    assert "container" not in body_of(dialect, message, USER, url=url)
    assert "container" not in body_of(dialect, message, *results_of(message), url="http://other")
    for other in (dialects.OpenAI(), dialects.OpenAIResponses(), dialects.Gemini(), dialects.Ollama()):
        assert "container_1" not in json.dumps(body_of(other, message, *results_of(message)))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_a_client_of_ours_receives_the_container_of_a_turn(stream: bool) -> None:
    items = dialects.Anthropic().read_reply(in_container(stream=False))
    received = rewritten(dialects.Anthropic(), items, stream=stream)
    assert received == collect(items).message
    assert received["turn_parts"][-1]["fields"] == {"container": CONTAINER}


@pytest.mark.parametrize("reasoning", ["", "Hm"])
def test_deepseek_gets_thinking_in_each_turn_with_calls(reasoning: str) -> None:
    # NousResearch/hermes-agent issue 16748.
    dialect = dialects.Anthropic()
    blocks = [{"text": reasoning, "source": "openai/other"}] if reasoning else []
    turn = {**CALLING, "reasoning": blocks}
    thinking, call = body_of(dialect, turn, url="https://api.deepseek.com/anthropic")["messages"][1]["content"]
    assert thinking == {"type": "thinking", "thinking": reasoning, "signature": ""}
    for url in ("https://api.anthropic.com", "https://other"):
        assert body_of(dialect, turn, url=url)["messages"][1]["content"] == [call]
    own = {"type": "thinking", "thinking": "Mine", "signature": "s"}
    url = "https://api.deepseek.com/anthropic"
    message = message_of(dialect, {"id": "m", "content": [own, call], "stop_reason": "tool_use"}, url)
    assert body_of(dialect, message, url=url)["messages"][1]["content"] == [own, call]
    assert body_of(dialect, {"role": "assistant", "content": "Hi"}, url=url)["messages"][1]["content"] == "Hi"


@st.composite
def gemini_parts(draw: st.DrawFn) -> list[Any]:
    """Draw the parts of a turn, without neighbours that are one text or one thought."""
    signature = st.sampled_from([{}, {"thoughtSignature": "c2ln"}])
    part = st.one_of(
        st.builds(lambda text, signed: {"text": text, **signed}, texts, signature),
        st.just({"text": "", "thoughtSignature": "c2ln"}),
        st.builds(lambda text: {"text": text, "thought": True, "thoughtSignature": "c2ln"}, texts),
        st.builds(lambda args, signed: {"functionCall": {"name": "f", "args": args}, **signed}, inputs, signature),
        st.builds(lambda code: {"executableCode": {"language": "PYTHON", "code": code}}, texts),
        st.builds(
            lambda data, signed: {"inlineData": {"mimeType": "image/png", "data": data}, **signed}, names, signature
        ),
    )
    parts: list[Any] = []
    for number, drawn in enumerate(draw(st.lists(part, min_size=1, max_size=6))):
        if "functionCall" in drawn:
            drawn["functionCall"]["id"] = f"c{number}"
        if not (parts and drawn.keys() == {"text"} and parts[-1].keys() == {"text"}):
            parts.append(drawn)
    return parts


@given(gemini_parts())
def test_a_gemini_turn_goes_back_as_it_was_received(parts: list[Any]) -> None:
    dialect = dialects.Gemini()
    document = {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]}
    assert body_of(dialect, message_of(dialect, document))["contents"][1]["parts"] == parts


@given(gemini_parts())
def test_a_gemini_turn_that_a_client_sends_is_encoded_again_as_it_was(parts: list[Any]) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": parts}]}
    incoming = ServerRequest("/v1beta/models/m:generateContent", {}, msgspec.json.encode(body))
    request = dialects.Gemini().decode_request(incoming).request
    assert body_of(dialects.Gemini(), *request.messages[1:])["contents"][1]["parts"] == parts


@st.composite
def responses_items(draw: st.DrawFn) -> list[Any]:
    """Draw the items of a response, without the fields that a request does not need."""

    def message(text: str, fields: Any) -> Any:
        part = {"type": "output_text", "text": text, "annotations": []}
        return {"type": "message", "role": "assistant", "content": [part], **fields}

    def reasoning(texts: list[str]) -> Any:
        summary = [{"type": "summary_text", "text": text} for text in texts]
        return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "AAA"}

    items = draw(
        st.lists(
            st.one_of(
                st.builds(message, texts, st.sampled_from([{}, {"phase": "commentary"}])),
                st.builds(reasoning, st.lists(texts, max_size=2)),
                st.builds(lambda arguments: {"type": "function_call", "name": "f", "arguments": arguments}, names),
                st.builds(lambda query: {"type": "web_search_call", "id": "ws_1", "action": {"query": query}}, texts),
            ),
            min_size=1,
            max_size=6,
        )
    )
    for number, item in enumerate(items):
        if item["type"] == "function_call":
            item["call_id"] = f"call_{number}"
        elif "id" in item:
            item["id"] = f"own_{number}"
    return items


@given(responses_items())
def test_a_turn_of_the_responses_api_goes_back_as_it_was_received_streamed_or_not(items: list[Any]) -> None:
    dialect = dialects.OpenAIResponses()
    received = [{"id": f"item_{n}", "status": "completed", **item} for n, item in enumerate(items)]
    for item in received:
        if item["type"] == "reasoning":
            del item["status"]
    response = {"id": "r", "status": "completed", "output": received}
    events: list[Any] = [
        {"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(received)
    ]
    events.append({"type": "response.completed", "response": response})
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    data = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events)
    streamed = collect(reader.feed(data) + reader.flush()).message
    expected = [{"status": "completed", **i} if i["type"] == "web_search_call" else i for i in items]
    for message in (message_of(dialect, response), streamed):
        assert body_of(dialect, message)["input"][1:] == expected


@given(responses_items(), st.booleans())
def test_a_client_of_ours_receives_a_turn_of_the_responses_api_as_it_is(items: list[Any], stream: bool) -> None:
    dialect = dialects.OpenAIResponses()
    received = [{"id": f"item_{n}", "status": "completed", **item} for n, item in enumerate(items)]
    response = {"id": "r", "status": "completed", "output": received}
    message = rewritten(dialect, items_of(dialect, response), stream=stream)
    assert body_of(dialect, message)["input"] == body_of(dialect, message_of(dialect, response))["input"]


@given(anthropic_blocks(), st.booleans())
def test_a_client_of_ours_receives_an_anthropic_turn_as_it_is(blocks: list[Any], stream: bool) -> None:
    dialect = dialects.Anthropic()
    document = {"id": "m", "model": "m", "content": blocks, "stop_reason": "pause_turn"}
    message = rewritten(dialect, items_of(dialect, document), stream=stream)
    assert body_of(dialect, message)["messages"] == body_of(dialect, message_of(dialect, document))["messages"]


@given(gemini_parts())
def test_a_client_of_ours_receives_a_gemini_turn_as_it_is(parts: list[Any]) -> None:
    """Only of a document: in a stream, the signature of a text is in a part of its own, as Google sends it too."""
    dialect = dialects.Gemini()
    document = {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]}
    message = rewritten(dialect, items_of(dialect, document), stream=False)
    assert body_of(dialect, message)["contents"] == body_of(dialect, message_of(dialect, document))["contents"]


def test_what_a_server_of_ours_has_sealed_goes_back_to_it_sealed() -> None:
    signed = [Reasoning("Hm"), Reasoning("", signature="sig", source="anthropic/a.example"), Finish()]
    dialect = dialects.OpenAIResponses()
    [item] = json.loads(dialect.write_reply(collect(signed), Request([USER], "m")))["output"]
    message = message_of(dialect, {"id": "r", "status": "completed", "output": [item]})
    sent = body_of(dialect, message)["input"][1]
    assert {**sent, "status": "completed"} == item
    incoming = ServerRequest("/v1/responses", {}, msgspec.json.encode({"model": "m", "input": [sent]}))
    [opened] = dialect.decode_request(incoming).request.messages
    for host, is_own in (("a.example", True), ("b.example", False)):
        body = body_of(dialects.Anthropic(), opened, url=f"https://{host}")
        assert ("sig" in json.dumps(body)) == is_own


CHOICES: list[Any] = [
    {
        "content": "One",
        "reasoning": "a",
        "reasoning_details": [{"type": "reasoning.text", "text": "a", "signature": "sig", "index": 0}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
            {
                "id": "call_2",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"other": 1},
            },
        ],
    },
    {"content": "One", "reasoning_content": "a"},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, {"type": "text", "text": "One"}]},
    {"content": None, "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}], "refusal": "No."},
    # GitHub Copilot: anomalyco/opencode pull request 8900.
    {"content": "One", "reasoning_text": "a", "reasoning_opaque": "x"},
    # OpenRouter's image models: agentjido/req_llm#933.
    {"content": "One", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
    # LiteLLM: BerriAI/litellm issue 8961.
    {
        "content": "One",
        "reasoning_content": "a",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "a", "signature": "sig"},
            {"type": "redacted_thinking", "data": "x"},
        ],
    },
]
"""Messages of OpenRouter, DeepSeek, Mistral, GitHub Copilot and LiteLLM."""


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize(
    "message", CHOICES, ids=["openrouter", "deepseek", "mistral", "encrypted", "copilot", "images", "litellm"]
)
def test_a_client_of_ours_receives_what_a_compatible_service_has_of_its_own(message: Any, stream: bool) -> None:
    dialect = OpenAI()
    document = {"choices": [{"message": message, "finish_reason": "stop"}]}
    body = dialect.write_reply(collect(items_of(dialect, document)), Request([USER], "m"))
    assert json.loads(body)["choices"][0]["message"].items() >= message.items()
    received = rewritten(dialect, items_of(dialect, document), stream=stream)
    assert collect(items_of(dialect, document)).reasoning == received.get("reasoning", [])
    assert body_of(dialect, received)["messages"] == body_of(dialect, message_of(dialect, document))["messages"]


def test_a_servers_client_may_send_back_what_a_compatible_service_has_of_its_own() -> None:
    own = {name: CHOICES[0][name] for name in ("reasoning_details", "annotations")}
    body = {"model": "m", "messages": [USER, {"role": "assistant", "content": "One", **own}]}
    incoming = ServerRequest("/v1/chat/completions", {}, msgspec.json.encode(body))
    request = OpenAI().decode_request(incoming).request
    assert body_of(OpenAI(), *request.messages[1:])["messages"] == body["messages"]
    assert body_of(dialect_of("Mistral"), *request.messages[1:])["messages"][1] == {
        "role": "assistant",
        "content": "One",
    }


def test_items_of_tools_without_their_reasoning_are_left_out() -> None:
    dialect = dialects.OpenAIResponses()
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
    ]
    message = message_of(dialect, {"id": "r", "status": "completed", "output": output})
    assert body_of(dialect, message)["input"][1:] == output[2:]


def test_a_servers_client_keeps_the_order_of_thoughts_and_calls_too() -> None:
    content = [
        {"type": "thinking", "thinking": "a", "signature": "sig"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        {"type": "thinking", "thinking": "b", "signature": "sig"},
        {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
    ]
    body = {"model": "m", "messages": [USER, {"role": "assistant", "content": content}]}
    incoming = ServerRequest("/v1/messages", {}, msgspec.json.encode(body))
    request = dialects.Anthropic().decode_request(incoming).request
    sent = body_of(dialects.Anthropic(), *request.messages[1:])["messages"]
    assert sent[1]["content"] == content


def test_a_servers_client_keeps_the_order_of_reasoning_items_and_calls_too() -> None:
    items: list[Any] = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAA"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "BBB"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    ]
    body = {"model": "m", "input": [USER, *items]}
    incoming = ServerRequest("/v1/responses", {}, msgspec.json.encode(body))
    request = dialects.OpenAIResponses().decode_request(incoming).request
    assert body_of(dialects.OpenAIResponses(), *request.messages[1:])["input"][1:] == items


# To every other service.

SENDERS: list[tuple[Dialect, Any]] = [
    (
        dialects.Anthropic(),
        {
            "id": "m",
            "content": [
                {"type": "thinking", "thinking": "a", "signature": "sig"},
                {"type": "text", "text": "One"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "thinking", "thinking": "b", "signature": "sig"},
                {"type": "text", "text": "Two", "citations": [{"url": "u"}]},
                {"type": "tool_use", "id": "toolu_01A", "name": "f", "input": {"x": 1}, "caller": {"type": "direct"}},
            ],
            "stop_reason": "tool_use",
        },
    ),
    (
        dialects.Gemini(),
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "a", "thought": True},
                            {"text": "One", "thoughtSignature": "c2ln"},
                            {"executableCode": {"code": "1"}},
                            {"text": "Two"},
                            {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                        ]
                    },
                    "finishReason": "STOP",
                }
            ]
        },
    ),
    (
        dialects.OpenAIResponses(),
        {
            "id": "r",
            "status": "completed",
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAA"},
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "phase": "commentary",
                    "content": [{"type": "output_text", "text": "OneTwo", "annotations": []}],
                },
                {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
            ],
        },
    ),
    (
        compatible.OpenRouter.dialect or OpenAI(),
        {
            "choices": [
                {
                    "message": {
                        "content": "OneTwo",
                        "reasoning": "a",
                        "reasoning_details": [{"type": "reasoning.encrypted", "data": "secret"}],
                        "tool_calls": [
                            {
                                "id": "call_1",
                                "type": "function",
                                "function": {"name": "f", "arguments": '{"x":1}'},
                                "extra_content": {"google": {"thought_signature": "c2ln"}},
                            }
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ]
        },
    ),
]
FOREIGN = (
    "turn_parts",
    "sig",
    "srvtoolu",
    "citations",
    "caller",
    "c2ln",
    "executableCode",
    "AAA",
    "ws_1",
    "commentary",
    "secret",
    "reasoning_details",
    "extra_content",
)
"""What no service but the one that sent it knows."""

RECEIVERS: list[Dialect] = [dialect for dialect in dialects.ALL if dialect.name != "acytoo"]
"""Every API that has tools, and every compatible service."""
RECEIVERS += [
    provider.dialect
    for module in (compatible, openai, azure)
    for provider in vars(module).values()
    if isinstance(provider, type) and issubclass(provider, AsyncGeneratorProvider) and provider.dialect is not None
]


@pytest.mark.parametrize("sender", SENDERS, ids=lambda pair: pair[0].name)
def test_a_turn_is_sent_to_every_other_service_without_what_only_its_own_knows(sender: tuple[Dialect, Any]) -> None:
    source, document = sender
    message = message_of(source, document)
    for target in RECEIVERS:
        body = json.dumps(body_of(target, message, *results_of(message), url="https://other.example"))
        assert "One" in body
        assert "Two" in body
        kept = {"c2ln"} if target.name in ("gemini", "openai-responses") else set()
        assert not [mark for mark in FOREIGN if mark in body and mark not in kept], target.name


@pytest.mark.parametrize("sender", SENDERS, ids=lambda pair: pair[0].name)
def test_a_turn_is_its_text_for_the_acytoo_protocol(sender: tuple[Dialect, Any]) -> None:
    unsupported = Unsupported("acytoo", drop=True)
    request = Request([message_of(*sender)], "m")
    body = json.loads(dialects.Acytoo().encode_request(request, Endpoint("http://h"), unsupported).body)
    assert body["messages"] == [{"role": "assistant", "content": "OneTwo"}]


@pytest.mark.parametrize("sender", SENDERS, ids=lambda pair: pair[0].name)
def test_an_edited_turn_is_sent_as_it_is_now(sender: tuple[Dialect, Any]) -> None:
    source, document = sender
    message: Any = message_of(source, document)
    message["content"] = "Edited"
    body = json.dumps(body_of(source, message, *results_of(message)))
    assert "Edited" in body
    assert "One" not in body


# What OpenAI-compatible services differ in.

CALL: Any = {"id": "toolu_01ABCDEFGHIJ", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING: Any = {"role": "assistant", "content": None, "tool_calls": [CALL]}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def dialect_of(name: str) -> OpenAI:
    provider = getattr(compatible, name, None) or getattr(openai, name)
    assert isinstance(provider.dialect, OpenAI)
    return provider.dialect


def test_mistral_gets_ids_of_nine_letters_and_digits_the_same_for_a_call_and_its_result() -> None:
    sent = body_of(dialect_of("Mistral"), CALLING, *results_of(CALLING))["messages"]
    call_id = sent[1]["tool_calls"][0]["id"]
    assert len(call_id) == 9
    assert call_id.isalnum()
    assert sent[2]["tool_call_id"] == call_id
    own: Any = {**CALLING, "tool_calls": [{**CALL, "id": "D681PevKs"}]}
    assert body_of(dialect_of("Mistral"), own)["messages"][1]["tool_calls"][0]["id"] == "D681PevKs"


@pytest.mark.parametrize("name", ["DeepSeek", "Moonshot"])
def test_a_call_of_another_model_has_reasoning_content_where_it_is_required(name: str) -> None:
    assert body_of(dialect_of(name), CALLING)["messages"][1]["reasoning_content"] == ""


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_in_the_field_in_which_a_server_sent_it(field: str) -> None:
    document = {"choices": [{"message": {"content": "Hi", field: "Hm"}, "finish_reason": "stop"}]}
    message = message_of(dialect_of("Compatible"), document)
    assert body_of(dialect_of("Compatible"), message)["messages"][1] == {
        "role": "assistant",
        "content": "Hi",
        field: "Hm",
    }
    sent = body_of(dialect_of("Compatible"), message, url="http://other")["messages"][1]
    assert sent == {"role": "assistant", "content": "Hi"}


def test_mistrals_thinking_goes_back_as_a_part_of_the_content() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "Hi"},
    ]
    document = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    message = message_of(dialect_of("Mistral"), document)
    assert body_of(dialect_of("Mistral"), message)["messages"][1]["content"] == content


def test_openrouters_pieces_of_one_reasoning_block_are_joined() -> None:
    dialect = dialect_of("OpenRouter")
    details = [
        [{"type": "reasoning.text", "text": "Lo", "format": "anthropic-claude-v1", "index": 0}],
        [{"type": "reasoning.text", "text": "ok.", "format": "anthropic-claude-v1", "index": 0}],
        [{"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}],
        [{"type": "reasoning.encrypted", "data": "x", "index": 1}],
    ]
    chunks: list[Any] = [{"choices": [{"delta": {"content": "", "reasoning_details": d}}]} for d in details]
    chunks += [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]}]
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    data = b"".join(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
    reply = collect(reader.feed(data) + reader.flush())
    assert reply.reasoning == [{"text": "Look."}]
    assert body_of(dialect, reply.message)["messages"][1] == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "Look.",
                "signature": "sig",
                "format": "anthropic-claude-v1",
                "index": 0,
            },
            {"type": "reasoning.encrypted", "data": "x", "index": 1},
        ],
    }


def read_deltas(*deltas: Any) -> Reply:
    chunks: list[Any] = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    reader = OpenAI().reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    data = b"".join(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
    return collect(reader.feed(data) + reader.flush())


def test_litellms_pieces_of_thinking_blocks_are_joined() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Lo", "signature": None},
        {"type": "thinking", "thinking": "ok.", "signature": None},
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "thinking", "thinking": "Two.", "signature": "sig2"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    reply = read_deltas(*[{"content": "", "thinking_blocks": [block]} for block in blocks], {"content": "Hi"})
    assert reply.reasoning == [{"text": "Look.Two."}]
    assert body_of(OpenAI(), reply.message)["messages"][1] == {
        "role": "assistant",
        "content": "Hi",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Look.", "signature": "sig"},
            {"type": "thinking", "thinking": "Two.", "signature": "sig2"},
            {"type": "redacted_thinking", "data": "x"},
        ],
    }


def test_copilots_opaque_reasoning_goes_back_with_the_calls_it_arrived_with() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    reply = read_deltas({"content": None, "reasoning_text": "a"}, {"tool_calls": [call], "reasoning_opaque": "x"})
    sent = body_of(OpenAI(), reply.message)["messages"][1]
    assert (sent["reasoning_text"], sent["reasoning_opaque"], len(sent["tool_calls"])) == ("a", "x", 1)


def test_a_spoken_turn_goes_back_as_its_id() -> None:
    audio = {"id": "audio_1", "transcript": "Hi", "data": "AAAA", "expires_at": 5}
    document = {"choices": [{"message": {"content": None, "audio": audio}, "finish_reason": "stop"}]}
    message = message_of(OpenAI(), document)
    assert body_of(OpenAI(), message)["messages"][1] == {
        "role": "assistant",
        "content": "Hi",
        "audio": {"id": "audio_1"},
    }
    assert body_of(dialects.Anthropic(), message)["messages"][1]["content"] == "Hi"


@pytest.mark.parametrize(
    "own",
    [
        {"extra_content": {"google": {"thought_signature": "c2ln"}}},
        {"provider_specific_fields": {"thought_signature": "c2ln"}},
        {"extra_content": {"vertex": {"thought_signature": "c2ln"}}},
        {"thought_signature": "c2ln"},
        {"thoughtSignature": "c2ln"},
    ],
)
def test_googles_signature_of_a_call_reaches_google_under_every_name(own: Any) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **own}
    message = read_deltas({"tool_calls": [call]}).message
    assert body_of(dialects.Gemini(), message)["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"
    sent = body_of(OpenAI(), message)["messages"][1]["tool_calls"][0]
    assert sent == {name: value for name, value in call.items() if name != "index"}


def test_a_signature_of_a_call_goes_only_to_google_and_to_where_it_came_from() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    google = "https://generativelanguage.googleapis.com/v1beta/openai"
    stored: Any = {**CALLING, "tool_calls": [signed]}
    assert body_of(OpenAI(), stored, url=google)["messages"][1]["tool_calls"] == [signed]
    assert body_of(OpenAI(), stored)["messages"][1]["tool_calls"] == [CALL]
    document = {"choices": [{"message": {"content": None, "tool_calls": [signed]}, "finish_reason": "tool_calls"}]}
    received = message_of(OpenAI(), document)
    assert body_of(OpenAI(), received)["messages"][1]["tool_calls"] == [signed]
    assert body_of(OpenAI(), received, url="http://other")["messages"][1]["tool_calls"] == [CALL]


@pytest.mark.parametrize(("name", "role"), [("OpenAI", "developer"), ("DeepSeek", "system"), ("Compatible", "system")])
def test_a_developer_is_the_system_for_services_without_that_role(name: str, role: str) -> None:
    developer: Any = {"role": "developer", "content": "Be kind."}
    assert body_of(dialect_of(name), developer)["messages"][1]["role"] == role


def test_several_system_messages_are_one_at_the_start_for_local_chat_templates() -> None:
    system: Any = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}]
    assert body_of(dialect_of("VLLM"), *system)["messages"] == [{"role": "system", "content": "A\n\nB"}, USER]
    assert len(body_of(dialect_of("OpenAI"), *system)["messages"]) == 3


def test_neighbours_of_one_role_are_one_message_for_perplexity() -> None:
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "you?"}]},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "B"},
    ]
    assert body_of(dialect_of("Perplexity"), *messages)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "you?"}]},
        {"role": "assistant", "content": "A\n\nB"},
    ]


def test_an_image_in_a_tools_result_is_in_a_user_message_after_all_results() -> None:
    calls: Any = {**CALLING, "tool_calls": [{**CALL, "id": "a"}, {**CALL, "id": "b"}]}
    first: Any = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}, IMAGE]}
    second: Any = {"role": "tool", "tool_call_id": "b", "content": "y"}
    sent = body_of(dialect_of("OpenAI"), calls, first, second, USER)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert sent[2]["content"] == "x"
    assert sent[4]["content"] == [{"type": "text", "text": "The result of the call a:"}, IMAGE]
    assert body_of(dialect_of("Mistral"), calls, first)["messages"][2]["content"] == first["content"]


@pytest.mark.parametrize(
    ("name", "option"), [("OpenAI", "top_k"), ("Mistral", "user"), ("Mistral", "top_k"), ("Groq", "logprobs")]
)
def test_an_option_that_a_service_refuses_is_refused_by_name(name: str, option: str) -> None:
    value: Any = {"top_k": 5, "user": "me", "logprobs": True}[option]
    unsupported = Unsupported("openai", drop=True)
    request = Request([USER], "m", **{option: value})
    body = json.loads(dialect_of(name).encode_request(request, Endpoint("http://h"), unsupported).body)
    assert unsupported.dropped == [option]
    assert option not in body


def test_mistral_calls_the_seed_random_seed() -> None:
    body = body_of(dialect_of("Mistral"), seed=0)
    assert body["random_seed"] == 0
    assert "seed" not in body


def test_a_strict_service_gets_no_field_that_it_does_not_know() -> None:
    refused: Any = {"role": "assistant", "content": None, "refusal": "No.", "annotations": [], "audio": None}
    assert body_of(dialect_of("Mistral"), refused)["messages"][1] == {"role": "assistant", "content": "No."}


def test_contents_of_one_role_are_one_content_for_gemini() -> None:
    messages: Any = [USER, {"role": "assistant", "content": "A"}, CALLING, *results_of(CALLING)]
    contents = body_of(dialects.Gemini(), *messages)["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert len(contents[1]["parts"]) == 2


LISTED: Any = {
    "role": "assistant",
    "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}],
    "tool_calls": [CALL],
    "turn_parts": [
        {"type": "content", "index": 0},
        {"type": "tool_call", "index": 0},
        {"type": "content", "index": 1},
    ],
}


def sent_in_order(dialect: Dialect, message: Any) -> list[str]:
    """Return the texts and calls of a turn in the order in which they are sent, to an API that has an order."""
    body = body_of(dialect, message)
    turn = (body.get("messages") or body.get("contents") or body["input"])[1:]
    parts = [part for one in turn for part in one.get("content") or one.get("parts") or [one]]
    return [part.get("text", "call") for part in parts]


@pytest.mark.parametrize("dialect", [dialects.Anthropic(), dialects.Gemini(), dialects.OpenAIResponses()])
def test_a_content_that_is_a_list_is_sent_at_its_places_unless_it_was_edited(dialect: Dialect) -> None:
    assert sent_in_order(dialect, LISTED) == ["One", "call", "Two"]
    three = [*LISTED["content"], {"type": "text", "text": "Three"}]
    plain = ["OneTwoThree", "call"] if dialect.name == "gemini" else ["One", "Two", "Three", "call"]
    assert sent_in_order(dialect, {**LISTED, "content": three}) == plain
    assert sent_in_order(dialect, {**LISTED, "content": "One"}) == ["One", "call"]
