"""Certificates are verified; a private authority can be configured."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import TLSError, TruncatedError, UsageError
from acytoo.testing import Authority, FakeEndpoint, hang_up, reply
from tests.helpers import MESSAGES, failure, texts

AUTHORITY = Authority()


async def test_an_unknown_authority_is_not_trusted() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=AUTHORITY.server_context()) as fake:
        error = await failure(Acytoo(fake.url, key="sk-secret"))
        assert type(error) is TLSError
        assert "certificate" in str(error)
        assert not error.retryable
        assert fake.requests == []


async def test_a_configured_authority_is_trusted(tmp_path: Path) -> None:
    path = AUTHORITY.write(tmp_path)
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo"), tls=AUTHORITY.server_context()) as fake:
        assert "".join(await texts(Acytoo(fake.url, ca=str(path)))) == "Hello"
        assert "".join(await texts(Acytoo(fake.url, ca=path))) == "Hello"
        context = ssl.create_default_context(cafile=path)
        assert "".join(await texts(Acytoo(fake.url), ca=context)) == "Hello"


async def test_a_certificate_for_another_name_is_rejected(tmp_path: Path) -> None:
    context = AUTHORITY.server_context("somewhere.else")
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=context) as fake:
        error = await failure(Acytoo(fake.url, ca=str(AUTHORITY.write(tmp_path))))
        assert type(error) is TLSError


async def test_a_server_without_tls_is_a_tls_error() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=reply("plain")) as fake:
        error = await failure(Acytoo(fake.url.replace("http:", "https:")))
        assert type(error) is TLSError


async def test_a_server_that_hangs_up_in_the_handshake_is_an_error() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=hang_up()) as fake:
        error = await failure(Acytoo(fake.url.replace("http:", "https:")))
        assert isinstance(error, ConnectionError)


async def test_a_reply_cut_under_tls_is_truncated(tmp_path: Path) -> None:
    answer = reply("Hello").until_close().reset(after_bytes=2)
    async with FakeEndpoint(dialects.Acytoo(), answer, tls=AUTHORITY.server_context()) as fake:
        error = await failure(Acytoo(fake.url, ca=str(AUTHORITY.write(tmp_path))))
        assert error.text == "He"


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_that_cannot_be_read_is_rejected_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^ca: .*ca\.pem"):
        Acytoo("https://127.0.0.1:9", ca=str(path))
    with pytest.raises(UsageError, match=r"^ca: .*ca\.pem"):
        Acytoo("https://127.0.0.1:9").create_async_generator("", MESSAGES, ca=path)


async def test_a_reply_larger_than_any_buffer_arrives_complete_with_and_without_tls(tmp_path: Path) -> None:
    path = AUTHORITY.write(tmp_path)
    large = "0123456789abcdef" * 40_000
    async with FakeEndpoint(dialects.Acytoo(), reply(large), tls=AUTHORITY.server_context()) as fake:
        assert "".join(await texts(Acytoo(fake.url, ca=str(path)))) == large
    async with FakeEndpoint(dialects.Acytoo(), reply(large)) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == large


# How a connection ends


class OneAnswer(threading.Thread):
    """A server that sends one answer and closes the connection, with a close_notify before or without one.

    asyncio's servers cannot do either: they wait for the client's close_notify after their own.
    """

    def __init__(self, answer: bytes, *, notifies: bool) -> None:
        super().__init__(daemon=True)
        self._answer = answer
        self._notifies = notifies
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Answer one request."""
        with self._listener, self._listener.accept()[0] as accepted:
            with AUTHORITY.server_context().wrap_socket(accepted, server_side=True) as secured:
                request = b""
                while not request.endswith(b"}"):
                    request += secured.recv(65536)
                secured.sendall(self._answer)
                if self._notifies:
                    secured.setblocking(False)
                    with suppress(ssl.SSLWantReadError):
                        secured.unwrap()
                secured.shutdown(socket.SHUT_RDWR)


def event_loops() -> list[Any]:
    """Return the functions that run a coroutine, on each event loop that is installed."""
    try:
        import uvloop
    except ImportError:
        return [asyncio.run]
    return [asyncio.run, pytest.param(uvloop.run, id="uvloop")]


LARGE = "0123456789abcdef" * 20_000
"""More than is decrypted before a reader that is behind stops it, and less than what TLS and the kernel hold then."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
FRAMINGS = {
    "a length": HEAD + b"content-length: %d\r\n\r\n%b" % (len(LARGE), LARGE.encode()),
    "chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE.encode()),
    "the end of the connection": HEAD + b"\r\n" + LARGE.encode(),
}


@pytest.mark.parametrize("run", event_loops())
@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "cut"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_a_server_sent_before_it_closed_the_connection_is_read_by_a_slow_reader_too(
    framing: str, notifies: bool, run: Callable[[Any], None], tmp_path: Path
) -> None:
    server = OneAnswer(FRAMINGS[framing], notifies=notifies)
    server.start()
    received: list[str] = []

    async def read() -> None:
        async for text in Acytoo(server.url, ca=AUTHORITY.write(tmp_path)).create_async_generator("", MESSAGES):
            if not received:
                await asyncio.to_thread(server.join)
                for _ in range(100):  # in which the event loop sees the end, while there is more to read before it
                    await asyncio.sleep(0)
            received.append(text)

    if notifies or framing != "the end of the connection":
        run(read())
    else:
        with pytest.raises(TruncatedError, match="without a close_notify"):
            run(read())
    assert "".join(received) == LARGE
