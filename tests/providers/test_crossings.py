"""Every pair of dialects: our server between a client of one API and an endpoint of another."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import aiohttp
import msgspec
import openai
import pytest

from acytoo import Acytoo, AcytooError, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect, Endpoint, ServerRequest, Unsupported
from acytoo.dialects.openai import Variations
from acytoo.errors import (
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TruncatedError,
    UnsupportedError,
)
from acytoo.testing import ScriptedResponse, reply, status
from acytoo.testing.fakes.requests import ReceivedRequest
from acytoo.testing.script.responses import BodyContent
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Reply, Request, Start, ToolCall, Usage, collect
from tests.server.live_server import LiveServer, backend, live_server

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

PAIRS = [(into, out) for into in dialects.ALL for out in dialects.ALL]
CROSSING = [(into, out) for into, out in PAIRS if into is not out]
PASSED_ON = [dialect for dialect in dialects.ALL if dialect.can_pass_through]


def crossings(pairs: list[tuple[Dialect, Dialect]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("into", "out"), pairs, ids=[f"{into.name} to {out.name}" for into, out in pairs])


EVERY = crossings(PAIRS)
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


def client_of(dialect: Dialect, url: str, **settings: Any) -> AsyncGeneratorProvider:
    """Return one of our own providers as a client of our server."""
    return backend(dialect, url + ("/v1" if dialect.name.startswith("openai") else ""), **settings)


async def items_of(provider: AsyncGeneratorProvider, request: Request) -> list[Item]:
    """Return every item of a reply."""
    items: list[Item] = []
    async with aclosing(provider.answer(request)) as batches:
        async for batch in batches:
            items += batch
    return items


def between(into: Dialect, out: Dialect, *answers: ScriptedResponse) -> AbstractAsyncContextManager[LiveServer]:
    """Run the server between a client of one API and an endpoint of the other."""
    return live_server(*answers, dialect=out)


async def crossed(into: Dialect, out: Dialect, answer: ScriptedResponse, stream: bool = True, **options: Any) -> Reply:
    """Return the reply that a client of one API receives from an endpoint of the other."""
    async with between(into, out, answer) as server:
        asked = Request(HELLO, "m-1", stream=stream, **options)
        return collect(await items_of(client_of(into, server.url), asked))


# Content.


@EVERY
@STREAM
async def test_text_arrives_unchanged(into: Dialect, out: Dialect, stream: bool) -> None:
    texts = ["Hé", "llo 世界", " 👩‍👩‍👧\n\n", '"q"\\\u2028', " end"]
    answer = reply(Start("id-1", "m-1", 7), *texts, Usage(9, 5), Finish("stop"))
    found = await crossed(into, out, answer, stream)
    assert found.text == "".join(texts)
    assert found.finish_reason in ("stop", None)


@EVERY
@STREAM
async def test_reasoning_calls_usage_and_finish_arrive_if_both_apis_have_them(
    into: Dialect, out: Dialect, stream: bool
) -> None:
    answer = reply(
        Start("id-1", "m-1", 7),
        Reasoning("Let me "),
        Reasoning("see."),
        "It is",
        " so.",
        ToolCall(0, "call_a", "weather"),
        ToolCall(0, arguments='{"city":'),
        ToolCall(0, arguments='"Rome"}'),
        ToolCall(1, "call_b", "weather", '{"city":"Pécs"}'),
        Usage(21, 12, 5, 2, 4),
        Finish("tool_calls"),
    )
    found = await crossed(into, out, answer, stream, **({"tools": [TOOL]} if calls(into, out) else {}))
    assert found.text == "It is so."
    if "reasoning" in both(into, out):
        assert "".join(block.get("text", "") for block in found.reasoning) == "Let me see."
    if calls(into, out):
        said = [
            (c["id"], c["function"]["name"], msgspec.json.decode(c["function"]["arguments"])) for c in found.tool_calls
        ]
        assert said == [("call_a", "weather", {"city": "Rome"}), ("call_b", "weather", {"city": "Pécs"})]
        assert found.finish_reason == "tool_calls"
    for field in into.capabilities.usage & out.capabilities.usage:
        assert getattr(found.usage, field) == getattr(Usage(21, 12, 5, 2, 4), field)


@EVERY
@STREAM
@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_the_finish_reason_arrives_if_both_apis_have_it(
    into: Dialect, out: Dialect, stream: bool, reason: str
) -> None:
    found = await crossed(into, out, reply("It is", Usage(9, 2), Finish(reason)), stream)
    assert found.text == "It is"
    if into.capabilities.finish and out.capabilities.finish:
        assert found.finish_reason == reason


@crossings([(a, b) for a, b in PAIRS if {"logprobs"} <= a.capabilities.items & b.capabilities.items])
@STREAM
async def test_log_probabilities_arrive(into: Dialect, out: Dialect, stream: bool) -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    found = await crossed(into, out, reply("Hi", Logprobs([token]), Finish("stop")), stream, logprobs=True)
    assert [(one["token"], one["logprob"]) for one in found.logprobs] == [("Hi", -0.5)]


@crossings([(into, out) for into, out in PAIRS if out.name != "acytoo"])
@STREAM
async def test_a_refusal_is_never_lost(into: Dialect, out: Dialect, stream: bool) -> None:
    found = await crossed(into, out, reply(Refusal("I will "), Refusal("not."), Usage(9, 2), Finish("stop")), stream)
    assert (found.refusal or found.text) == "I will not."


def both(into: Dialect, out: Dialect) -> frozenset[str]:
    return into.capabilities.items & out.capabilities.items


def calls(into: Dialect, out: Dialect) -> bool:
    return "tool_calls" in both(into, out)


# What is asked.


HISTORY: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The weather in Rome?"},
    {
        "role": "assistant",
        "content": "I will look.",
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
    {"role": "user", "content": "Thanks. And Pécs?"},
]


async def test_a_stream_of_cumulative_texts_is_translated_into_increments() -> None:
    pieces = ["Once ", "Once upon ", "Once upon a ", "Once upon a time."]
    growing = dialects.OpenAI(Variations(cumulative_texts=True))
    async with live_server(reply(*pieces, Finish("stop")), dialect=growing) as server:
        client = client_of(dialects.by_name("openai"), server.url)
        assert collect(await items_of(client, Request(HELLO, "m-1"))).text == pieces[-1]


CUSTOM = {"type": "custom", "custom": {"name": "sh"}}


@pytest.mark.parametrize(
    "out",
    [dialect for dialect in dialects.ALL if dialect.name not in ("acytoo", "openai")],
    ids=lambda dialect: dialect.name,
)
@STREAM
async def test_a_custom_tool_of_a_chat_client_is_called_as_one_by_a_backend_of_any_api(
    out: Dialect, stream: bool
) -> None:
    # Read without our own reader, to which a call of a function is the same. The official SDK's types of a stream have
    # no custom calls, but keep them.
    answer = reply(ToolCall(0, "call_1", "sh", '{"input":"ls \\"é\\""}'), Finish("tool_calls"))
    async with live_server(answer, dialect=out) as server:
        asked: Any = {"model": "m-1", "messages": HELLO, "tools": [CUSTOM], "stream": stream}
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="k", max_retries=0) as client:
            received: Any = await client.chat.completions.create(**asked)
            if stream:
                deltas = [chunk.choices[0].delta async for chunk in received if chunk.choices]
                first, *pieces = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
                text = first.custom["input"] + "".join([piece.custom["input"] for piece in pieces])
                call = (first.type, first.custom["name"], text)
            else:
                (found,) = received.choices[0].message.tool_calls
                call = (found.type, found.custom.name, found.custom.input)
        assert call == ("custom", "sh", 'ls "é"')
        assert b"sh" in server.fake.requests[0].body


@EVERY
async def test_history_with_calls_and_results_arrives_or_is_refused_by_name(into: Dialect, out: Dialect) -> None:
    async with live_server(reply("Fine."), dialect=out) as server:
        client = client_of(into, server.url)
        if not calls(into, out):
            with pytest.raises((UnsupportedError, RequestError), match=r"tool calls|tools"):
                await client.reply(HISTORY, tools=None if into.name == "acytoo" else [TOOL])
            return
        await client.reply(HISTORY, tools=[TOOL], temperature=0.25, max_tokens=50)
        got = asked_of(out, server.fake.requests[0])
    assert [message["role"] for message in got.messages] == ["system", "user", "assistant", "tool", "user"]
    assert [message.get("content") for message in got.messages] == [message["content"] for message in HISTORY]
    (call,) = got.messages[2]["tool_calls"]
    assert (call["id"], msgspec.json.decode(call["function"]["arguments"])) == ("call_a", {"city": "Rome"})
    assert got.messages[3]["tool_call_id"] == "call_a"
    assert got.tools is not None
    assert got.tools[0]["function"]["parameters"] == TOOL["function"]["parameters"]  # type: ignore[index]
    assert (got.temperature, got.max_tokens, got.model) == (0.25, 50, "m-1")


def asked_of(dialect: Dialect, received: ReceivedRequest) -> Request:
    return dialect.decode_request(ServerRequest(received.path, received.headers, received.body, received.query)).request


# What goes wrong.


@EVERY
@STREAM
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, RequestError),
        (401, AuthenticationError),
        (404, NotFoundError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_the_status_message_and_waiting_time_survive(
    into: Dialect, out: Dialect, stream: bool, code: int, kind: type[StatusError]
) -> None:
    with pytest.raises(kind, match="in its own words") as raised:
        await crossed(into, out, status(code, "in its own words", retry_after=7 if code == 429 else None), stream)
    assert type(raised.value) is kind
    assert raised.value.status == code
    assert raised.value.retry_after == (7 if code == 429 else None)


LONG: list[Item] = [Start("id-1", "m-1", 7), *[f"wörd {n} " for n in range(12)], Usage(9, 12), Finish("stop")]
TEXT = "".join(item for item in LONG if isinstance(item, str))


def cuts(out: Dialect) -> list[ScriptedResponse]:
    """Return the reply truncated at many places, in every way that a client can detect."""
    whole = reply(*LONG)
    found = [whole.reset(after_bytes=place) for place in range(1, 1500, 97)]
    found += [whole.reset(after=after) for after in range(len(LONG) + 1)]
    found += [whole.close(after=3), whole.fail(after=3), whole.fail(after=0)]
    if out.name != "acytoo":
        found += [whole.end(after_bytes=place) for place in range(1, 1500, 97)]
        found += [whole.end(after=after) for after in range(len(LONG))]
        found.append(whole.without_end())
    return found


@EVERY
async def test_a_truncated_stream_never_passes_for_a_complete_one(into: Dialect, out: Dialect) -> None:
    answers = cuts(out)
    async with between(into, out, *answers) as server:
        client = client_of(into, server.url)
        for _ in answers:
            seen: list[str] = []
            try:
                async for text in client.create_async_generator("m-1", HELLO):
                    seen.append(text)  # noqa: PERF401 - what came before the error counts
            except AcytooError as error:
                assert isinstance(error, (TruncatedError, ServerError))
                assert TEXT.startswith("".join(seen))
                assert error.text == "".join(seen)
            else:
                assert "".join(seen) == TEXT
    assert len(server.fake.requests) == len(answers)


@EVERY
async def test_a_truncated_document_never_passes_for_a_complete_one(into: Dialect, out: Dialect) -> None:
    answers = [reply(*LONG).close(after_bytes=place) for place in (1, 30, 60)]
    async with between(into, out, *answers) as server:
        client = client_of(into, server.url)
        for _ in answers:
            with pytest.raises((TruncatedError, ServerError)):
                await items_of(client, Request(HELLO, "m-1", stream=False))


# What nobody knows.


UNKNOWN = {
    "openai": b'data: {"choices":[],"novelty":{"x":1}}\n\n',
    "openai-responses": b'event: response.novelty\ndata: {"type":"response.novelty","sequence_number":0}\n\n',
    "anthropic": b'event: novelty\ndata: {"type":"novelty"}\n\n',
    "ollama": b'{"novelty": 1}\n',
    "gemini": b'data: {"novelty":{"x":1}}\r\n\r\n',
}
"""A record that each API might add in the future."""


async def posted(url: str, out: Dialect, request: Request, body: bytes | None = None) -> tuple[int, Any, bytes]:
    """Send a request unchanged, and return the status, headers and body of the server's answer."""
    endpoint = Endpoint(url + ("/v1" if out.name.startswith("openai") else ""))
    outgoing = out.encode_request(request, endpoint, Unsupported(out.name))
    async with (
        aiohttp.ClientSession() as session,
        session.post(outgoing.url, headers=outgoing.headers, data=body or outgoing.body) as response,
    ):
        return response.status, response.headers, await response.read()


def odd(body: bytes) -> bytes:
    """Return the same request with an unknown field, formatted as none of our encoders would."""
    document = msgspec.json.decode(body)
    return b'{ "novelty" : {"a":[1,  2.50]},\r\n' + msgspec.json.encode(document).strip()[1:-1] + b"\t}\n"


@pytest.mark.parametrize("dialect", PASSED_ON, ids=lambda dialect: dialect.name)
@STREAM
async def test_within_one_dialect_the_request_is_passed_on_byte_for_byte(dialect: Dialect, stream: bool) -> None:
    request = Request(HELLO, "m-1", stream=stream)
    body = odd(dialect.encode_request(request, Endpoint("http://h"), Unsupported(dialect.name)).body)
    async with live_server(reply(*LONG), dialect=dialect) as server:
        code, _, _ = await posted(server.url, dialect, request, body)
    assert code == 200
    assert server.fake.requests[0].body == body


UNREAD: list[tuple[Dialect, dict[str, Any]]] = [
    (
        dialects.OpenAI(),
        {"messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "novel"}]}]},
    ),
    (dialects.OpenAI(), {"messages": [*HELLO, {"role": "assistant", "audio": {"id": "audio_1"}}]}),
    (
        dialects.OpenAI(),
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]},
    ),
    (dialects.OpenAI(), {"messages": [*HELLO, {"role": "function", "name": "f", "content": "a"}]}),
    (dialects.OpenAI(), {"messages": HELLO, "tools": [{}]}),
    (dialects.OpenAI(), {"messages": HELLO, "temperature": "0.5"}),
    (dialects.OpenAIResponses(), {"prompt": {"id": "pmpt_1"}}),
    (dialects.OpenAIResponses(), {"input": [{"role": "user", "content": 5}]}),
    (dialects.Anthropic(), {"messages": [{"role": "novel", "content": "x"}], "max_tokens": 5}),
    (dialects.Ollama(), {"messages": [{"role": "novel", "content": "x"}]}),
    (dialects.Gemini(), {"contents": [{"parts": [{"text": 5}]}], "tools": 5}),
]
"""Bodies that cannot be decoded into the shared shape: the endpoint decides about them."""


@pytest.mark.parametrize(("dialect", "fields"), UNREAD, ids=[f"{d.name}-{n}" for n, (d, _) in enumerate(UNREAD)])
@STREAM
async def test_within_one_dialect_a_request_that_cannot_be_decoded_is_passed_on_too(
    dialect: Dialect, fields: dict[str, Any], stream: bool
) -> None:
    asked = Request(HELLO, "m-1", stream=stream)
    given = msgspec.json.decode(dialect.encode_request(asked, Endpoint("http://h"), Unsupported(dialect.name)).body)
    body = msgspec.json.encode({name: given[name] for name in ("model", "stream") if name in given} | fields)
    async with live_server(reply(*LONG), dialect=dialect) as server:
        code, headers, _ = await posted(server.url, dialect, asked, body)
    assert (code, headers["content-type"]) == (
        200,
        dialect.writer(asked).content_type if stream else "application/json",
    )
    assert server.fake.requests[0].body == body
    other = dialects.by_name("ollama") if dialect.name == "openai" else dialects.by_name("openai")
    async with live_server(reply(*LONG), dialect=other) as server:
        code, _, _ = await posted(server.url, dialect, asked, body)
    assert code == 400
    assert server.fake.requests == []


@pytest.mark.parametrize("dialect", PASSED_ON, ids=lambda dialect: dialect.name)
async def test_a_request_that_cannot_be_decoded_or_routed_is_refused(dialect: Dialect) -> None:
    async with live_server(reply(*LONG), dialect=dialect) as server:
        for body in (b"[]", b"{", b'"x"', b""):
            code, _, _ = await posted(server.url, dialect, Request(HELLO, "m-1"), body or b" ")
            assert code == 400
    assert server.fake.requests == []


@pytest.mark.parametrize("dialect", PASSED_ON, ids=lambda dialect: dialect.name)
async def test_within_one_dialect_a_streamed_answer_comes_back_byte_for_byte(dialect: Dialect) -> None:
    request = Request(HELLO, "m-1")
    writer = dialect.writer(request)
    records = [writer.write([item]) for item in LONG]
    pieces = (records[0], UNKNOWN[dialect.name], *records[1:], writer.end())
    async with live_server(ScriptedResponse(BodyContent(pieces, writer.content_type)), dialect=dialect) as server:
        code, headers, body = await posted(server.url, dialect, request)
    assert (code, headers["content-type"]) == (200, writer.content_type)
    assert body == b"".join(pieces)


@pytest.mark.parametrize("dialect", PASSED_ON, ids=lambda dialect: dialect.name)
async def test_within_one_dialect_an_unstreamed_answer_comes_back_byte_for_byte(dialect: Dialect) -> None:
    request = Request(HELLO, "m-1", stream=False)
    whole = dialect.write_reply(collect(LONG), request)
    answer = odd(whole)
    async with live_server(
        ScriptedResponse(BodyContent((answer,), "application/json"), framing="length"), dialect=dialect
    ) as server:
        code, _, body = await posted(server.url, dialect, request)
    assert (code, body) == (200, answer)


@pytest.fixture
def novel() -> Request:
    """Return a request with an unknown field."""
    return Request(HELLO, "m-1", extra={"novelty": 1})


async def test_the_max_tokens_that_anthropics_clients_must_send_does_not_keep_them_from_an_acytoo_endpoint() -> None:
    into, out = dialects.by_name("anthropic"), dialects.by_name("acytoo")
    async with live_server(reply("Hello"), dialect=out) as server:
        assert (await client_of(into, server.url).reply(HELLO)).text == "Hello"
        assert "max_tokens" not in server.fake.requests[0].json


@crossings(CROSSING)
async def test_between_dialects_an_unknown_field_is_refused_by_name(
    into: Dialect, out: Dialect, novel: Request
) -> None:
    async with live_server(reply("Hello"), dialect=out) as server:
        code, _, body = await posted(server.url, into, novel)
    if into.name == "ollama":  # it ignores unknown fields itself
        assert (code, b"novelty" in server.fake.requests[0].body) == (200, False)
        return
    assert code == 400
    assert b"novelty: leave it out" in body
    assert b"--drop-unsupported" in body
    assert server.fake.requests == []


@crossings(CROSSING)
async def test_between_dialects_an_unknown_field_is_dropped_and_named_if_that_is_allowed(
    into: Dialect, out: Dialect, novel: Request
) -> None:
    async with live_server(reply("Hello"), dialect=out, drop_unsupported=True) as server:
        code, headers, _ = await posted(server.url, into, novel)
    assert code == 200
    if into.name != "ollama":
        assert "novelty" in headers["x-acytoo-dropped"].split(", ")
    assert b"novelty" not in server.fake.requests[0].body


# The same clients, the real model.


def embedded(dialect: Dialect) -> AsyncGeneratorProvider:
    """Return a provider of the dialect for the embedded server, which all tests share."""
    return backend(dialect, Acytoo.url)


EACH = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)


def short(dialect: Dialect) -> dict[str, Any]:
    return {"max_tokens": 5} if "max_tokens" in dialect.options else {}


@EACH
@STREAM
async def test_the_embedded_model_answers_in_every_dialect(dialect: Dialect, stream: bool) -> None:
    asked = Request([{"role": "user", "content": "Say OK."}], "m-1", stream=stream, temperature=0, **short(dialect))
    found = collect(await items_of(embedded(dialect), asked))
    assert found.text
    if dialect.name != "acytoo":
        assert found.usage is not None
        assert found.usage.output_tokens == 5
        assert found.finish_reason == "length"


@pytest.mark.parametrize(
    "dialect",
    [d for d in dialects.ALL if "tool_choice" in d.options and d.name != "ollama"],
    ids=lambda dialect: dialect.name,
)
async def test_the_embedded_model_calls_a_tool_in_every_dialect_that_has_tools(dialect: Dialect) -> None:
    asked = [{"role": "user", "content": "The weather in Rome?"}]
    found = await embedded(dialect).reply(
        asked, tools=[SHORT_TOOL], tool_choice="required", max_tokens=60, temperature=0
    )
    (call,) = found.tool_calls
    assert msgspec.json.decode(call["function"]["arguments"]) == {"city": "Rome"}
    assert found.finish_reason == "tool_calls"


SHORT_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]},
    },
}


async def test_one_conversation_continues_through_every_dialect() -> None:
    messages = list(HELLO)
    for dialect in dialects.ALL:
        if limit := short(dialect):
            found = await embedded(dialect).reply(messages, temperature=0, **limit)
        else:
            found = await first_words(messages)
        assert found.text
        messages += [found.message, {"role": "user", "content": "Go on."}]
    assert [message["role"] for message in messages] == ["user", "assistant"] * len(dialects.ALL) + ["user"]


async def first_words(messages: list[dict[str, Any]]) -> Reply:
    """Return the start of a raw text reply, which has no token limit."""
    stream = Acytoo.stream(messages, temperature=0)
    async with aclosing(stream):
        return collect([await anext(stream)])
