"""Streamed responses on the wire: head, framing, number of writes, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from acytoo import AsyncGeneratorProvider, Timeout, dialects
from acytoo.dialects import Dialect
from acytoo.errors import AcytooError, ServerError
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, reply
from acytoo.testing.conformance.clock import occurs_within
from acytoo.types import Finish, Item, Request, Start, ToolCall
from tests.server.live_server import (
    LIMIT,
    backend,
    call,
    endless,
    example,
    live_server,
    raw_call,
    read_response,
    request,
)
from tests.skipping_loop import in_skipping_loop, skip

COMPLETE: list[Item] = [Start("id-1", "m-1", 7), "Hello", " world", Finish("stop")]
ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)


@asynccontextmanager
async def immediate_endpoint(items: list[Item], fault: AcytooError | None = None) -> AsyncIterator[str]:
    """Yield the URL of a chat API that sends a complete reply, or a fault that ends it, in one write."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        rendered = dialects.OpenAI().writer(Request([], "m-1"))
        body = rendered.write(items) + (rendered.fail(fault) if fault else rendered.end())
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def server_over(url: str) -> AsyncIterator[int]:
    """Yield the port of our server over that endpoint."""
    server, ours = await start(ServerConfig({"backend": backend(dialects.OpenAI(), url)}, port=0, grace=0.1))
    try:
        yield urlsplit(ours).port or 0
    finally:
        await server.close()


@ALL
async def test_a_complete_reply_is_sent_in_one_write(dialect: Dialect) -> None:
    async with immediate_endpoint(COMPLETE) as url, server_over(url) as port, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(dialect))
        written = await reader.read(1_000_000)
        writer.close()
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert written.endswith(b"\r\n0\r\n\r\n")


@ALL
async def test_text_before_a_pause_is_sent_before_the_pause(dialect: Dialect) -> None:
    async with live_server(reply(*COMPLETE).stall(after=2)) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect))
        await reader.readuntil(b"Hello")
        writer.close()


async def test_a_stream_has_exactly_these_headers() -> None:
    async with live_server(reply(*COMPLETE)) as server:
        response = await call(server.port, request())
        assert response.headers.pop("date").endswith(" GMT")
        assert response.headers == {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "transfer-encoding": "chunked",
        }


async def test_a_connection_serves_one_stream_after_another() -> None:
    async with live_server(reply(*COMPLETE), reply(*COMPLETE)) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(request())
            assert (await read_response(reader)).is_complete
        writer.close()


async def test_a_client_that_asks_to_close_gets_connection_close() -> None:
    async with live_server(reply(*COMPLETE)) as server:
        answer = await raw_call(server.port, request(headers="connection: close\r\n"))
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b"\r\n0\r\n\r\n")


async def test_an_http_1_0_client_gets_an_unframed_stream_that_ends_with_the_connection() -> None:
    async with live_server(reply(*COMPLETE)) as server:
        answer = await raw_call(server.port, request("acytoo").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == b"Hello world"


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_an_error_that_arrives_with_the_first_text_is_sent_after_it(dialect: str) -> None:
    async with immediate_endpoint(COMPLETE[:2], ServerError("it broke", status=500)) as url, server_over(url) as port:
        response = await call(port, request(dialect))
        assert not response.is_complete
        assert 0 < response.body.find(b"Hello") < response.body.find(b"it broke")


async def test_the_names_of_dropped_fields_cannot_break_out_of_their_header() -> None:
    fields = {**example(dialects.OpenAI())[1], "a\r\nx-evil: 1\r\n\r\né": 1}
    async with live_server(reply("ok"), dialect=dialects.Acytoo(), drop_unsupported=True) as server:
        response = await call(server.port, request(body=json.dumps(fields).encode()))
        assert response.headers["x-acytoo-dropped"] == "a??x-evil: 1?????"
        assert response.is_complete


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
async def test_a_search_in_the_web_that_is_left_out_beside_functions_is_reported(stream: bool) -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    tools = [function, {"type": "web_search"}]
    body = {"model": "m-1", "input": "Hello", "store": False, "stream": stream, "tools": tools}
    async with live_server(reply("ok"), dialect=dialects.Anthropic()) as server:
        response = await call(server.port, request(dialects.OpenAIResponses(), body=json.dumps(body).encode()))
        assert response.headers["x-acytoo-dropped"] == "tools:hosted:web_search"
        assert response.is_complete


@pytest.mark.parametrize("behind", [dialects.Anthropic(), dialects.OpenAI()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("in_namespace", [True, False], ids=["namespace", "alone"])
async def test_a_grammar_that_nothing_enforces_is_reported(in_namespace: bool, behind: Dialect) -> None:
    patch = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "s: /a/"}}
    free = {"type": "custom", "name": "patch", "format": {"type": "text"}}
    async with live_server(reply("ok"), dialect=behind) as server:
        for tool, dropped in ((patch, "tools:custom:grammar"), (free, None)):
            tools = [{"type": "namespace", "name": "n", "tools": [tool]}] if in_namespace else [tool]
            body = json.dumps({"model": "m-1", "input": "Hello", "store": False, "tools": tools}).encode()
            response = await call(server.port, request(dialects.OpenAIResponses(), body=body))
            assert response.status == 200
            assert response.headers.get("x-acytoo-dropped") == dropped


FUNCTION = {"type": "object", "properties": {}}


@pytest.mark.parametrize("behind", [dialects.Gemini(), dialects.Ollama()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("api", "fields"),
    [
        (
            dialects.OpenAI(),
            {
                "parallel_tool_calls": False,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": FUNCTION}}],
            },
        ),
        (
            dialects.OpenAIResponses(),
            {"parallel_tool_calls": False, "tools": [{"type": "function", "name": "f", "parameters": FUNCTION}]},
        ),
        (
            dialects.Anthropic(),
            {
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                "tools": [{"name": "f", "input_schema": FUNCTION}],
            },
        ),
    ],
    ids=["openai", "openai-responses", "anthropic"],
)
async def test_a_client_that_prefers_one_call_at_a_time_is_answered(
    api: Dialect, fields: dict[str, Any], behind: Dialect
) -> None:
    body = {**example(api)[1], **fields}
    async with live_server(reply("ok"), dialect=behind) as server:
        response = await call(server.port, request(api, body=json.dumps(body).encode()))
        assert response.status == 200
        assert response.headers["x-acytoo-dropped"] == "parallel_tool_calls=False"


@pytest.mark.parametrize(
    ("behind", "fields", "dropped"),
    [
        (dialects.Ollama(), {"tool_choice": "required"}, "tool_choice='required'"),
        (dialects.Ollama(), {"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice={"),
        (dialects.Anthropic(), {"response_format": {"type": "json_object"}}, "response_format of type 'json_object'"),
    ],
)
async def test_a_client_that_asks_for_a_structured_reply_is_answered(
    behind: Dialect, fields: dict[str, Any], dropped: str
) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": FUNCTION}} for name in ("f", "g")]
    body = {**example(dialects.OpenAI())[1], **fields, "tools": tools}
    async with live_server(reply("ok"), dialect=behind) as server:
        response = await call(server.port, request(body=json.dumps(body).encode()))
        assert response.status == 200
        assert response.headers["x-acytoo-dropped"].startswith(dropped)
        sent = json.loads(server.fake.requests[0].body)
    assert len(sent["tools"]) == (1 if isinstance(fields.get("tool_choice"), dict) else 2)


async def test_a_header_with_dropped_fields_that_just_fits_is_complete() -> None:
    name = "field-" + "x" * 4_090
    fields = {**example(dialects.OpenAI())[1], name: 1}
    async with live_server(reply("ok"), dialect=dialects.Acytoo(), drop_unsupported=True) as server:
        response = await call(server.port, request(body=json.dumps(fields).encode()))
        assert response.headers["x-acytoo-dropped"] == name


async def test_the_header_with_dropped_fields_is_limited() -> None:
    fields = {**example(dialects.OpenAI())[1], **{f"field-{number}": 1 for number in range(10_000)}}
    async with live_server(reply("ok"), dialect=dialects.Acytoo(), drop_unsupported=True) as server:
        response = await call(server.port, request(body=json.dumps(fields).encode()))
        assert response.headers["x-acytoo-dropped"].startswith("field-0, field-1, ")
        assert response.headers["x-acytoo-dropped"].endswith("...")
        assert len(response.headers["x-acytoo-dropped"]) == 4096


async def test_a_client_that_never_reads_is_cut_off_and_its_backend_stopped() -> None:
    async with live_server(endless(6_400), unread=0.3) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=64 * 1024)
        writer.write(request())
        assert await occurs_within(server.fake.disconnected(), 10.0)
        writer.transport.abort()


@in_skipping_loop
async def test_keep_alives_do_not_pile_up_for_a_client_that_does_not_read() -> None:
    patient: dict[str, Any] = {"idle": 1e7, "unread": 1e7, "provider": {"timeout": Timeout(None, None, None)}}
    async with live_server(endless(6_400), first_ping_after=1000, ping_after=1000, **patient) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=64 * 1024)
        writer.write(request())
        await server.taken(1_000_000)
        for _ in range(20):  # keep-alives that are due
            taken = 0
            while taken != server.fake.written:
                taken = server.fake.written
                for _ in range(100):
                    await asyncio.sleep(0)
            skip(1000)
        response = await read_response(reader)
        writer.close()
        assert response.is_complete
        assert response.body.count(b": ping") < 10


async def test_a_silence_that_begins_after_some_text_is_filled_with_keep_alives() -> None:
    answer = reply(*COMPLETE).wait(0.3, after=1).wait(1.5, after=2)
    async with live_server(answer, first_ping_after=0.5, ping_after=0.5) as server:
        response = await call(server.port, request())
        assert b": ping" in response.body
        assert response.is_complete


async def slow_connection(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection with small receive buffers, so that the client is soon behind."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.connect(("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=65536)


@in_skipping_loop
async def test_a_client_that_reads_slowly_but_steadily_gets_everything() -> None:
    long = reply(COMPLETE[0], "x" * 16_000_000, Finish("stop"))
    async with live_server(long, unread=1000.0, provider={"timeout": Timeout(None, None, None)}) as server:
        reader, writer = await slow_connection(server.port)
        writer.write(request("acytoo"))
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n") and (data := await reader.read(65536)):
            received = received[-10:] + data
            skip(13)  # some three thousand in all
        writer.close()
        assert received.endswith(b"\r\n0\r\n\r\n")


async def test_a_client_that_was_behind_and_has_caught_up_may_wait_for_more() -> None:
    texts: list[Item] = [COMPLETE[0], *["x" * 1_000_000] * 12, "the end", Finish("stop")]
    async with live_server(reply(*texts).wait(2.5, after=13), unread=2.0) as server, asyncio.timeout(LIMIT):
        reader, writer = await slow_connection(server.port)
        writer.write(request("acytoo"))
        await asyncio.sleep(0.2)  # in which it does not read
        response = await read_response(reader)
        writer.close()
        assert response.is_complete
        assert response.body.endswith(b"xthe end")


async def test_an_error_of_the_backend_reaches_a_client_that_reads_slowly() -> None:
    texts: list[Item] = [COMPLETE[0], *["x" * 10_000] * 300]
    async with live_server(reply(*texts).fail("it broke", after=301)) as server, asyncio.timeout(LIMIT):
        reader, writer = await slow_connection(server.port)
        writer.write(request("openai"))
        await asyncio.sleep(0.3)
        response = await read_response(reader)
        writer.close()
        assert not response.is_complete
        assert b"it broke" in response.body


@pytest.mark.parametrize("dialect", [d for d in dialects.ALL if d.name != "acytoo"], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("passes_through", [True, False], ids=["passed through", "translated"])
async def test_an_error_in_mid_stream_is_read_by_the_apis_clients(dialect: Dialect, passes_through: bool) -> None:
    upstream = dialect if passes_through else dialects.OpenAI()
    async with (
        live_server(reply(*COMPLETE[:3]).fail("it broke", after=3), dialect=upstream) as server,
        asyncio.timeout(LIMIT),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect))
        await reader.readuntil(b"\r\n\r\n")
        chunks: list[bytes] = []
        ended = False
        with suppress(asyncio.IncompleteReadError):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                chunks.append((await reader.readexactly(size + 2))[:-2])
            ended = True
        writer.close()
        kind = dialect.writer(Request([]))
        assert b"it broke" in chunks[-1]
        assert ended == kind.error_ends_reply == (dialect.name == "openai-responses")
        if kind.fails_alone:
            assert json.loads(chunks[-1])["error"]["message"] == "it broke"
        if dialect.name == "openai-responses":
            assert chunks[-1].count(b'"type":"response.failed"') == 1


async def test_a_cut_reply_over_http_1_0_ends_with_a_reset() -> None:
    async with live_server(reply(*COMPLETE[:2]).reset(after=2)) as server:
        sent = request("acytoo").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        assert await raw_call(server.port, sent) == b"(reset)"


async def test_an_exception_in_a_provider_resets_a_reply_over_http_1_0() -> None:
    class Faulty(AsyncGeneratorProvider):
        """A provider whose own code raises after the first text."""

        @classmethod
        async def create_async_generator(cls, model: str, messages: Any, **_: Any) -> AsyncIterator[str]:  # type: ignore[override]
            yield "Hello"
            await asyncio.sleep(0.1)
            raise RuntimeError("it broke")

    server, ours = await start(ServerConfig({"backend": Faulty()}, port=0, grace=0.1))
    sent = request("acytoo").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    assert await raw_call(urlsplit(ours).port or 0, sent) == b"(reset)"
    await server.close()


async def test_a_provider_that_yields_texts_by_itself_waits_for_a_client_that_does_not_read() -> None:
    yielded = 0

    class Eager(AsyncGeneratorProvider):
        """A provider with a generator of its own, which never waits."""

        @classmethod
        async def create_async_generator(cls, model: str, messages: Any, **_: Any) -> AsyncIterator[str]:  # type: ignore[override]
            nonlocal yielded
            while yielded < 160:
                yielded += 1
                yield "x" * 100_000

    server, ours = await start(ServerConfig({"backend": Eager()}, port=0, grace=0.1))
    reader, writer = await slow_connection(urlsplit(ours).port or 0)
    writer.write(request("acytoo"))
    while not yielded:  # noqa: ASYNC110 - a text is no event
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert yielded < 160
    async with asyncio.timeout(LIMIT):
        response = await read_response(reader)
    writer.close()
    await server.close()
    assert (yielded, len(response.body), response.is_complete) == (160, 16_000_000, True)


async def test_an_http_1_0_client_that_never_reads_is_reset() -> None:
    async with live_server(endless(6_400), unread=0.3) as server, asyncio.timeout(LIMIT):
        reader, writer = await slow_connection(server.port)
        writer.write(request("acytoo").replace(b" HTTP/1.1", b" HTTP/1.0", 1))
        await server.fake.disconnected()
        await asyncio.sleep(1.0)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_what_an_api_requires_of_its_clients_is_left_out_for_an_api_that_does_not_have_it(stream: bool) -> None:
    asked = request(dialects.Anthropic(), stream=stream)
    async with live_server(reply("ok"), dialect=dialects.Acytoo()) as server:
        response = await call(server.port, asked)
        assert (response.status, response.headers["x-acytoo-dropped"]) == (200, "max_tokens")
        refused = await call(server.port, request(body=b'{"messages": [], "max_tokens": 9}'))
    assert refused.status == 400


@pytest.mark.parametrize("behind", [dialects.Anthropic(), dialects.OpenAI()], ids=lambda dialect: dialect.name)
async def test_mistrals_sdk_gets_each_call_in_one_chunk(behind: Dialect) -> None:
    # It refuses a chunk with a piece of a call that has no name, as OpenAI's API sends it.
    fields = {**example(dialects.OpenAI(), stream=True)[1], "tools": [{"type": "function", "function": {"name": "f"}}]}
    script = reply(ToolCall(0, "call_a", "f", '{"x"'), ToolCall(0, arguments=": 1}"), Finish("tool_calls"))
    async with live_server(script, dialect=behind) as server:
        for agent, count in (("mistral-client-python/3.7.0", {1}), ("OpenAI/Python 3.57.0", {2, 3})):
            sent = request(headers=f"user-agent: {agent}\r\n", body=json.dumps(fields).encode())
            response = await call(server.port, sent)
            assert response.is_complete
            assert response.body.count(b'"tool_calls":[') in count


MISTRALS: dict[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "random_seed": 3}


@pytest.mark.parametrize(
    ("agent", "sent"),
    [
        ("mistral-client-python/3.7.0", {"seed": 3, "safe_prompt": True}),
        ("OpenAI/Python 3.57.0", {"random_seed": 3, "safe_prompt": True, "metadata": {}}),
    ],
    ids=["mistral", "openai"],
)
async def test_a_request_of_mistrals_sdk_is_translated_for_openais_own_api(agent: str, sent: dict[str, Any]) -> None:
    body = {**MISTRALS, "safe_prompt": True, "metadata": {}}
    async with live_server(reply("Hello"), dialect=dialects.OpenAI()) as server:
        response = await call(server.port, request(headers=f"user-agent: {agent}\r\n", body=json.dumps(body).encode()))
        assert response.status == 200
        [received] = server.fake.requests
        assert received.json == {"model": "m-1", "messages": MISTRALS["messages"], **sent}


@pytest.mark.parametrize(("host", "passes"), [("api.mistral.ai", True), ("api.mistral.ai.example", False)])
async def test_a_request_of_mistrals_sdk_passes_to_mistral_unchanged(host: str, passes: bool) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hello")) as fake:  # as a proxy, so that no name is looked up
        behind = backend(dialects.OpenAI(), f"http://{host}/v1", proxy=fake.url)
        server, url = await start(ServerConfig({"mistral": behind}, port=0, grace=0.1))
        try:
            agent = "user-agent: mistral-client-python/3.7.0\r\n"
            sent = request(headers=agent, body=json.dumps(MISTRALS).encode())
            assert (await call(urlsplit(url).port or 0, sent)).status == 200
            [received] = fake.requests
            assert received.target == f"http://{host}/v1/chat/completions"
            assert (received.json == MISTRALS) is passes
        finally:
            await server.close()
