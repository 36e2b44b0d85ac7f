"""The report on a server: ours passes every row, and every row fails on a server that does not care."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from acytoo.errors import UsageError
from acytoo.testing import refused_port, reply
from acytoo.testing.hostile.rows import Result, hostile_rows, try_rows
from acytoo.testing.hostile.site import Site
from acytoo.types import Finish, Start
from tests.server.live_server import live_server

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
PASSWORDS = pytest.mark.parametrize("password", ["", "Sesame"], ids=["no password", "a password"])


async def results(site: Site, *only: str) -> list[Result]:
    return [result async for result in try_rows(site, only)]


@PASSWORDS
async def test_our_server_passes_every_row_and_asks_its_backend_for_nothing(password: str) -> None:
    async with live_server(HELLO, password=password) as server:
        tried = await results(Site.at(server.url, password))
        assert [str(result) for result in tried if result.violation] == []
        assert len(tried) == len(list(hostile_rows(Site.at(server.url, password)))) > 200
        assert server.fake.requests == []


@asynccontextmanager
async def careless_server(answer: bytes) -> AsyncIterator[str]:
    """Run a server that sends this answer to whatever arrives, and waits forever without one; yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer and await reader.read(65536):
            writer.write(answer)
            writer.close()
        else:
            held.append(writer)

    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


OK = b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"status": "ok"}'


@PASSWORDS
async def test_every_row_fails_on_a_server_that_answers_anything_or_nothing(password: str) -> None:
    async with careless_server(OK) as url:
        passed = [
            result.name for result in await results(Site.at(url, password, patience_s=2.0)) if not result.violation
        ]
    assert passed[0] == "health"
    async with careless_server(b"") as url:
        tried = await results(Site.at(url, password, patience_s=0.05), *passed)
    assert [result.name for result in tried if not result.violation] == []


async def test_a_row_reports_that_nobody_listens() -> None:
    with refused_port() as port:
        (result,) = await results(Site.at(f"http://127.0.0.1:{port}"), "pipelining")
    assert "refused" in result.violation.lower()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://h", "http://", "http://h:x"])
def test_a_url_that_is_not_one_of_http_is_an_error(url: str) -> None:
    with pytest.raises(UsageError, match="invalid URL"):
        Site.at(url)


async def run(*arguments: str) -> tuple[int | None, str]:
    line = [sys.executable, "-m", "acytoo.testing", "server", *arguments]
    process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_the_command_prints_a_line_for_each_row_and_exits_with_0_or_1() -> None:
    async with live_server(HELLO, password="Sesame") as server:
        code, output = await run(server.url, "--password", "Sesame", "--only", "half-close")
        assert code == 0
        assert output.splitlines()[0] == "pass  half-close: after nothing"
        assert output.endswith("127.0.0.1: 4 of 4 rows passed\n")
        code, output = await run(server.url, "--password", "salami", "--only", "body: null", "--failures")
        assert code == 1
        assert "FAIL  openai: body: null: status 401 (status 400 in the client's format)" in output
