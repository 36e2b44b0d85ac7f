"""The rows of the report on a server: what is tried, and what the server must do.

A row returns what is wrong, "" if nothing is. None of them needs a backend, or sends it anything if the server is as it
should be.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.testing.hostile.requests import (
    BODY,
    CODED,
    ENDLESS_HEAD,
    FOREIGN,
    LENGTH,
    MALFORMED_BODIES,
    POST,
    UNKNOWN_CODINGS,
    UNKNOWN_PATHS,
    broken_requests,
)
from acytoo.testing.hostile.site import QUESTION, Response, Site, example, read_response
from acytoo.types import Request

_CROWD = 20
"""Connections at the same time, in the rows that hold some open."""


class HostileRow(NamedTuple):
    """One row: its name, what is required, and the check. Rows that are not `alone` are tried at the same time."""

    name: str
    required: str
    check: Callable[[Site], Awaitable[str]]
    alone: bool = True


class Result(NamedTuple):
    """A row's name, what is wrong ("" if nothing is), and what is required."""

    name: str
    violation: str
    required: str

    def __str__(self) -> str:
        return f"FAIL  {self.name}: {self.violation} ({self.required})" if self.violation else f"pass  {self.name}"


async def try_rows(site: Site, only: Collection[str] = ()) -> AsyncIterator[Result]:
    """Yield the results in order. With `only`, skip rows with none of these texts in their name."""
    wanted = [row for row in hostile_rows(site) if not only or any(part in row.name for part in only)]
    for alone, rows in itertools.groupby(wanted, lambda row: row.alone):
        if alone:
            for row in rows:
                yield await _try(row, site)
        else:
            for result in await asyncio.gather(*[_try(row, site) for row in rows]):
                yield result


async def _try(row: HostileRow, site: Site) -> Result:
    try:
        violation = await row.check(site)
    except TimeoutError:
        violation = f"nothing happened for {site.patience_s:g} s"
    except (OSError, ValueError, KeyError) as error:  # the bytes are not a response, or there is no connection
        violation = f"{type(error).__name__}: {error}"
    return Result(row.name, violation, row.required)


def hostile_rows(site: Site) -> Iterator[HostileRow]:
    """Yield the rows for a server.

    Those with wrong passwords are tried last and together: a server slows down who sends them.
    """
    yield HostileRow("health", "GET /healthz is answered", _is_healthy)
    for name, data in {**broken_requests(site), "an endless head": ENDLESS_HEAD}.items():
        yield HostileRow(f"http: {name}", "refused, and the connection is closed", partial(_is_refused, data))
    for line, status in UNKNOWN_PATHS.items():
        yield HostileRow(f"path: {line}", f"status {status}", partial(_has_status, line, status))
    for dialect in dialects.ALL:
        for name, body in MALFORMED_BODIES.items():
            check = partial(_is_invalid, dialect, body)
            yield HostileRow(f"{dialect.name}: body: {name}", "status 400 in the client's format", check)
        for coding in UNKNOWN_CODINGS:
            unknown = partial(_is_reported, dialect, headers=f"content-encoding: {coding}\r\n", statuses=(400, 415))
            yield HostileRow(f"{dialect.name}: coding: {coding}", "status 400", unknown)
    yield from _size_rows()
    yield from _unfinished_rows(site)
    if site.password:
        for dialect in dialects.ALL:
            yield from _password_rows(dialect, site.password)
        right = partial(_has_status, "GET /v1/models", 200)
        yield HostileRow("password: the right one after many wrong ones", "status 200", right)
    else:
        for dialect in dialects.ALL:
            for name, (host, headers) in FOREIGN.items():
                foreign = partial(_is_reported, dialect, headers=headers, statuses=(403,), host=host)
                yield HostileRow(f"{dialect.name}: cross-site: {name}", "status 403", foreign)
    yield HostileRow("health after all this", "GET /healthz is answered", _is_healthy)


# Checks.


async def _is_healthy(site: Site) -> str:
    response = await site.ask(site.head("GET /healthz HTTP/1.1", "connection: close\r\n"))
    if response.status != 200 or not response.is_complete:
        return f"status {response.status}"
    return "" if json.loads(response.body).get("status") == "ok" else "not the health check of this server"


async def _is_refused(data: bytes, site: Site) -> str:
    answer = await site.send(data)
    statuses = [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE)]
    if len(statuses) > 1:
        return f"several responses, with the statuses {statuses}"
    if statuses and not (400 <= statuses[0] < 500 or statuses[0] in (501, 505)):
        return f"status {statuses[0]}"
    return ""


async def _has_status(line: str, status: int, site: Site) -> str:
    response = await site.ask(site.head(f"{line} HTTP/1.1", "connection: close\r\n"))
    return "" if response.status == status else f"status {response.status}"


def _violation(dialect: Dialect, response: Response, statuses: Collection[int]) -> str:
    """Return what is wrong with a response that should report an error in the client's format."""
    if response.status not in statuses:
        return f"status {response.status}"
    if not response.is_complete:
        return "the response is cut"
    try:
        json.loads(response.body)
    except ValueError:
        return "the response is not JSON"
    if dialect.read_error(response.status, response.body).message in ("", "no message"):
        return "the response has no message"
    return ""


async def _is_reported(
    dialect: Dialect, site: Site, *, headers: str, statuses: Collection[int], host: str | None = None
) -> str:
    response = await site.ask(site.request(dialect, headers=headers, host=host))
    return _violation(dialect, response, statuses)


async def _is_invalid(dialect: Dialect, body: bytes, site: Site) -> str:
    for stream in (True, False):
        response = await site.ask(site.request(dialect, body, stream=stream))
        if violation := _violation(dialect, response, (400,)):
            return violation
    return ""


# Sizes.


async def _declares_too_much(site: Site) -> str:
    response = await site.ask(site.head(POST, "content-length: 1000000000000\r\n") + b"{")
    return "" if response.status == 413 else f"status {response.status}"


async def _sends_without_end(site: Site) -> str:
    """Send chunks until there is a response, at most a gigabyte."""
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    async with site.connect() as (reader, writer):
        answered = asyncio.ensure_future(reader.read(12))
        try:
            writer.write(site.head(POST, CODED))
            for _ in range(1024):
                if answered.done():
                    break
                writer.write(chunk)
                async with asyncio.timeout(site.patience_s):
                    await asyncio.wait({asyncio.ensure_future(writer.drain()), answered}, return_when="FIRST_COMPLETED")
            await asyncio.wait({answered}, timeout=site.patience_s)
        finally:
            answered.cancel()
        if not answered.done() or answered.cancelled():
            return "a gigabyte was received"
        start = b"" if answered.exception() else answered.result()
    return "" if start[9:12] in (b"", b"413") else f"status {start[9:12].decode()}"


async def _sends(coding: str, body: bytes, site: Site) -> str:
    """Send a compressed body, and see that other clients are served meanwhile."""
    data = site.request(dialects.by_name("openai"), body, f"content-encoding: {coding}\r\n")
    answer = asyncio.ensure_future(site.ask(data))
    try:
        await asyncio.sleep(0)
        if violation := await _is_healthy(site):
            return f"meanwhile: {violation}"
        response = await answer
    finally:
        answer.cancel()
    return "" if response.status in (400, 413) else f"status {response.status}"


def _size_rows() -> Iterator[HostileRow]:
    yield HostileRow("size: a terabyte is announced", "status 413 before it arrives", _declares_too_much)
    yield HostileRow("size: chunks without end", "status 413, or a closed connection", _sends_without_end)
    bodies = {
        "size: a gzip bomb of blanks": gzip.compress(b" " * 50_000_000),
        "size: gzip of ten million lists": gzip.compress(b'{"messages":[' + b"[]," * 10_000_000 + b"[]]}"),
        "size: 20,000 gzip streams": gzip.compress(b"") * 20_000,
        "size: a gzip stream that is cut": gzip.compress(BODY)[:-1],
        "size: bytes after a gzip stream": gzip.compress(BODY) + b"x",
        "size: a body that is not gzip": BODY,
    }
    for name, body in bodies.items():
        yield HostileRow(name, "status 413 or 400, and others are served", partial(_sends, "gzip", body))


# Clients that stop half way.


async def _holds(data: bytes, site: Site) -> str:
    """Hold connections on which so much was sent, and see that other clients are served meanwhile."""
    async with AsyncExitStack() as stack:
        for _ in range(_CROWD):
            _, writer = await stack.enter_async_context(site.connect())
            writer.write(data)
            await writer.drain()
        violation = await _is_healthy(site)
    return f"meanwhile: {violation}" if violation else await _is_healthy(site)


async def _ends(data: bytes, site: Site) -> str:
    """Send so much, then the end of the stream: there must be a response, or the connection must be closed."""
    if site.tls is not None:
        return ""  # TLS has no half-closed connections
    async with site.connect() as (reader, writer), asyncio.timeout(site.patience_s):
        writer.write(data)
        writer.write_eof()
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
    return ""


async def _pipelines(site: Site) -> str:
    """Send requests without waiting for responses, which must arrive in order."""
    lines = ("GET /healthz HTTP/1.1", "GET /nowhere HTTP/1.1", "GET /healthz HTTP/1.1")
    async with site.connect() as (reader, writer):
        writer.write(b"".join(map(site.head, lines)))
        statuses = [(await read_response(reader, site.patience_s)).status for _ in lines]
    return "" if statuses == [200, 404, 200] else f"statuses {statuses}"


def _unfinished_rows(site: Site) -> Iterator[HostileRow]:
    complete = site.request(dialects.by_name("openai"))
    held = {
        "nothing": b"",
        "a part of a head": site.head(POST, LENGTH)[:-2],
        "a body without its last byte": complete[:-1],
        "a chunk without its end": site.head(POST, CODED) + b"100000\r\n" + b" " * 1000,
    }
    for name, data in held.items():
        yield HostileRow(f"slow: {_CROWD} clients send {name}", "others are served", partial(_holds, data))
    ended = {
        "nothing": b"",
        "a part of a head": site.head(POST, LENGTH)[:-2],
        "a body without its last byte": complete[:-1],
        "a complete request": site.head("GET /healthz HTTP/1.1"),
    }
    for name, data in ended.items():
        yield HostileRow(f"half-close: after {name}", "the connection is closed", partial(_ends, data))
    yield HostileRow("pipelining", "responses in order", _pipelines)


# Passwords.


def _password_rows(dialect: Dialect, password: Secret) -> Iterator[HostileRow]:
    right = password.reveal()
    wrong = {
        "none": "",
        "another": "wrong-password",
        "its beginning": right[:-1],
        "it and more": f"{right}x",
        "it in the other case": right.swapcase(),
    }
    for name, text in wrong.items():
        if text != right:
            check = partial(_refuses_password, dialect, text)
            yield HostileRow(f"{dialect.name}: password: {name}", "status 401 in the client's format", check, False)
    if not dialect.can_pass_through:
        return  # the password may be in the body
    required = "status 401 before the body arrives"
    yield HostileRow(
        f"{dialect.name}: password: before the body", required, partial(_refuses_early, dialect, ""), False
    )
    expect = "expect: 100-continue\r\n"
    yield HostileRow(f"{dialect.name}: password: before 100", required, partial(_refuses_early, dialect, expect), False)
    for path in dialect.list_routes:
        if "{" not in path:
            listed = partial(_lists_nothing, dialect, path)
            yield HostileRow(f"{dialect.name}: password: GET {path}", "status 401", listed, False)


_WRONG = Secret("wrong-password")
_REFUSALS = (401, 429)
"""Statuses for a wrong password. A server may make a client wait that sends many."""


async def _refuses_password(dialect: Dialect, text: str, site: Site) -> str:
    """Send a wrong password as the dialect's own client does."""
    asked = Request(QUESTION, "m-1", stream=False)
    sent = dialect.encode_request(asked, Endpoint("", Secret(text), Secret(text)), Unsupported(dialect.name))
    path, _ = example(dialect, stream=False)
    headers = "".join([f"{name}: {value}\r\n" for name, value in sent.headers.items() if name != "content-type"])
    length = f"content-length: {len(sent.body)}\r\n{headers}"
    response = await site.ask(site.head(f"POST {path} HTTP/1.1", length, password=Secret()) + sent.body)
    if text and text.encode() in response.body:
        return "the response repeats the password"
    return _violation(dialect, response, _REFUSALS)


async def _refuses_early(dialect: Dialect, headers: str, site: Site) -> str:
    """Send the head of a request with a wrong password: the response must not wait for the body."""
    path, _ = example(dialect)
    length = f"content-length: 1000\r\n{headers}"
    response = await site.ask(site.head(f"POST {path} HTTP/1.1", length, password=_WRONG))
    return _violation(dialect, response, _REFUSALS)


async def _lists_nothing(dialect: Dialect, path: str, site: Site) -> str:
    response = await site.ask(site.head(f"GET {path} HTTP/1.1", password=_WRONG))
    return _violation(dialect, response, _REFUSALS)
