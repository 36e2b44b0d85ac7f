"""Connections on the wire: addresses, what is sent, what may precede and follow a response, leaving early."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from acytoo import Acytoo, dialects
from acytoo._version import __version__
from acytoo.errors import ProtocolError, RequestError, UnreachableError, UsageError
from acytoo.providers.compatible import Compatible
from acytoo.testing import FakeEndpoint, reply
from tests.helpers import MESSAGES, failure, texts

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nHello"


@asynccontextmanager
async def serving(handler: Handler, unix: Path | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Yield the URL of a server that gives each connection to the handler, and closes it afterwards."""
    writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers[task] = writer
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    if unix is None:
        server = await asyncio.start_server(run, host, 0)
        bare = f"[{host}]" if ":" in host else host
        url = f"http://{bare}:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(run, unix)
        url = f"http+unix://{quote(str(unix), safe='')}"
    try:
        yield url
    finally:
        server.close()
        for writer in writers.values():
            writer.transport.abort()
        await asyncio.gather(*writers)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the head of a request whose body is read as well."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))
    return head


def answering(*responses: bytes, heads: list[bytes] | None = None) -> Handler:
    """Return a handler that answers the requests on a connection with these bytes, one after another."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for response in responses:
            head = await read_request(reader)
            if heads is not None:
                heads.append(head)
            writer.write(response)
        await reader.read()

    return handle


async def test_the_head_of_a_request_has_exactly_these_fields() -> None:
    heads: list[bytes] = []
    async with serving(answering(OK, heads=heads)) as url:
        assert await texts(Acytoo(f"{url}/base")) == ["Hello"]
        first, *fields = heads[0].decode().strip().split("\r\n")
        assert first == "POST /base/api/completions HTTP/1.1"
        assert [field.partition(":")[0] for field in fields] == [
            "host", "user-agent", "accept", "content-type", "accept-encoding", "content-length",
        ]  # fmt: skip
        assert f"host: {url.removeprefix('http://')}" in fields
        assert f"user-agent: acytoo/{__version__}" in fields


async def test_a_users_own_header_replaces_ours() -> None:
    heads: list[bytes] = []
    async with serving(answering(OK, heads=heads)) as url:
        await texts(Acytoo(url, extra_headers={"User-Agent": "mine/1", "Host": "example.org"}))
        assert heads[0].count(b"user-agent") == heads[0].count(b"host:") == 1
        assert b"user-agent: mine/1\r\n" in heads[0]
        assert b"host: example.org\r\n" in heads[0]


async def test_a_header_with_a_line_end_is_refused_before_anything_is_sent() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        with pytest.raises(UsageError, match="the header 'x-a' contains a line end"):
            Acytoo(fake.url, extra_headers={"x-a": "b\r\nx-evil: 1"})
        with pytest.raises(UsageError, match="the header 'authorization' contains a line end"):
            await Compatible(fake.url, model="m", key="b\r\nx-evil: 1").reply([{"role": "user", "content": "Hi"}])
        assert fake.connections == 0


@pytest.mark.parametrize(
    ("path", "target"),
    [("", "/"), ("/a b", "/a%20b"), ("/é", "/%C3%A9"), ("/a%20b", "/a%20b"), ("/x:y@z", "/x:y@z")],
)
async def test_the_path_of_a_url_is_sent_in_ascii(path: str, target: str) -> None:
    heads: list[bytes] = []
    async with serving(answering(OK, heads=heads)) as url:
        await texts(Acytoo(url + path))
        assert heads[0].split()[1].decode() == f"{target.rstrip('/')}/api/completions"


async def test_credentials_in_the_url_are_sent_as_basic_authentication() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        await texts(Acytoo(fake.url.replace("://", "://me:p%40ss@")))
        assert fake.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
        assert "@" not in fake.requests[0].headers["host"]


async def test_an_ipv6_address_is_reached() -> None:
    async with serving(answering(OK), host="::1") as url:
        assert await texts(Acytoo(url)) == ["Hello"]


async def test_a_unix_socket_is_reached_and_its_connection_reused(tmp_path: Path) -> None:
    heads: list[bytes] = []
    async with serving(answering(OK, OK, heads=heads), tmp_path / "chat.sock") as url:
        provider = Acytoo(f"{url}/base")
        assert await texts(provider) == ["Hello"]
        assert await texts(provider) == ["Hello"]
        assert heads[0].startswith(b"POST /base/api/completions HTTP/1.1\r\nhost: localhost\r\n")


async def test_a_unix_socket_that_does_not_exist_is_unreachable(tmp_path: Path) -> None:
    error = await failure(Acytoo(f"http+unix://{quote(str(tmp_path / 'none.sock'), safe='')}"))
    assert type(error) is UnreachableError
    assert "none.sock" in str(error)


async def test_interim_responses_before_a_response_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with serving(answering(interim + OK)) as url:
        assert await texts(Acytoo(url)) == ["Hello"]


async def test_trailers_are_accepted_and_the_connection_is_reused() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(answering(chunked + b"5\r\nHello\r\n0\r\nx-sum: 1\r\n\r\n", OK)) as url:
        assert await texts(Acytoo(url)) == ["Hello"]
        assert await texts(Acytoo(url)) == ["Hello"]


async def test_a_head_of_40_kilobytes_is_accepted() -> None:
    large = OK.replace(b"\r\n\r\n", b"\r\nx-policy: " + b"p" * 40_000 + b"\r\n\r\n")
    async with serving(answering(large)) as url:
        assert await texts(Acytoo(url)) == ["Hello"]


@pytest.mark.parametrize("surplus", [b"H", b"HTTP/1.1 200 OK\r\ncontent-le", OK, b"\0"])
@pytest.mark.parametrize("together", [True, False], ids=["with the response", "later"])
async def test_bytes_that_nobody_requested_never_reach_the_next_call(surplus: bytes, together: bool) -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        if together:
            writer.write(OK + surplus)
        else:
            writer.write(OK)
            await writer.drain()
            await idle.wait()
            writer.write(surplus)
        await reader.read()
        left.set()

    idle, left = asyncio.Event(), asyncio.Event()
    async with serving(handle) as url:
        assert await texts(Acytoo(url)) == ["Hello"]
        idle.set()
        async with asyncio.timeout(120):
            await left.wait()  # the client closes the connection
        assert await texts(Acytoo(url)) == ["Hello"]
        assert connections == 2


async def test_a_protocol_error_names_what_is_wrong() -> None:
    broken = OK.replace(b"content-length: 5", b"content-length: 5\r\ncontent-length: 5")
    async with serving(answering(broken)) as url:
        error = await failure(Acytoo(url))
        assert type(error) is ProtocolError
        assert "Content-Length" in str(error)


async def test_a_request_that_is_left_while_its_body_is_sent_is_stopped() -> None:
    received = 0
    accepted, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        accepted.set()
        await go_on.wait()
        try:
            while data := await reader.read(1_000_000):
                received += len(data)
        finally:
            over.set()

    async with serving(handle) as url, asyncio.timeout(120):
        body = "x" * 50_000_000
        task = asyncio.create_task(Acytoo(url).create_async("", [{"role": "user", "content": body}]))
        await accepted.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await over.wait()
        assert received < 40_000_000


async def test_a_response_before_the_body_was_received_is_read_and_the_connection_not_reused() -> None:
    connections = 0
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-type: text/plain\r\ncontent-length: 8\r\n\r\ntoo long")
        if connections == 1:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await go_on.wait()
            writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            while await reader.read(1_000_000):
                pass
        finally:
            left.set()

    go_on = asyncio.Event()
    async with serving(handle) as url, asyncio.timeout(120):
        with pytest.raises(RequestError, match="too long"):
            await Acytoo(url).create_async("", [{"role": "user", "content": "x" * 50_000_000}])
        go_on.set()
        await left.wait()
        with pytest.raises(RequestError, match="too long"):
            await Acytoo(url).create_async("", MESSAGES)
        assert connections == 2


async def test_a_response_that_ends_with_its_side_of_the_connection_is_read_while_the_body_is_sent() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nHello")
        writer.write_eof()
        await read.wait()

    read = asyncio.Event()
    async with serving(handle) as url, asyncio.timeout(120):
        try:
            text = await Acytoo(url).create_async("", [{"role": "user", "content": "x" * 50_000_000}])
        finally:
            read.set()
        assert text == "Hello"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows the timers of a connection")
async def test_the_kernel_probes_a_connection_that_is_silent() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a", "b").stall(after=1)) as fake:
        stream = Acytoo(fake.url).create_async_generator("", MESSAGES)
        assert await anext(stream) == "a"
        remote = f"0100007F:{fake.port:04X}"
        table = Path("/proc/net/tcp").read_text()  # noqa: ASYNC240 - it is in memory
        lines = [line.split() for line in table.splitlines()[1:]]
        # 01 is ESTABLISHED: an earlier test's connection to a port of this number may still be in TIME_WAIT.
        [timer] = [line[5] for line in lines if line[2] == remote and line[3] == "01"]
        kind, _, ticks = timer.partition(":")
        assert kind == "02", "the keep-alive timer"
        assert int(ticks, 16) <= 30 * os.sysconf("SC_CLK_TCK")
        await stream.aclose()


@pytest.mark.parametrize(
    ("url", "delay"),
    [
        ("http://localhost:9", 0.25),
        ("http://127.0.0.1:9", None),
        ("http://[::1]:9", None),
        ("http://1.example.invalid:9", 0.25),
    ],
)
def test_the_next_address_of_a_name_is_tried_after_a_quarter_of_a_second(url: str, delay: float | None) -> None:
    class Loop(asyncio.SelectorEventLoop):
        async def create_connection(self, *args: Any, **options: Any) -> Any:
            seen.append(options)
            raise ConnectionRefusedError

    seen: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=Loop) as runner:
        assert type(runner.run(failure(Acytoo(url)))) is UnreachableError
    assert [each.get("happy_eyeballs_delay") for each in seen] == [delay]
    assert [(each["ssl"], each["server_hostname"]) for each in seen] == [(None, None)]


def test_a_system_without_unix_sockets_says_so() -> None:
    class Loop(asyncio.SelectorEventLoop):
        @property
        def create_unix_connection(self) -> Any:
            raise AttributeError

    with asyncio.Runner(loop_factory=Loop) as runner:
        error = runner.run(failure(Acytoo("http+unix://%2Fs")))
    assert str(error) == "this system has no Unix sockets: use an http URL"


async def test_a_unix_socket_with_an_impossible_path_is_unreachable() -> None:
    error = await failure(Acytoo("http+unix://%2Fa%00b"))
    assert type(error) is UnreachableError
