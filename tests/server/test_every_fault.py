"""Whatever goes wrong at a backend, no client of any dialect receives what looks like a complete reply."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import AcytooError, StatusError, dialects
from acytoo.dialects import Dialect
from acytoo.errors import status_error
from acytoo.http import ResponseHead
from acytoo.testing import ScriptedResponse, garbage, hang_up, json_error, page, redirect, reply, silent, status
from acytoo.types import Finish, Request, Start, Usage
from tests.server.live_server import backend, call, live_server, request

WORDS = [f"word {number} " for number in range(20)]
HELLO = reply(Start("id-1", "m-1", 7), *WORDS, Usage(9, 20), Finish("stop"))
PREFIXED = ("openai", "openai-responses")
LIMITS = {"timeout": {"connect": 5.0, "first_byte": 0.3, "idle": 0.3}}

FAULTS: dict[str, ScriptedResponse] = {
    "hangs up": hang_up(),
    "not HTTP": garbage(),
    "silence": silent(),
    "reset in the head": HELLO.reset(at_byte=20),
    "closed in the head": HELLO.close(at_byte=20),
    "an empty body": status(200, body=""),
    "an HTML page": page(),
    "an error in JSON under 200": json_error("overloaded"),
    "a redirect elsewhere": redirect("http://127.0.0.1:9/elsewhere"),
    "reset": HELLO.reset(after_bytes=100),
    "closed": HELLO.close(after_bytes=100),
    "sends no more": HELLO.half_close(after_bytes=100),
    "stalls": HELLO.stall(after_bytes=100),
    "broken framing": HELLO.insert(b"zz\r\nzz\r\n", after=8),
    "a length that is too long": HELLO.with_length(1_000_000).close(),
}
"""In every dialect."""

API_FAULTS: dict[str, ScriptedResponse] = {
    "an error reported": HELLO.fail("the model has failed", after=8),
    "an error reported at once": HELLO.fail("the model has failed", after=0),
    "no end": reply(Start("id-1", "m-1", 7), *WORDS).without_end(),
    "ended within a record": HELLO.end(after_bytes=100),
    "ended between records": HELLO.end(after=8),
    "invalid bytes": status(200, body=b"\xff\xfe\x00" * 50, content_type="text/event-stream"),
}
"""Faults of APIs that mark the end of a reply; raw text does not."""

STREAMED = {"broken framing", "an error reported", "an error reported at once", "no end", "ended between records"}
"""Faults that need a stream: a single document has no such places."""

ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def cases() -> list[Any]:
    """Return each fault of a backend in OpenAI's dialect and in the client's own, streamed and not."""
    found = []
    for dialect in dialects.ALL:
        for upstream in dict.fromkeys([dialects.OpenAI(), dialect]):
            faults = FAULTS if upstream.name == "acytoo" else {**FAULTS, **API_FAULTS}
            for name, fault in faults.items():
                for stream in (True, False):
                    if stream or name not in STREAMED:
                        case = f"{upstream.name} to {dialect.name}: {name}, {'stream' if stream else 'whole'}"
                        found.append(pytest.param(dialect, upstream, fault, stream, id=case))
    return found


@pytest.mark.parametrize(("dialect", "upstream", "fault", "stream"), cases())
async def test_no_fault_of_a_backend_looks_like_a_complete_reply(
    dialect: Dialect, upstream: Dialect, fault: ScriptedResponse, stream: bool
) -> None:
    async with live_server(fault, dialect=upstream, provider=LIMITS) as server:
        response = await call(server.port, request(dialect, stream=stream))
        if response.is_complete and response.status == 200:
            assert dialect.writer(Request([])).error_ends_reply
            with pytest.raises(StatusError):
                dialect.reader(ResponseHead(200, response.headers)).feed(response.body.rpartition(b"event: error")[2])
        elif response.is_complete:
            assert response.status >= 400
            assert dialect.read_error(response.status, response.body).message not in ("", "no message")
        else:
            assert response.status in (0, 200)


@pytest.mark.parametrize(("dialect", "upstream", "fault", "stream"), [case for case in cases() if case.values[3]])
async def test_our_own_client_raises_for_every_fault_behind_the_server(
    dialect: Dialect, upstream: Dialect, fault: ScriptedResponse, stream: bool
) -> None:
    async with live_server(fault, dialect=upstream, provider=LIMITS) as server:
        asked = backend(dialect, server.url + ("/v1" if dialect.name in PREFIXED else ""))
        texts: list[str] = []
        with pytest.raises(AcytooError) as raised:
            async for text in asked.create_async_generator("m-1", [{"role": "user", "content": "Hi"}]):
                texts.append(text)  # noqa: PERF401 - what came before the error counts
        assert raised.value.text == "".join(texts)
        assert "".join(WORDS).startswith(raised.value.text)


@STREAM
@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529])
@ALL
async def test_the_backends_status_message_and_retry_after_survive(dialect: Dialect, code: int, stream: bool) -> None:
    refusal = status(code, "the backend's own message", retry_after=7 if code in (429, 503) else None)
    async with live_server(refusal) as server:
        response = await call(server.port, request(dialect, stream=stream))
        assert (response.status, response.is_complete) == (code, True)
        assert dialect.read_error(code, response.body).message == "the backend's own message"
        assert response.headers.get("retry-after") == ("7" if code in (429, 503) else None)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 429, 500, 503, 504, 529])
@pytest.mark.parametrize("dialect", [d for d in dialects.ALL if d.name != "acytoo"], ids=lambda dialect: dialect.name)
async def test_an_error_after_a_keep_alive_has_its_status_message_and_wait_in_the_stream(
    dialect: Dialect, code: int
) -> None:
    late = status(code, "not now", retry_after=7).wait(0.2, at_byte=0)
    async with live_server(late, first_ping_after=0.05) as server:
        asked = backend(dialect, server.url)
        with pytest.raises(StatusError) as raised:
            async for _ in asked.stream([{"role": "user", "content": "Hi"}]):
                pass
        error = raised.value
        assert type(error) is type(status_error(code, ""))
        # Anthropic's clients know an error in a stream by its type, and some types stand for several statuses.
        assert error.status == code
        assert (error.message.removesuffix(" Please try again in 7s."), error.retry_after) == ("not now", 7)


async def test_codex_reads_from_the_message_how_long_to_wait() -> None:
    late = status(429, "Slow down.", retry_after=7).wait(0.2, at_byte=0)
    async with live_server(late, first_ping_after=0.05) as server:
        body = (await call(server.port, request("openai-responses"))).body
        assert b'{"code":"rate_limit_exceeded","message":"Slow down. Please try again in 7s."}' in body


async def test_an_error_before_the_first_keep_alive_keeps_its_status() -> None:
    late = status(429, "not now", retry_after=7).wait(0.2, at_byte=0)
    async with live_server(late, ping_after=0.05) as server:
        response = await call(server.port, request())
        assert (response.status, response.headers["retry-after"]) == (429, "7")


async def test_keep_alives_begin_earlier_once_the_head_is_sent() -> None:
    async with live_server(HELLO.wait(0.4, after=2), ping_after=0.1) as server:
        response = await call(server.port, request())
        assert response.is_complete
        assert b": ping" in response.body


@STREAM
@pytest.mark.parametrize("body", ["", "plain words", "<html><title>Sorry</title></html>", "x" * 3_000_000])
@ALL
async def test_an_error_with_any_body_is_reported_in_the_clients_format(
    dialect: Dialect, body: str, stream: bool
) -> None:
    async with live_server(status(503, body=body)) as server:
        response = await call(server.port, request(dialect, stream=stream))
        assert (response.status, response.is_complete) == (503, True)
        assert msgspec.json.decode(response.body)
        assert len(response.body) < 10_000
