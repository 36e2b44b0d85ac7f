"""The tasks of the guard: fixed amounts of work on the hot paths of the wire, the dialects, the routes and the gateway.

The guard may run an older commit's copy of this file, so the protocol of `main` must stay as it is.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from acytoo import AsyncGeneratorProvider, Route, dialects
from acytoo.client import BatchStream, OnEnd
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.translate import translate
from acytoo.gateway.backends import create_backends
from acytoo.gateway.config import load
from acytoo.gateway.control import GatewayControl
from acytoo.gateway.counters import MemoryCounters
from acytoo.gateway.ledger import NoLedger, Row
from acytoo.gateway.ledger_sql import columns_of
from acytoo.gateway.metrics import Metrics
from acytoo.gateway.setup import Setup, prices_of
from acytoo.http import Endpoint, HTTPResponse, ResponseHead, ServerRequest
from acytoo.observation import Received
from acytoo.secret import Secret
from acytoo.server.response import encode_response
from acytoo.types import Finish, Item, Request, Start, Usage, collect
from acytoo.wire.ndjson import NDJSONDecoder
from acytoo.wire.sse import SSEDecoder
from acytoo.wire.text import TextDecoder
from bench import team

_ITEMS: list[Item] = [" word"] * 100
_REQUEST = Request([{"role": "user", "content": "Hello, how are you?"}], "m", extra={}, extra_for="openai")
_TYPES = {"acytoo": "text/plain", "ollama": "application/x-ndjson"}


def _body(dialect: Dialect) -> list[bytes]:
    """Return a reply of 300 texts in three chunks."""
    writer = dialect.writer(_REQUEST)
    first = writer.write([Start("id", "m", 1), *_ITEMS])
    last = writer.write([*_ITEMS, Finish("stop"), Usage(9, 9)]) + writer.end()
    return [first, writer.write(_ITEMS), last]


def _read(dialect: Dialect, *, scan: bool = False) -> Callable[[], None]:
    """Return a task that reads a reply, or only scans it as pass-through does."""
    chunks = _body(dialect)
    head = ResponseHead(200, {"content-type": _TYPES.get(dialect.name, "text/event-stream")})

    def work() -> None:
        reader = dialect.reader(head)
        read = reader.scan if scan else reader.feed
        for chunk in chunks:
            read(chunk)
        reader.flush()
        reader.close()

    return work


def _write(dialect: Dialect) -> Callable[[], None]:
    def work() -> None:
        _body(dialect)

    return work


def _build(dialect: Dialect) -> Callable[[], None]:
    endpoint = Endpoint("http://127.0.0.1:1")

    def work() -> None:
        dialect.encode_request(_REQUEST, endpoint, Unsupported(dialect.name, drop=True))

    return work


def _translate() -> None:
    """Do what the dialects do for one short request of Anthropic's API whose backend has OpenAI's."""
    source, target = dialects.Anthropic(), dialects.OpenAI()
    body = b'{"model":"m","max_tokens":1000,"messages":[{"role":"user","content":"Hello, how are you?"}]}'
    request = source.decode_request_lenient(ServerRequest("/v1/messages", {}, body)).request
    unsupported = Unsupported(target.name)
    target.encode_request(translate(request, source, unsupported), Endpoint("http://127.0.0.1:1"), unsupported)
    reader = target.reader(ResponseHead(200, {"content-type": "application/json"}))
    reader.feed(_DOCUMENT)
    source.write_reply(collect(reader.flush()), request)


_DOCUMENT = (
    b'{"id":"c-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Hello!","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":24,"completion_tokens":48,"total_tokens":72}}'
)


def _decode(make: Callable[[], SSEDecoder | NDJSONDecoder | TextDecoder], chunk: bytes) -> Callable[[], None]:
    def work() -> None:
        feed = make().feed
        for _ in range(3):
            feed(chunk)

    return work


class _Stub(AsyncGeneratorProvider):
    """A provider without an endpoint, of which the route is the larger part of the work."""

    url = "http://127.0.0.1:1"
    dialect = dialects.OpenAI()

    def answer(self, request: Request, *args: Any, **kwargs: Any) -> BatchStream[list[Item]]:
        return _ShortReply()


class _ShortReply(BatchStream[list[Item]]):
    """A reply without a request."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._held, self._on_end = None, None
        self._rest: list[list[Item]] = [[" word", Finish("stop")], [Start("id", "m", 1), " word", " word"]]

    def begin_within(self, seconds: float) -> bool:
        return True

    def accept(self, on_end: OnEnd) -> None:
        self._on_end = on_end

    async def __anext__(self) -> list[Item]:
        if (held := self._held) is not None:
            self._held = None
            return held
        if not self._rest:
            self._report_end("complete")
            raise StopAsyncIteration
        return self._rest.pop()

    async def aclose(self) -> None:
        self._report_end("cancelled")

    def _report_end(self, outcome: str) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(outcome, None)


def _in_a_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Return a task that does the work in an event loop, which the first call creates: naming tasks needs none."""
    loops: list[asyncio.AbstractEventLoop] = []

    def run() -> None:
        if not loops:
            loops.append(asyncio.new_event_loop())
        loops[0].run_until_complete(work())

    return run


def _route() -> Callable[[], None]:
    """Return a task that reads ten short replies through a route with one healthy target."""
    route = Route(_Stub())

    async def read() -> None:
        for _ in range(10):
            async for _ in route.stream(_REQUEST.messages, model="m"):
                pass

    return _in_a_loop(read)


class _Ledger(NoLedger):
    """A ledger that encodes the rows of a batch, and writes them nowhere."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def encode(self) -> None:
        columns_of(1, 0, self.rows)
        self.rows.clear()


def _gateway() -> Callable[[], None]:
    """Return a task that does what a gateway adds to a request: keys, limits, ledger, metrics and headers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "acytoo.toml"
        path.write_text(team.config("http://127.0.0.1:1/v1", "file:key", "none"))
        path.with_name("key").write_text("bench")
        config = load(path)
        backends = create_backends(config)
    setup = Setup(config, backends, Secret(), prices_of(config))
    ledger = _Ledger()
    control = GatewayControl(setup, MemoryCounters(), ledger, [Metrics(setup.model_names())])
    dialect = dialects.OpenAI()
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello, how are you?"}]}'
    parsed = dialect.decode_request(ServerRequest("/v1/chat/completions", {}, body))
    [leaf] = [leaf for leaf in setup.leaves if leaf != id(setup.backends["openai"])]
    backend: Any = setup.backends["gpt-4o-mini"]
    [provider] = [target.provider for target in backend.targets if id(target.provider) == leaf]
    route: Any = SimpleNamespace(dialect=dialect, template="/v1/chat/completions", path="/v1/chat/completions")

    async def answer() -> None:
        connection = SimpleNamespace(sent=0, address="127.0.0.1")
        request: Any = SimpleNamespace(connection=connection, headers={}, caller=None, method="POST", status=200)
        call = control.begin(request)
        request.caller = control.find([Secret("bench")])
        call.route = route
        await call.admit(parsed, dialect, len(body))
        attempt = call.observe(provider, parsed.request)
        await attempt.begin()
        attempt.has_begun = attempt.is_sent = True
        attempt.status = 200
        attempt.note_content()
        attempt.end("complete", Received(Usage(10, 20), Finish("stop"), 80))
        response = HTTPResponse(200, {"content-type": "application/json"}, b"{}")
        encode_response(response, True, "1.1", False, call.fields)
        call.end(None)

    async def ten() -> None:
        for _ in range(10):
            await answer()
        ledger.encode()

    return _in_a_loop(ten)


def tasks() -> dict[str, Callable[[], None]]:
    """Return every task by its name."""
    table = {
        "wire sse": _decode(SSEDecoder, b'data: {"a":"bcd"}\n\n' * 100),
        "wire sse, one byte at a time": lambda: _bytewise(b'data: {"a":"bcd"}\n\n' * 3),
        "wire ndjson": _decode(NDJSONDecoder, b'{"a":"bcd"}\n' * 100),
        "wire text": _decode(TextDecoder, "größer ".encode() * 100),
    }
    for dialect in dialects.ALL:
        table[f"{dialect.name} read"] = _read(dialect)
        table[f"{dialect.name} write"] = _write(dialect)
        table[f"{dialect.name} build"] = _build(dialect)
    table["anthropic to openai, short document"] = _translate
    table["openai pass on"] = _read(dialects.OpenAI(), scan=True)
    table["route with one healthy target, short reply"] = _route()
    table["gateway, ten requests"] = _gateway()
    return table


def _bytewise(data: bytes) -> None:
    feed = SSEDecoder().feed
    for place in range(len(data)):
        feed(data[place : place + 1])


def main() -> None:
    """Run the task that each line of stdin names, as often as the number before it; 0 is a warm-up."""
    gc.disable()
    table = tasks()
    for line in sys.stdin:
        times, _, name = line.strip().partition(" ")
        work = table[name]
        for _ in range(int(times) or 20):
            work()
        print("done", flush=True)


if __name__ == "__main__":
    main()
