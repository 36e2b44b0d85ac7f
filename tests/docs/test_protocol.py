"""docs/protocol.md: its bytes are those of a real server, and its client works with one."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply
from acytoo.testing.script import responses
from acytoo.types import Finish, Start
from tests.server.live_server import live_server

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BLOCKS = re.findall(r"^```http\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXCHANGES = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))

COMPLETE = reply(Start("id-1", "m-1"), "Hello", " wörld", Finish("stop"))
CUT = reply(Start("id-1", "m-1"), "Hello", " wörld", Finish("stop")).reset(after=2)
HI = [{"role": "user", "content": "Hi"}]


class Shown(NamedTuple):
    """A response as a client understands it. How the text is split and what time it is do not matter."""

    status: str
    headers: dict[str, str]
    body: str
    is_complete: bool


def understood(response: bytes) -> Shown:
    """Read the bytes of one response."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    headers.pop("date")
    if "content-length" in headers:
        return Shown(status, headers, body.decode(), len(body) == int(headers["content-length"]))
    text = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        text, body = text + rest[:length], rest[length + 2 :]
        if not length:
            return Shown(status, headers, text.decode(), True)
    return Shown(status, headers, text.decode(), False)


def test_the_page_has_a_request_and_a_response_of_each_kind() -> None:
    statuses = [response.split(" ", 2)[1] for _, response in EXCHANGES]
    assert statuses == ["200", "200", "200", "400", "401", "200"]


@pytest.mark.parametrize(("request_text", "response_text"), EXCHANGES)
async def test_the_bytes_of_the_page_are_those_of_a_server(request_text: str, response_text: str) -> None:
    head, _, body = request_text.rstrip("\n").partition("\n\n")
    head = re.sub(r"content-length: \d+", f"content-length: {len(body.encode())}", head)
    sent = f"{head}\nconnection: close".replace("\n", "\r\n").encode() + b"\r\n\r\n" + body.encode()
    fields = json.loads(body)
    script = CUT if "fail" in body else COMPLETE
    async with live_server(script, password="secret" if fields.get("password") else "") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        received = understood(await reader.read())
        writer.close()
    assert received.headers.pop("connection") == "close"
    assert received == understood(response_text.removesuffix("\n").replace("\n", "\r\n").encode())


def test_the_lengths_of_the_requests_are_right() -> None:
    for request, _ in EXCHANGES:
        head, _, body = request.rstrip("\n").partition("\n\n")
        assert f"content-length: {len(body.encode())}" in head


@pytest.fixture(scope="module")
def ask() -> Callable[..., Iterator[str]]:
    """The client of the page."""
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[..., Iterator[str]] = names["ask"]
    return found


def with_client(function: Callable[[int], Any], *scripts: ScriptedResponse, password: str = "") -> Any:
    """Return what the function returns for the port of a server, which runs in this thread's loop meanwhile."""

    async def main() -> Any:
        async with live_server(*scripts, password=password) as server:
            return await asyncio.to_thread(function, server.port)

    return asyncio.run(main())


def test_the_client_of_the_page_yields_the_complete_reply(ask: Callable[..., Iterator[str]]) -> None:
    pieces = reply(Start("id-1", "m-1"), "Grüße, ", "世界 ", "👩‍👩‍👧", Finish("stop")).cut_bytes(1)
    text = with_client(lambda port: "".join(ask("127.0.0.1", port, HI, password="s", model="m")), pieces, password="s")
    assert text == "Grüße, 世界 👩‍👩‍👧"


def test_the_client_of_the_page_raises_for_a_cut_reply(ask: Callable[..., Iterator[str]]) -> None:
    def read(port: int) -> list[str]:
        texts = []
        with pytest.raises(http.client.IncompleteRead):
            for text in ask("127.0.0.1", port, HI):
                texts.append(text)  # noqa: PERF402 - those before the error are kept
        return texts

    assert "".join(with_client(read, CUT)) == "Hello"


def test_the_client_of_the_page_raises_the_servers_message(ask: Callable[..., Iterator[str]]) -> None:
    def read(port: int) -> None:
        with pytest.raises(RuntimeError, match="401: the password or key is missing or wrong"):
            list(ask("127.0.0.1", port, HI, password="wrong"))
        with pytest.raises(RuntimeError, match="400: messages is empty"):
            list(ask("127.0.0.1", port, [], password="right"))

    with_client(read, COMPLETE, password="right")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (responses.status(200, body=""), RuntimeError),
        (reply("ab é").cut_bytes(1).end(after_bytes=4), UnicodeDecodeError),
    ],
)
def test_the_client_of_the_page_raises_for_a_reply_that_is_empty_or_ends_in_a_character(
    answer: ScriptedResponse, error: type[Exception], ask: Callable[..., Iterator[str]]
) -> None:
    with FakeEndpoint(dialects.Acytoo(), answer) as fake:
        address = urlsplit(fake.url)
        with pytest.raises(error):
            list(ask(address.hostname, address.port, HI))
