"""Bodies: what all of them may take, what each may consist of, and where they are decoded."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import tracemalloc
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.base import ParsedRequest, Unsupported
from acytoo.http import Endpoint, ServerRequest
from acytoo.server.body import MAX_ALL_UNKNOWN, MAX_UNKNOWN
from acytoo.testing import reply
from acytoo.types import Finish, Request, Start
from acytoo.wire.limits import MAX_COST, MAX_DEPTH, MAX_ELEMENTS
from tests.server.live_server import LIMIT, LiveServer, call, example, head, live_server, read_response, request

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
EVERY = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
WITH_CALLS = [dialect for dialect in dialects.ALL if "tools" in dialect.options]
NAMES = json.dumps({"password": "salami"} | {f"x{number}": 0 for number in range(120_000)}).encode()
LISTS = b'{"password": "salami", "x": [' + b"[]," * MAX_ELEMENTS + b"0]}"
DEEP = b'{"password": "salami", "x": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}"


class Withheld:
    """Connections that send a request without the last byte of its body."""

    def __init__(self, server: LiveServer, line: str, size: int) -> None:
        self._port = server.port
        self._data = head(line, f"content-length: {size}\r\n") + b" " * (size - 1)
        self._writers: list[asyncio.StreamWriter] = []

    async def add(self) -> asyncio.StreamReader:
        """Send one more, and return where its response can be read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        writer.write(self._data)
        return reader

    async def close(self) -> None:
        """Close all of them."""
        for writer in self._writers:
            writer.transport.abort()


# What all bodies may take together.


async def test_bodies_that_arrive_take_a_limited_amount_of_memory_until_their_clients_leave() -> None:
    async with live_server(HELLO, max_bodies=1_000_000) as server, asyncio.timeout(LIMIT):
        withheld = Withheld(server, "POST /v1/chat/completions HTTP/1.1", 300_000)
        waiting = [asyncio.ensure_future(read_response(await withheld.add())) for _ in range(4)]
        [refused], _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        response = refused.result()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        message = "too many large requests are arriving at the same time: try again later"
        assert dialects.OpenAI().read_error(503, response.body).message == message
        body = b'{"messages": [{"role": "user", "content": "Hi"}]}' + b" " * 200_000
        assert (await call(server.port, request(body=body))).status == 503
        assert (await call(server.port, request())).status == 200  # a body that arrives with its head is answered
        await withheld.close()
        for other in waiting:
            other.cancel()
        await asyncio.wait(waiting)
        while (await call(server.port, request(body=body))).status == 503:  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(0.01)
        for _ in range(10):  # nothing is taken for good
            assert (await call(server.port, request(body=body))).status == 200


async def test_bodies_of_unknown_callers_have_a_limit_of_their_own() -> None:
    async with live_server(HELLO, password="sesame") as server, asyncio.timeout(LIMIT):
        withheld = Withheld(server, "POST /api/completions HTTP/1.1", MAX_UNKNOWN)
        count = MAX_ALL_UNKNOWN // MAX_UNKNOWN
        waiting = [asyncio.ensure_future(read_response(await withheld.add())) for _ in range(count + 3)]
        refused: list[int] = []
        for response in asyncio.as_completed(waiting):
            refused.append((await response).status)
            if len(refused) == 3:
                break
        assert refused == [503] * 3
        body = b'{"messages": [{"role": "user", "content": "Hi"}]}' + b" " * 2_000_000
        for path in ("openai", "acytoo"):
            answer = await call(server.port, request(path, headers="authorization: Bearer sesame\r\n", body=body))
            assert answer.status == 200
        await withheld.close()
        for other in waiting:
            other.cancel()
        await asyncio.wait(waiting)


async def test_bodies_that_stop_half_way_do_not_keep_out_a_caller_whose_password_is_in_the_body() -> None:
    async with live_server(HELLO, password="sesame") as server, asyncio.timeout(LIMIT):
        withheld = Withheld(server, "POST /api/completions HTTP/1.1", MAX_UNKNOWN)
        readers = [await withheld.add() for _ in range(MAX_ALL_UNKNOWN // MAX_UNKNOWN)]
        last = await withheld.add()  # for which the first of them is dropped
        assert (await read_response(readers[0])).status == 503
        body = b'{"password": "sesame", "messages": [{"role": "user", "content": "Hi"}]}' + b" " * 500_000
        sent = request("acytoo", body=body)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent[:-200_000])
            await call(server.port, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            writer.write(sent[-200_000:])
            assert (await read_response(reader)).status == 200
            writer.close()
            assert not last.at_eof()
        assert (await read_response(readers[1])).headers["retry-after"] == "1"
        await withheld.close()


async def test_a_body_in_tiny_chunks_takes_little_more_memory_than_its_bytes() -> None:
    size = 200_000
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        data = head("POST /v1/chat/completions HTTP/1.1", "transfer-encoding: chunked\r\n")
        writer.write(data)
        await call(server.port, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        tracemalloc.start()
        try:
            writer.write(b"2\r\n{}\r\n" * (size // 2))
            await writer.drain()
            await call(server.port, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert tracemalloc.get_traced_memory()[0] < 5 * size
        finally:
            tracemalloc.stop()
            writer.transport.abort()


# What a body may consist of.


@EVERY
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (LISTS, "has more than 250000 values and fields"),
        (DEEP, "is nested more than 200 levels deep"),
        (NAMES, "has fields with more than 50000 different names"),
    ],
    ids=["values", "depth", "names"],
)
@pytest.mark.parametrize("coding", ["", "content-encoding: gzip\r\n"], ids=["plain", "gzip"])
async def test_a_body_that_is_too_costly_to_decode_is_400_in_the_clients_format(
    dialect: Dialect, body: bytes, why: str, coding: str
) -> None:
    async with live_server(HELLO, dialect=dialect) as server:
        data = request(dialect, body=gzip.compress(body) if coding else body, headers=coding)
        response = await call(server.port, data)
        assert response.status == 400
        assert dialect.read_error(400, response.body).message == f"the request body {why}"
        assert server.fake.requests == []


@pytest.mark.parametrize("dialect", [d for d in dialects.ALL if d.name != "gemini"], ids=lambda dialect: dialect.name)
async def test_a_long_name_of_a_model_is_400(dialect: Dialect) -> None:
    _, fields = example(dialect)
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        for size, status in ((1000, 200), (1001, 400)):
            body = json.dumps(fields | {"model": "x" * size}).encode()
            assert (await call(server.port, request(dialect, body=body))).status == status


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_an_error_does_not_repeat_a_long_value(dialect: Dialect) -> None:
    _, fields = example(dialect)
    body = json.dumps(fields).replace('"user"', f'"{"x/" * 100_000}"').encode()
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        answer = await call(server.port, request(dialect, body=body))
        assert answer.status in (200, 400)  # Gemini's roles may be anything
        assert len(answer.body) < 10_000


@pytest.mark.parametrize("dialect", WITH_CALLS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("arguments", ["[" + "[]," * 3_000 + "0]", "[" * 300 + "]" * 300], ids=["values", "depth"])
async def test_the_arguments_of_calls_that_are_too_costly_to_decode_together_are_400(
    dialect: Dialect, arguments: str
) -> None:
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": f'{{"a": {arguments}}}'}}
        for number in range(100)
    ]
    messages: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *[{"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in calls],
    ]
    behind = dialects.OpenAI() if dialect.name == "anthropic" else dialects.Anthropic()
    asked = Request(messages, "m-1", max_tokens=5 if "max_tokens" in dialect.options else None)
    body = dialect.encode_request(asked, Endpoint(""), Unsupported(dialect.name)).body
    async with live_server(HELLO, dialect=behind, drop_unsupported=True) as server:
        response = await call(server.port, request(dialect, body=body))
        assert response.status == 400
        assert server.fake.requests == []
        assert (await call(server.port, request(dialect))).status == 200


@pytest.mark.parametrize(
    ("costly", "body"),
    [
        (b"\\n", b'{"messages": [{"role": "user", "content": "%b"}]}'),
        ("\u00e9".encode(), b'{"messages": [{"role": "user", "content": "%b"}]}'),
        ("\U0001f600".encode(), b'{"messages": [{"role": "user", "content": "%b"}]}'),
        (b" \t", b'{"messages": [{"role": "user", "content": "Hi"}], "x": [%b]}'),
    ],
    ids=["escapes", "two bytes", "four bytes", "blanks"],
)
async def test_the_characters_of_a_body_that_take_longest_to_decode_are_limited(costly: bytes, body: bytes) -> None:
    async with live_server(HELLO) as server:
        response = await call(server.port, request(body=body % (costly * (MAX_COST // 2))))
        assert response.status == 400
        assert b"takes too long to decode" in response.body
        response = await call(server.port, request(body=body % (costly * (MAX_COST // 20))))
        assert response.status == 200


@pytest.mark.parametrize("body", [LISTS[:MAX_UNKNOWN], LISTS[:1_000_000] + b"0]}", DEEP, b"{", b"[]"], ids=range(5))
@pytest.mark.parametrize("coding", ["", "content-encoding: gzip\r\n"], ids=["plain", "gzip"])
async def test_nothing_but_the_secrets_is_decoded_without_the_password(body: bytes, coding: str) -> None:
    async with live_server(HELLO, password="sesame") as server:
        data = request("acytoo", body=gzip.compress(body) if coding else body, headers=coding)
        assert (await call(server.port, data)).status == 401
        right = body.replace(b"salami", b"sesame")
        data = request("acytoo", body=gzip.compress(right) if coding else right, headers=coding)
        assert (await call(server.port, data)).status in (400, 401)


# Where a body is decoded.


class Recording(dialects.OpenAI):
    """A dialect that records which thread decodes its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        self.threads.append(threading.current_thread())
        return super().decode_request(incoming)


async def test_a_long_or_compressed_body_is_decoded_in_a_thread() -> None:
    recording = Recording()
    async with live_server(HELLO, dialects=(recording,)) as server:
        for text, coding in (("Hi", ""), ("x" * 100_000, ""), ("Hi", "gzip")):
            body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            headers = f"content-encoding: {coding}\r\n" if coding else ""
            data = request(headers=headers, body=gzip.compress(body) if coding else body)
            assert (await call(server.port, data)).status == 200
    main = threading.main_thread()
    assert [thread is main for thread in recording.threads] == [True, False, False]
    assert all(thread.name.startswith("acytoo-body") for thread in recording.threads[1:])


@pytest.mark.parametrize(("size", "in_thread"), [(64 * 1024, False), (64 * 1024 + 1, True)])
async def test_a_body_of_64_kib_is_the_longest_that_is_decoded_on_the_event_loop(size: int, in_thread: bool) -> None:
    recording = Recording()
    async with live_server(HELLO, dialects=(recording,)) as server:
        body = b'{"messages": [{"role": "user", "content": "Hi"}]}'
        assert (await call(server.port, request(body=body + b" " * (size - len(body))))).status == 200
    assert [thread is not threading.main_thread() for thread in recording.threads] == [in_thread]


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (1001, 400)])
async def test_the_name_of_a_model_may_have_a_thousand_characters(length: int, status: int) -> None:
    async with live_server(HELLO) as server:
        body = json.dumps({"model": "m" * length, "messages": [{"role": "user", "content": "Hi"}]}).encode()
        assert (await call(server.port, request(body=body))).status == status


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize(("size", "status"), [(3000, 200), (3001, 413)])
async def test_a_body_may_be_exactly_as_large_as_the_limit(size: int, status: int, coding: str) -> None:
    async with live_server(HELLO, max_body=3000) as server:
        body = b'{"messages": [{"role": "user", "content": "Hi"}]}'
        body += b" " * (size - len(body))
        headers = f"content-encoding: {coding}\r\n" if coding else ""
        data = request(headers=headers, body=gzip.compress(body) if coding else body)
        assert (await call(server.port, data)).status == status


async def test_a_client_that_leaves_while_its_body_is_decoded_gets_no_backend() -> None:
    decodes, may_go_on = threading.Event(), threading.Event()

    class Waiting(dialects.OpenAI):
        def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
            decodes.set()
            assert threading.current_thread() is not threading.main_thread()  # which must not wait
            may_go_on.wait(LIMIT)
            return super().decode_request(incoming)

    async with live_server(HELLO, dialects=(Waiting(),)) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(body=b'{"messages": [{"role": "user", "content": "Hi"}]}' + b" " * 100_000))
        await asyncio.to_thread(decodes.wait)
        writer.close()
        await writer.wait_closed()
        assert (await call(server.port, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")).status == 200
        may_go_on.set()
    assert server.fake.requests == []
