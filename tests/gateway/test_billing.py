"""Every way a call can end, and what is recorded and counted: the tables in docs/billing.md, row by row.

Each row runs in every dialect, streamed and not, passed through and translated, through a real server and to scripted
upstreams, whose own count of requests and tokens is the reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.gateway.accounting import BYTES_PER_TOKEN
from acytoo.gateway.backends import create_backends
from acytoo.gateway.config import parse
from acytoo.gateway.control import GatewayControl
from acytoo.gateway.counters import Claim, Hold, MemoryCounters, Window
from acytoo.gateway.keys import hash_secret
from acytoo.gateway.ledger import NoLedger, Row, open_ledger
from acytoo.gateway.setup import Setup, prices_of
from acytoo.http import Endpoint
from acytoo.routing.route import Route
from acytoo.secret import Secret
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import (
    FakeEndpoint,
    ScriptedResponse,
    black_hole,
    garbage,
    hang_up,
    page,
    redirect,
    refused_port,
    reply,
    silent,
    status,
)
from acytoo.testing.fakes.requests import ReceivedRequest
from acytoo.testing.script.responses import BodyContent
from acytoo.types import Finish, Request, ToolCall, Usage, collect
from tests.processes import ACYTOO

LIMIT = 60.0
"""Seconds after which a test has failed; far more than any needs."""

KEY = "sk-acytoo-the-key-of-the-tests-0123456789"

USAGE = Usage(input_tokens=1100, output_tokens=70, cached_tokens=100)
"""What the upstreams report."""

TEXTS = ("Hello ", "world, this is a reply.")
FIRST = TEXTS[0].strip().encode()

DIALECTS = {
    "acytoo": dialects.Acytoo(), "openai": dialects.OpenAI(), "openai-responses": dialects.OpenAIResponses(),
    "anthropic": dialects.Anthropic(), "gemini": dialects.Gemini(), "ollama": dialects.Ollama(),
}  # fmt: skip

PAIRS = [(name, name) for name in DIALECTS] + [
    ("openai", "anthropic"), ("anthropic", "openai"), ("openai-responses", "gemini"), ("gemini", "ollama"),
    ("ollama", "openai-responses"), ("acytoo", "openai"), ("openai", "acytoo"),
]  # fmt: skip
"""The caller's dialect and the upstream's: passed through, then translated."""


@dataclass(frozen=True)
class Attempt:
    """What the ledger has of an attempt. `status` None is not compared: it depends on who is first."""

    outcome: str
    counted: str
    """"reported": what the upstream reported; "estimated": the request and the part of the reply that was received;
    "input": the request, estimated; "nothing"."""
    status: int | None = 200
    upstream: str = "up"


COMPLETE = Attempt("complete", "reported")
OK = reply(*TEXTS, USAGE, Finish("stop"))


Script: TypeAlias = ScriptedResponse | Callable[[Dialect, ReceivedRequest], ScriptedResponse]


def document_of(dialect: Dialect, received: ReceivedRequest) -> bytes:
    return dialect.write_reply(collect([*TEXTS, USAGE, Finish("stop")]), received.decode(dialect))


def as_document(dialect: Dialect, received: ReceivedRequest) -> ScriptedResponse:
    """Return the complete reply as one document."""
    return ScriptedResponse(BodyContent((document_of(dialect, received),), "application/json"), framing="length")


def cut_in_document(dialect: Dialect, received: ReceivedRequest) -> ScriptedResponse:
    """Return the reply as one document that is cut after the first text."""
    document = document_of(dialect, received)
    return as_document(dialect, received).reset(after_bytes=document.index(FIRST) + len(TEXTS[0]))


def stalled_in_document(dialect: Dialect, received: ReceivedRequest) -> ScriptedResponse:
    """Return the reply as one document that stalls after the first text."""
    document = document_of(dialect, received)
    return as_document(dialect, received).stall(after_bytes=document.index(FIRST) + len(TEXTS[0]))


@dataclass(frozen=True)
class Way:
    """One way a call can end: the name in the tables, what the upstreams do, and what is expected."""

    name: str
    scripts: Sequence[Script]
    attempts: Sequence[Attempt]
    leaves: str = ""
    """When the client leaves: "early", before it has received anything, or after the first "text"; "" is never."""
    model: str = "up/m"
    others: Sequence[ScriptedResponse] = (OK,)
    """What the second upstream does."""
    settings: str = ""
    """Further settings of the first upstream."""
    document: Script | None = None
    """What the upstream does if no stream is requested."""
    only: str = ""
    """"stream" or "document", if it can happen to only one of them."""
    apis: Iterable[str] = tuple(DIALECTS)
    """The upstream's dialects in which it can happen."""
    callers: Iterable[str] = tuple(DIALECTS)
    why: str = ""


REPORTING = tuple(name for name in DIALECTS if name != "acytoo")
"""The dialects that report usage."""

WAYS = [
    Way("complete", [OK], [COMPLETE]),
    Way("incomplete (length)", [reply(*TEXTS, USAGE, Finish("length"))], [Attempt("incomplete", "reported")],
        apis=REPORTING,
        why="services bill what they have written"),
    Way("content filter", [reply(*TEXTS, USAGE, Finish("content_filter"))], [Attempt("content_filter", "reported")],
        apis=("openai", "gemini", "openai-responses", "anthropic"),
        why="services bill a filtered reply too"),
    Way("no usage sent", [reply(*TEXTS, Finish("stop"))], [Attempt("complete", "estimated")]),
    Way("usage sent twice", [reply(Usage(1, 1), *TEXTS, Usage(2, 2), USAGE, Finish("stop"))], [COMPLETE],
        why="the last report counts, reports are not added"),
    *[
        Way(f"refused by the upstream with {code}", [status(code)], [Attempt(error, "nothing", code)])
        for code, error in [
            (400, "RequestError"), (401, "AuthenticationError"), (403, "AuthenticationError"), (404, "NotFoundError"),
            (413, "RequestError"), (422, "RequestError"), (429, "RateLimitError"), (500, "ServerError"),
            (503, "ServerError"), (529, "ServerError"),
        ]
    ],
    Way("error in the stream before the content", [reply(*TEXTS).fail()], [Attempt("ServerError", "nothing")],
        only="stream", apis=REPORTING,
        why="the upstream reported that it will not answer"),
    Way("error in the stream after content", [reply(*TEXTS).fail(after=1)], [Attempt("ServerError", "estimated")],
        only="stream", apis=REPORTING),
    Way("unreachable", [], [Attempt("UnreachableError", "nothing", 0)]),
    Way("connection closed without a response", [hang_up()], [Attempt("UnreachableError", "nothing", 0)],
        why="the connection may have been closed before the request was read"),
    Way("not HTTP", [garbage()], [Attempt("ProtocolError", "nothing", 0)]),
    Way("a web page", [page()], [Attempt("ProtocolError", "input")],
        why="it has a status that reports success"),
    Way("cut before the content", [OK.reset(after_bytes=0)], [Attempt("TruncatedError", "input")]),
    Way("cut after content", [OK.reset(after=1)], [Attempt("TruncatedError", "estimated")],
        document=cut_in_document),
    Way("ended without an end", [reply(*TEXTS).without_end()], [Attempt("TruncatedError", "estimated")],
        only="stream", apis=REPORTING),
    Way("timed out before the head", [silent()], [Attempt("TimedOutError", "input", 0)],
        settings="timeout = {first_byte = 0.3}",
        why="the upstream may be working"),
    Way("timed out before the content", [OK.stall(after_bytes=0)], [Attempt("TimedOutError", "input")],
        settings="timeout = {first_byte = 0.3}"),
    Way("timed out after content", [OK.stall(after=1)], [Attempt("TimedOutError", "estimated")],
        document=stalled_in_document,
        settings="timeout = {idle = 0.3, first_byte = 0.3}"),
    Way("client left before the head", [silent()], [Attempt("left", "input", 0)], leaves="early",
        why="the upstream may be working"),
    Way("client left while it waited", [OK.stall(after_bytes=0)], [Attempt("left", "input", None)], leaves="early"),
    Way("client left after content", [OK.stall(after=1)], [Attempt("left", "estimated")], leaves="text",
        only="stream"),
    Way("retried", [status(503), OK], [Attempt("ServerError", "nothing", 503), COMPLETE], model="retried"),
    Way("retried in vain", [status(503)], [Attempt("ServerError", "nothing", 503)] * 2, model="retried"),
    Way("fell back", [status(404)],
        [Attempt("NotFoundError", "nothing", 404), Attempt("complete", "reported", 200, "other")], model="both"),
    Way("fell back after a cut", [OK.reset(after_bytes=0)],
        [Attempt("TruncatedError", "input"), Attempt("complete", "reported", 200, "other")], model="both"),
    Way("redirected", [redirect("http://127.0.0.1:1/elsewhere")], [Attempt("RedirectError", "nothing", 0)]),
    Way("called tools", [reply(ToolCall(0, "call_1", "now", "{}"), USAGE, Finish("tool_calls"))], [COMPLETE],
        apis=REPORTING, callers=REPORTING),
    Way("empty", [reply(Finish("stop"))], [Attempt("complete", "input")], apis=REPORTING),
    Way("document in place of a stream", [as_document], [COMPLETE], only="stream", apis=REPORTING),
    Way("hedged", [silent()],
        [Attempt("cancelled", "input", 0), Attempt("complete", "reported", 200, "other")], model="hedged",
        why="both have been asked"),
]  # fmt: skip


CONFIG = """
[upstreams.up]
provider = "{provider}"
url = "{up}"
key = "env:UPSTREAM_KEY"
tokens_per_day = 1000000000
budget_per_month = 1000000
{settings}
[upstreams.other]
provider = "{provider}"
url = "{other}"
key = "env:UPSTREAM_KEY"
tokens_per_day = 1000000000
[models.retried]
targets = ["up/m"]
attempts = 2
[models.both]
targets = ["up/m", "other/m"]
next_on = ["NotFoundError", "TruncatedError"]
[models.hedged]
targets = ["up/m", "other/m"]
hedge = true
[keys.bot]
hash = "{hash}"
requests_per_day = 1000000
tokens_per_day = 1000000000
budget_per_month = 1000000
concurrent = 10
[prices."up/m"]
input = 1.0
output = 4.0
cached = 0.5
[prices."other/m"]
input = 3.0
output = 5.0
"""


class Rows(NoLedger):
    """A ledger that keeps its rows here. Real ones have tests of their own."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._added = asyncio.Event()

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows."""
        self.rows += rows
        self._added.set()

    async def wait(self) -> list[Row]:
        """Return the rows once there are any."""
        await self._added.wait()
        return self.rows


class Gateway:
    """A real server with a config in front of fake upstreams."""

    def __init__(self, url: str, control: GatewayControl, ledger: Rows, counters: MemoryCounters) -> None:
        self.url = url
        self.control = control
        self.ledger = ledger
        self._counters = counters

    async def used(self, counter: str, window: Window) -> int:
        """Return how much is counted."""
        held = await self._counters.reserve([Claim(counter, window, 2**62, 0)])
        assert isinstance(held, Hold)
        return held.levels[0].used


@asynccontextmanager
async def gateway(api: str, up: str, other: str, settings: str = "", more: str = "") -> AsyncIterator[Gateway]:
    text = CONFIG.format(provider=api, up=up, other=other, settings=settings, hash=hash_secret(KEY))
    config = parse(text + more, Path("acytoo.toml"))
    backends = create_backends(config)
    for _ in range(20):
        hedged = backends["hedged"]
        assert isinstance(hedged, Route)
        hedged.note_first_content(0.02)
    ledger, counters = Rows(), MemoryCounters()
    control = GatewayControl(Setup(config, backends, Secret(), prices_of(config)), counters, ledger)
    server_config = ServerConfig(backends, has_keys=True, port=0, grace=1.0)
    server, url = await start(server_config, application=Application(server_config, control))
    try:
        yield Gateway(url, control, ledger, counters)
    finally:
        await server.close()


async def send(
    url: str, dialect: Dialect, request: Request, key: str = KEY, body: bytes | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request, perhaps with another body, and return the connection."""
    encoded = dialect.encode_request(request, Endpoint(url, Secret(key)), Unsupported(dialect.name, drop=True))
    if body is not None:
        encoded.body = body
    parts = urlsplit(encoded.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    headers = {**encoded.headers, "host": parts.netloc, "connection": "close", "content-length": str(len(encoded.body))}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    writer.write("\r\n".join([*lines, "", ""]).encode() + encoded.body)
    return reader, writer


async def call(
    url: str, dialect: Dialect, request: Request, key: str = KEY, body: bytes | None = None
) -> tuple[int, bytes]:
    """Return the status and the body of the response to a request, as far as they arrive."""
    reader, writer = await send(url, dialect, request, key, body)
    received = bytearray()
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionError:
        pass
    writer.close()
    head, _, content = bytes(received).partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, content


async def leave(url: str, dialect: Dialect, request: Request, fake: FakeEndpoint, after: str) -> None:
    """Send a request, and close the connection before or after the first text of the reply."""
    reader, writer = await send(url, dialect, request)
    await fake.received()
    received = b""
    while after == "text" and FIRST not in received:
        received += await reader.read(65536)
    writer.transport.abort()


def cases() -> Iterable[object]:
    for way in WAYS:
        for caller, api in PAIRS:
            for mode in ("stream", "document"):
                if (
                    api in way.apis
                    and caller in way.callers
                    and way.only in ("", mode)
                    and not (api == "acytoo" and mode == "document")
                ):
                    yield pytest.param(way, caller, api, mode, id=f"{way.name}-{caller}-{api}-{mode}".replace(" ", "-"))


@pytest.mark.parametrize(("way", "caller", "api", "mode"), list(cases()))
async def test_what_is_recorded_is_what_the_upstream_counts(
    way: Way, caller: str, api: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    if mode == "document" and way.document is not None:
        way = replace(way, scripts=[way.document])
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        scripts = [
            script if isinstance(script, ScriptedResponse) else functools.partial(script, DIALECTS[api])
            for script in way.scripts or [OK]
        ]
        up = await stack.enter_async_context(FakeEndpoint(DIALECTS[api], *scripts))
        other = await stack.enter_async_context(FakeEndpoint(DIALECTS[api], *way.others))
        up_url = up.url
        if not way.scripts:
            up_url = f"http://127.0.0.1:{stack.enter_context(refused_port())}"
        served = await stack.enter_async_context(gateway(api, up_url, other.url, way.settings))
        request = Request([{"role": "user", "content": "Hello, how are you?"}], way.model, stream=mode == "stream")
        if way.leaves:
            await leave(served.url, DIALECTS[caller], request, up, way.leaves)
        else:
            await call(served.url, DIALECTS[caller], request)
        rows = await served.ledger.wait()
        check_rows(way, rows, caller, api)
        received = {"up": len(up.requests), "other": len(other.requests)}
        sent = {name: sum(row.upstream == name for row in rows) for name in received}
        assert received == (sent if way.scripts else {"up": 0, "other": 0})
        await check_counters(served, rows)


TIGHT = """
[upstreams.tight]
provider = "{api}"
url = "{url}"
key = "env:UPSTREAM_KEY"
concurrent = 2
[models.crowd]
targets = ["up/m", "tight/m", "other/m"]
hedge = true
[prices."tight/m"]
input = 2.0
output = 2.0
"""


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
async def test_hedged_requests_of_a_crowd_are_recorded_as_the_upstreams_count_them(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    crowd = [OK, silent(), status(503), OK.wait(0.05, after=0), OK.reset(after_bytes=0), OK, status(404)] * 20
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        up, tight, other = [
            await stack.enter_async_context(FakeEndpoint(DIALECTS[api], *scripts))
            for scripts in (crowd, [OK.wait(0.03, after=0)], [OK, OK.wait(0.02, after=0)] * 100)
        ]
        more = TIGHT.format(api=api, url=tight.url)
        served = await stack.enter_async_context(gateway(api, up.url, other.url, more=more))
        hedged = served.control.setup.backends["crowd"]
        assert isinstance(hedged, Route)
        for _ in range(100):
            hedged.note_first_content(0.02)
        places = asyncio.Semaphore(10)  # as many as the key may have in progress

        async def ask(number: int) -> int:
            stream = number % 2 == 0
            request = Request([{"role": "user", "content": "Hello, how are you?"}], "crowd", stream=stream)
            async with places:
                return (await call(served.url, DIALECTS["openai" if number % 3 else "ollama"], request))[0]

        statuses = await asyncio.gather(*map(ask, range(80)))
        assert {*statuses} == {200}
        rows = served.ledger.rows
        # One that was left while it was being connected has a row that counts nothing.
        sent = [row.upstream for row in rows if row.status or row.input_tokens]
        for name, fake in {"up": up, "tight": tight, "other": other}.items():
            if number := sent.count(name):
                await fake.received(number)
            assert len(fake.requests) == number
        assert len({row.request_id for row in rows}) == 80
        await check_counters(served, rows)
        assert await served.used("upstream:tight:concurrent", "flight") == 0


def check_rows(way: Way, rows: Sequence[Row], caller: str, api: str) -> None:
    found = [(row.outcome, row.status, row.upstream) for row in rows]
    expected = [
        (attempt.outcome, row.status if attempt.status is None else attempt.status, attempt.upstream)
        for attempt, row in zip(way.attempts, rows, strict=False)
    ]
    assert found == expected
    assert len(rows) == len(way.attempts)
    for number, (attempt, row) in enumerate(zip(way.attempts, rows, strict=True), 1):
        assert (row.attempt, row.key, row.dialect, row.model) == (number, "bot", caller, way.model)
        assert row.target == f"{attempt.upstream}/m"
        counted = "estimated" if attempt.counted == "reported" and api == "acytoo" else attempt.counted
        check_tokens(row, counted, api)
        prices = {"up": (1000, 4000, 500), "other": (3000, 5000, 3000)}[row.upstream]
        plain = row.input_tokens - row.cached_tokens
        assert row.cost == plain * prices[0] + row.output_tokens * prices[1] + row.cached_tokens * prices[2]


def check_tokens(row: Row, counted: str, api: str) -> None:
    tokens = (row.input_tokens, row.output_tokens, row.cached_tokens)
    assert row.is_estimated == (counted in ("estimated", "input"))
    if counted == "nothing":
        assert tokens == (0, 0, 0)
    elif counted == "reported":
        assert tokens == (USAGE.input_tokens, USAGE.output_tokens, 0 if api == "ollama" else USAGE.cached_tokens)
    elif counted == "input":
        assert 0 < row.input_tokens < 100
        assert row.output_tokens == 0
    else:
        assert 0 < row.input_tokens < 100
        texts = TEXTS if row.outcome == "complete" else TEXTS[:1]
        received = -(-len("".join(texts)) // BYTES_PER_TOKEN)
        assert received <= row.output_tokens <= 4 * received


async def check_counters(served: Gateway, rows: Sequence[Row]) -> None:
    tokens = sum(row.input_tokens + row.output_tokens for row in rows)
    assert await served.used("key:bot:tokens", "day") == tokens
    assert await served.used("key:bot:money", "month") == sum(row.cost or 0 for row in rows)
    assert await served.used("key:bot:requests", "day") == len({row.request_id for row in rows if row.attempt})
    assert await served.used("key:bot:concurrent", "flight") == 0
    for name in ("up", "other"):
        own = [row for row in rows if row.upstream == name]
        assert await served.used(f"upstream:{name}:tokens", "day") == sum(r.input_tokens + r.output_tokens for r in own)
    assert await served.used("upstream:up:money", "month") == sum(r.cost or 0 for r in rows if r.upstream == "up")


@dataclass(frozen=True)
class Refusal:
    """A request that is refused before anything is sent to an upstream."""

    name: str
    status: int
    outcome: str
    """In the ledger; "" if there is no row."""
    model: str = "up/m"
    key: str = KEY
    counted: str = "bot"
    """The name of the key."""


REFUSALS = [
    Refusal("unknown model", 404, "NotFoundError", model="nonsense"),
    Refusal("model that the key may not use", 404, "NotFoundError", key="sk-narrow", counted="narrow"),
    Refusal("limit of the key reached", 429, "RateLimitError", key="sk-poor", counted="poor"),
    Refusal("limit of the upstream reached", 429, "RateLimitError", model="poor/m"),
    Refusal("budget without a price", 403, "AuthenticationError", model="unpriced/m"),
    Refusal("ledger full", 503, "ServerError"),
    Refusal("invalid request", 400, "RequestError"),
    Refusal("wrong key", 401, "", key="sk-wrong"),
    Refusal("expired key", 401, "", key="sk-expired", counted="expired"),
]

REFUSING = """
[upstreams.poor]
provider = "{provider}"
url = "{up}"
key = "env:UPSTREAM_KEY"
tokens_per_day = 1
[upstreams.unpriced]
provider = "{provider}"
url = "{up}"
key = "env:UPSTREAM_KEY"
[prices."poor/m"]
input = 1.0
output = 1.0
[keys.narrow]
hash = "{narrow}"
models = ["other/*"]
[keys.poor]
hash = "{poor}"
tokens_per_day = 1
[keys.expired]
hash = "{expired}"
expires = 2020-01-01
"""


@pytest.mark.parametrize("mode", ["stream", "document"])
@pytest.mark.parametrize("caller", DIALECTS)
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
async def test_a_request_that_is_refused_here_costs_nothing(
    refusal: Refusal, caller: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    dialect = DIALECTS[caller]
    if caller == "acytoo" and refusal.name == "invalid request":
        refusal = replace(refusal, status=401, outcome="")  # its key is in the body
    async with asyncio.timeout(LIMIT), FakeEndpoint(dialect, OK) as up:
        hashes = {name: hash_secret(f"sk-{name}") for name in ("narrow", "poor", "expired")}
        more = REFUSING.format(provider=caller, up=up.url, **hashes)
        async with gateway(caller, up.url, up.url, more=more) as served:
            served.ledger.is_full = refusal.name == "ledger full"
            request = Request([{"role": "user", "content": "Hello"}], refusal.model, stream=mode == "stream")
            body = b'{"messages": 7,' if refusal.name == "invalid request" else None
            code, _ = await call(served.url, dialect, request, refusal.key, body)
            rows = served.ledger.rows
            for counter in ("requests", "tokens"):
                assert await served.used(f"key:{refusal.counted}:{counter}", "day") == 0
            assert await served.used(f"key:{refusal.counted}:money", "month") == 0
            assert await served.used(f"key:{refusal.counted}:concurrent", "flight") == 0
    assert code == refusal.status
    assert not up.requests
    if not refusal.outcome:
        assert rows == []
        return
    (row,) = rows
    assert (row.attempt, row.key, row.dialect) == (0, refusal.counted, caller)
    assert (row.status, row.outcome, row.target, row.upstream) == (refusal.status, refusal.outcome, "", "")
    assert row.model == ("" if refusal.name == "invalid request" else refusal.model)
    assert (row.input_tokens, row.output_tokens, row.is_estimated, row.cost) == (0, 0, False, 0)


EARLY = {
    "openai": (b'"choices":[', b'"usage":{"prompt_tokens":1100,"completion_tokens":3,'
               b'"prompt_tokens_details":{"cached_tokens":100}},"choices":['),
    "anthropic": (b'"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
                  b'"output_tokens":0}',
                  b'"usage":{"input_tokens":1000,"cache_read_input_tokens":100,"output_tokens":3}'),
    "gemini": (b'"modelVersion"', b'"usageMetadata":{"promptTokenCount":1100,"candidatesTokenCount":3,'
               b'"totalTokenCount":1103,"cachedContentTokenCount":100},"modelVersion"'),
}  # fmt: skip
"""What is replaced in the records of the texts, so that they report the usage so far, as servers of these APIs do."""

ENDS = {
    "usage at the end too": COMPLETE,
    "no usage at the end": Attempt("complete", "partial"),
    "cut": Attempt("TruncatedError", "partial"),
    "client left": Attempt("left", "partial"),
}


def early_usage(dialect: Dialect, end: str) -> Callable[[ReceivedRequest], ScriptedResponse]:
    """Return a script that reports usage with the first texts."""

    def respond(received: ReceivedRequest) -> ScriptedResponse:
        writer = dialect.writer(received.decode(dialect))
        old, new = EARLY[dialect.name]
        texts = [writer.write([text]).replace(old, new) for text in TEXTS]
        last = (
            writer.write([USAGE, Finish("stop")] if end == "usage at the end too" else [Finish("stop")]) + writer.end()
        )
        if dialect.name == "anthropic" and end == "no usage at the end":
            last = last.replace(b',"usage":' + EARLY["anthropic"][0].partition(b":")[2], b"")
        pieces = (*texts, last) if end not in ("cut", "client left") else tuple(texts)
        response = ScriptedResponse(BodyContent(pieces, writer.content_type), framing="chunked")
        return response.reset() if end == "cut" else response.stall() if end == "client left" else response

    return respond


@pytest.mark.parametrize(
    ("caller", "api", "end"),
    [
        (caller, api, end)
        for caller, api in PAIRS
        for end in ENDS
        if api in EARLY and (api == "anthropic" or end != "no usage at the end")
    ],
)
async def test_usage_that_is_sent_before_the_end_counts_once_and_not_as_the_whole(
    caller: str, api: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS[api], early_usage(DIALECTS[api], end)) as up:
        async with gateway(api, up.url, up.url) as served:
            request = Request([{"role": "user", "content": "Hello, how are you?"}], "up/m")
            if end == "client left":
                await leave(served.url, DIALECTS[caller], request, up, "text")
            else:
                await call(served.url, DIALECTS[caller], request)
            (row,) = await served.ledger.wait()
            await check_counters(served, [row])
    assert row.outcome == ENDS[end].outcome
    assert row.is_estimated == (ENDS[end].counted == "partial")
    assert (row.input_tokens, row.cached_tokens) == (USAGE.input_tokens, USAGE.cached_tokens)
    if row.is_estimated:
        # What has arrived when a client leaves depends on who is first.
        least = len(TEXTS[0] if end == "client left" else "".join(TEXTS)) // BYTES_PER_TOKEN
        assert least <= row.output_tokens <= USAGE.output_tokens / 2
    else:
        assert row.output_tokens == USAGE.output_tokens


@asynccontextmanager
async def process(folder: Path, up: str, grace: float = 0.2) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Yield an `acytoo serve --config` process, and its URL. Its ledger is a file in the folder."""
    config = CONFIG.format(provider="openai", up=up, other=up, settings="", hash=hash_secret(KEY))
    path = folder / "acytoo.toml"
    path.write_text(f"[server]\nport = 0\ngrace = {grace}\n{config}")
    server = await asyncio.create_subprocess_exec(
        *[ACYTOO, "serve", "--config", str(path)],
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "UPSTREAM_KEY": "key-of-the-upstream-0123456789"},
    )
    try:
        assert server.stderr is not None
        line = (await server.stderr.readline()).decode()
        yield server, next(word for word in line.split() if word.startswith("http://"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.communicate()


async def outcomes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return how many requests ended in each way, and how many tokens their replies had, from the ledger."""
    ledger = await open_ledger(f"sqlite:{folder / 'acytoo.db'}", read_only=True)
    rows = await ledger.usage(0, 1e11, ["outcome"])
    await ledger.close()
    return {row.group["outcome"]: (row.requests, row.output_tokens) for row in rows}


ASKED = Request([{"role": "user", "content": "Hello, how are you?"}], "up/m")


async def test_a_server_that_is_stopped_has_recorded_everything(tmp_path: Path) -> None:
    scripts = [OK] * 30 + [OK.stall(after=1)]
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS["openai"], *scripts) as up:
        async with process(tmp_path, up.url) as (server, url):
            for _ in range(30):
                await call(url, DIALECTS["openai"], ASKED)
            reader, writer = await send(url, DIALECTS["openai"], ASKED)
            while FIRST not in await reader.readline():
                pass
            server.send_signal(signal.SIGTERM)
            assert await server.wait() == 0
            writer.close()
        assert len(up.requests) == 31
    assert await outcomes(tmp_path) == {"complete": (30, 30 * USAGE.output_tokens), "stopped": (1, 2)}


async def test_a_client_that_leaves_a_server_which_is_stopping_has_left(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS["openai"], OK.stall(after=1)) as up:
        async with process(tmp_path, up.url, grace=LIMIT) as (server, url):
            reader, writer = await send(url, DIALECTS["openai"], ASKED)
            while FIRST not in await reader.readline():
                pass
            server.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                while True:
                    socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)).close()
                    await asyncio.sleep(0.01)
            writer.close()
            assert await server.wait() == 0
    assert await outcomes(tmp_path) == {"left": (1, 2)}


async def test_a_killed_server_has_recorded_what_ended_before_the_last_write(tmp_path: Path) -> None:
    scripts = [OK] * 30 + [OK.stall(after=1)]
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS["openai"], *scripts) as up:
        async with process(tmp_path, up.url) as (server, url):
            for _ in range(30):
                await call(url, DIALECTS["openai"], ASKED)
            while (await outcomes(tmp_path)).get("complete") != (30, 30 * USAGE.output_tokens):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            _, writer = await send(url, DIALECTS["openai"], ASKED)
            await up.received(31)
            server.kill()
            await server.wait()
            writer.close()
        assert await outcomes(tmp_path) == {"complete": (30, 30 * USAGE.output_tokens)}
        async with process(tmp_path, up.url) as (_, url):
            code, _ = await call(url, DIALECTS["openai"], ASKED, "sk-wrong")
            assert code == 401


@pytest.mark.parametrize(("api", "path"), [("openai", "/v1/completions"), ("ollama", "/api/generate")])
async def test_legacy_endpoints_are_counted_too(api: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS[api], OK) as up:
        async with gateway(api, up.url, up.url) as served:
            body = b'{"model":"up/m","prompt":"Hello","stream":false}'
            parts = urlsplit(served.url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
            assert b"Hello world" in await reader.read()
            writer.close()
            (row,) = await served.ledger.wait()
            await check_counters(served, [row])
    assert (row.outcome, row.input_tokens, row.output_tokens) == ("complete", USAGE.input_tokens, USAGE.output_tokens)


@pytest.mark.parametrize("mode", ["stream", "document"])
@pytest.mark.parametrize("ending", ["left", "TimedOutError"])
@pytest.mark.parametrize("caller", DIALECTS)
async def test_what_an_upstream_cannot_have_received_costs_nothing(
    caller: str, ending: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    async with asyncio.timeout(LIMIT), black_hole() as port:
        up = f"http://127.0.0.1:{port}"
        async with gateway("openai", up, up, "timeout = {connect = %s}" % (0.3 if ending != "left" else 60)) as served:
            request = Request([{"role": "user", "content": "Hello"}], "up/m", stream=mode == "stream")
            _, writer = await send(served.url, DIALECTS[caller], request)
            if ending == "left":
                # Its tokens are reserved just before the upstream is connected.
                while not await served.used("upstream:up:tokens", "day"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                writer.transport.abort()
            (row,) = await served.ledger.wait()
            await check_counters(served, [row])
            writer.close()
    assert (row.attempt, row.outcome, row.status, row.target) == (1, ending, 0, "up/m")
    assert (row.input_tokens, row.output_tokens, row.is_estimated, row.cost) == (0, 0, False, 0)


async def test_a_target_whose_upstream_is_at_its_limit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    async with (
        asyncio.timeout(LIMIT),
        FakeEndpoint(DIALECTS["openai"], OK) as up,
        FakeEndpoint(DIALECTS["openai"], OK) as other,
    ):
        more = f"""
            [upstreams.small]
            provider = "openai"
            url = "{up.url}"
            key = "env:UPSTREAM_KEY"
            requests_per_day = 1
            [prices.small]
            input = 1.0
            output = 4.0
            [models.limited]
            targets = ["small/m", "other/m"]
        """
        async with gateway("openai", up.url, other.url, more=more) as served:
            for _ in range(2):
                request = Request([{"role": "user", "content": "Hello"}], "limited")
                assert (await call(served.url, DIALECTS["openai"], request))[0] == 200
            rows = served.ledger.rows
            await asyncio.sleep(0)
            assert await served.used("upstream:small:requests", "day") == 1
            assert await served.used("key:bot:requests", "day") == 2
    assert [(row.attempt, row.target, row.outcome) for row in rows] == [
        (1, "small/m", "complete"),
        (1, "other/m", "complete"),
    ]
    assert (len(up.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize("caller", DIALECTS)
async def test_a_reply_from_the_cache_costs_nothing_and_is_a_request(
    caller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "key-of-the-upstream-0123456789")
    async with asyncio.timeout(LIMIT), FakeEndpoint(DIALECTS["openai"], OK) as up:
        more = '[models.kept]\ntargets = ["up/m"]\ncache = 600\n'
        async with gateway("openai", up.url, up.url, more=more) as served:
            for _ in range(3):
                request = Request([{"role": "user", "content": "Hello"}], "kept", temperature=0.0)
                assert (await call(served.url, DIALECTS[caller], request))[0] == 200
            rows = served.ledger.rows
            assert await served.used("key:bot:requests", "day") == 3
            assert await served.used("key:bot:money", "month") == rows[0].cost
            assert await served.used("upstream:up:tokens", "day") == USAGE.input_tokens + USAGE.output_tokens
    assert len(up.requests) == 1
    assert [(row.attempt, row.outcome, row.status, row.target) for row in rows] == [
        (1, "complete", 200, "up/m"),
        (0, "cached", 200, ""),
        (0, "cached", 200, ""),
    ]
    assert {(row.input_tokens, row.output_tokens) for row in rows} == {(USAGE.input_tokens, USAGE.output_tokens)}
    assert [row.cost for row in rows[1:]] == [0, 0]


def test_the_page_has_the_tables_of_these_tests() -> None:
    from tests.gateway.billing_page import page

    assert (Path(__file__).parents[2] / "docs" / "billing.md").read_text(encoding="utf-8") == page(), (
        "run: python -m tests.gateway.billing_page > docs/billing.md"
    )
