"""Timeouts in unusual situations: a busy program, repeated failures."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from typing import Any

import pytest

from acytoo import Acytoo
from acytoo.errors import TimedOutError, UnreachableError
from acytoo.http import HTTPRequest
from tests.helpers import failure

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]


async def test_a_head_that_arrives_as_the_total_timeout_expires_is_not_a_reply() -> None:
    """Block the event loop while both happen, so that one turn of it sees both."""
    sock = socket.create_server(("127.0.0.1", 0))
    sent = threading.Event()

    def serve() -> None:
        connection, _ = sock.accept()
        with connection:
            connection.recv(65536)
            sent.wait(120)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nhalf of the ")
            while connection.recv(65536):
                pass

    def busy() -> None:
        sent.set()
        time.sleep(0.5)

    server = threading.Thread(target=serve)
    server.start()
    provider = Acytoo(f"http://127.0.0.1:{sock.getsockname()[1]}", timeout={"total": 0.3})
    asyncio.get_running_loop().call_later(0.2, busy)
    error = await failure(provider)
    await asyncio.to_thread(server.join)
    sock.close()
    assert isinstance(error, TimedOutError)
    assert error.phase == "total"


async def test_the_first_byte_timeout_is_not_restarted_by_the_head() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.4)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n")
        await asyncio.sleep(0.4)
        writer.write(b"too late")
        writer.close()
        over.set()

    over = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await failure(Acytoo(url, timeout={"first_byte": 0.6}))
        await over.wait()
    assert isinstance(error, TimedOutError)
    assert (error.phase, error.text) == ("first_byte", "")


async def test_failed_calls_do_not_keep_their_requests_in_memory() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(UnreachableError):
                await Acytoo(url).create_async("m", HELLO)
        await asyncio.sleep(0)  # until then the event loop's own handle holds the last failure
        kept = [thing for thing in gc.get_objects() if type(thing) is HTTPRequest]
    finally:
        gc.enable()
    assert not kept
