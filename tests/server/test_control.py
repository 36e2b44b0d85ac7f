"""What a control sees of each request, and what it decides: a gateway's part, played by the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.base import ParsedRequest
from acytoo.errors import RateLimitError
from acytoo.http import HTTPResponse
from acytoo.secret import Secret
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.control import ANYONE, Ask, BackendReply, Call, Control
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import PathRoute
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, status
from acytoo.types import Finish, Request, Start
from tests.server.live_server import Response, backend, call, head, request

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
KEY = "authorization: Bearer sk-ci\r\n"


class Key:
    """A caller with a key."""

    name = "ci"
    max_body = 2000

    def allows(self, model: str) -> bool:
        return model.endswith("m-1")


class Noted(Call):
    """A call that notes everything, and may refuse or share."""

    def __init__(self, desk: Desk, request: IncomingRequest) -> None:
        self._desk = desk
        self._request = request
        self.route = None
        self.error = None
        self.fields = b"x-call: 7\r\n"

    async def admit(self, parsed: ParsedRequest, dialect: Dialect, size: int) -> None:
        self._desk.notes.append(("admit", dialect.name, size))
        if self._desk.refuses:
            raise RateLimitError("enough", status=429)

    def observe(self, backend: Any, wanted: Request) -> None:
        self._desk.notes.append(("observe", backend.model, wanted.model))

    def may_share(self, request: Request) -> bool:
        return self._desk.shares

    async def share(self, request: Request, ask: Ask) -> BackendReply:
        self._desk.notes.append(("share", request.messages[-1]["content"]))
        return await ask()

    def end(self, error: BaseException | None) -> None:
        path = self.route.path if self.route is not None else None
        reported = type(self.error).__name__ if self.error is not None else None
        self._desk.notes.append(("end", path, self._request.status, reported, error))


class Desk(Control):
    """A control that knows one key."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []
        self.refuses = self.shares = False

    def find(self, presented: Sequence[Secret]) -> Key | None:
        return Key() if "sk-ci" in [secret.reveal() for secret in presented] else None

    def begin(self, request: IncomingRequest) -> Call | None:
        self.notes.append(("begin", request.path))
        return Noted(self, request)

    def routes(self) -> Iterable[PathRoute]:
        async def handle(request: IncomingRequest) -> HTTPResponse:
            return json_response(request.caller.name if request.caller is not None else None)

        return [PathRoute("GET", "/who", handle)]


@asynccontextmanager
async def managed(*scripts: ScriptedResponse, behind: Dialect | None = None) -> AsyncIterator[tuple[int, Desk]]:
    """Run a server with a control over two backends of one endpoint."""
    desk = Desk()
    dialect = behind or dialects.OpenAI()
    async with FakeEndpoint(dialect, *scripts) as fake:
        first, second = backend(dialect, fake.url), backend(dialect, fake.url)
        config = ServerConfig({"first": first, "second": second}, Secret("sesame"), port=0, has_keys=True)
        server, url = await start(config, application=Application(config, desk))
        try:
            yield int(url.rpartition(":")[2]), desk
        finally:
            await server.close()


async def ask(port: int, data: bytes) -> Response:
    """Return the response; every one has the call's own header fields."""
    answer = await call(port, data)
    assert answer.headers["x-call"] == "7"
    return answer


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("shares", [True, False], ids=["shared", "alone"])
async def test_a_call_is_followed_from_its_head_to_its_end(dialect: Dialect, stream: bool, shares: bool) -> None:
    async with managed(HELLO) as (port, desk):
        desk.shares = shares
        data = request(dialect, stream=stream, headers=KEY if dialect.name != "acytoo" else "")
        if dialect.name == "acytoo":
            data = request(dialect, body=b'{"key": "sk-ci", "messages": [{"role": "user", "content": "Hi"}]}')
        body = data.partition(b"\r\n\r\n")[2]
        answer = await ask(port, data)
        assert answer.status == 200
        assert b"Hello" in answer.body
        path = data.split()[1].decode().partition("?")[0]
        route = path.replace("/models/m-1", "/models/{model:.+}")
        begun, admitted, *shared, observed, ended = desk.notes
        assert begun == ("begin", path)
        assert admitted == ("admit", dialect.name, len(body))
        assert observed[:2] == ("observe", "m-1")
        assert ended == ("end", route, 200, None, None)
        assert [name for name, *_ in shared] == (["share"] if shares else [])


@pytest.mark.parametrize(
    ("data", "code", "end"),
    [
        (request(headers=KEY, body=b"{"), 400, ("/v1/chat/completions", 400, "RequestError", None)),
        (request(), 401, ("/v1/chat/completions", 401, "WrongPasswordError", None)),
        (head("GET /nowhere HTTP/1.1", KEY), 404, (None, 404, "NotFoundError", None)),
        (head("GET /nowhere HTTP/1.1"), 401, (None, 401, "WrongPasswordError", None)),
        (head("GET /v1/messages HTTP/1.1", KEY), 405, (None, 405, "MethodNotAllowedError", None)),
        (head("GET /healthz HTTP/1.1"), 200, ("/healthz", 200, None, None)),
        (head("GET /healthz HTTP/1.1", KEY), 200, ("/healthz", 200, None, None)),
        (
            head("POST /v1/messages HTTP/1.1", KEY + "expect: cake\r\n"),
            417,
            ("/v1/messages", 417, "RequestError", None),
        ),
        (request(headers=KEY), 500, ("/v1/chat/completions", 500, "ServerError", None)),
    ],
    ids=range(9),
)
async def test_a_call_knows_the_error_that_was_reported(data: bytes, code: int, end: tuple[object, ...]) -> None:
    async with managed(status(500, "it broke")) as (port, desk):
        assert (await ask(port, data)).status == code
        assert desk.notes[-1] == ("end", *end)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages/count_tokens"])
async def test_a_call_that_is_not_admitted_reaches_no_backend(path: str) -> None:
    async with managed(HELLO) as (port, desk):
        desk.refuses = True
        data = request(headers=KEY, stream=False).replace(b"/v1/chat/completions", path.encode())
        if "count" in path:
            data = request("anthropic", headers=KEY, stream=False).replace(b"/v1/messages", path.encode())
        answer = await ask(port, data)
        assert answer.status == 429
        assert b"enough" in answer.body
        assert [note[0] for note in desk.notes] == ["begin", "admit", "end"]


async def test_an_error_in_mid_stream_is_known_to_the_call() -> None:
    async with managed(HELLO.fail("it broke", after=2)) as (port, desk):
        assert (await ask(port, request(headers=KEY))).status == 200
        assert desk.notes[-1] == ("end", "/v1/chat/completions", 200, "ServerError", None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [(KEY, ["m-1", "second/m-1"]), ("authorization: Bearer sesame\r\n", ["m-1", "second/m-1"])],
)
async def test_a_caller_sees_the_models_that_it_may_ask_for(headers: str, expected: list[str]) -> None:
    async with managed(HELLO) as (port, _):
        listed = json.loads((await ask(port, head("GET /v1/models HTTP/1.1", headers))).body)
        assert [model["id"] for model in listed["data"]] == expected
        assert (await ask(port, head("GET /v1/models/m-1 HTTP/1.1", headers))).status == 200
        assert (await ask(port, head("GET /v1/models/m-2 HTTP/1.1", headers))).status == 404


class Nothing(Key):
    """A caller that may ask for one backend only."""

    def allows(self, model: str) -> bool:
        return model.startswith("second/")


async def test_a_caller_sees_no_models_of_others() -> None:
    class Strict(Desk):
        def find(self, presented: Sequence[Secret]) -> Key | None:
            return Nothing() if super().find(presented) else None

    config = ServerConfig(
        {name: backend(dialects.OpenAI(), "http://127.0.0.1:9") for name in ("first", "second")},
        Secret("sesame"),
        port=0,
    )
    server, url = await start(config, application=Application(config, Strict()))
    port = int(url.rpartition(":")[2])
    for path in ("/v1/models", "/v1beta/models", "/api/tags"):
        for headers, number in ((KEY, 1), ("authorization: Bearer sesame\r\n", 2)):
            listed = json.loads((await call(port, head(f"GET {path} HTTP/1.1", headers))).body)
            assert len(listed.get("data") or listed["models"]) == number
    assert (await call(port, head("GET /v1/models/m-1 HTTP/1.1", KEY))).status == 404
    assert (await call(port, head("GET /v1/models/second/m-1 HTTP/1.1", KEY))).status == 200
    await server.close()


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_caller_may_have_a_limit_for_bodies_of_its_own(dialect: Dialect) -> None:
    in_body = dialect.name == "acytoo"
    async with managed(HELLO, HELLO) as (port, _):
        for key, limit in (("sk-ci", 2000), ("sesame", 0)):
            for size, code in ((limit or 5000, 200), (2001, 413 if limit else 200)):
                fields = json.loads(request(dialect, stream=False).partition(b"\r\n\r\n")[2])
                if in_body:
                    fields["key"] = key
                body = json.dumps(fields).encode()
                body += b" " * (size - len(body))
                headers = "" if in_body else f"authorization: Bearer {key}\r\n"
                answer = await call(port, request(dialect, stream=False, headers=headers, body=body))
                assert answer.status == code
                if code == 413:
                    assert b"the request body is larger than 2000 bytes" in answer.body


@pytest.mark.parametrize(("headers", "name"), [(KEY, "ci"), ("authorization: Bearer sesame\r\n", "")])
async def test_a_controls_own_paths_know_the_caller(headers: str, name: str) -> None:
    async with managed(HELLO) as (port, _):
        assert json.loads((await ask(port, head("GET /who HTTP/1.1", headers))).body) == name
        assert (await ask(port, head("GET /who HTTP/1.1"))).status == 401


async def test_a_call_without_methods_of_its_own_lets_everything_pass() -> None:
    asked: list[str] = []

    async def ask() -> BackendReply:
        asked.append("")
        return answer

    answer = BackendReply(None, False, {})  # type: ignore[arg-type]
    wanted = Request([{"role": "user", "content": "Hi"}])
    passive, nobody = Call(), Control()
    assert await passive.share(wanted, ask) is answer
    assert len(asked) == 1
    assert passive.may_share(wanted) is False
    assert passive.observe(backend(dialects.OpenAI(), "http://127.0.0.1:9"), wanted) is None
    assert (nobody.find([Secret("a")]), nobody.begin(None), [*nobody.routes()]) == (None, None, [])  # type: ignore[arg-type]
    assert (ANYONE.name, ANYONE.max_body, ANYONE.allows("any")) == ("", None, True)
