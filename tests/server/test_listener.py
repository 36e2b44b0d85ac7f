"""Accepting connections, also without free file descriptors."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from acytoo.server.listener import Listener, bind
from acytoo.testing import reply
from tests.server.live_server import LIMIT, call, head, live_server
from tests.server.test_connection import runners
from tests.skipping_loop import in_stopped_loop, skip

HEALTH = head("GET /healthz HTTP/1.1")


@contextmanager
def no_free_descriptors(spare: int) -> Iterator[None]:
    """Leave this process so many file descriptors that are free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used: list[socket.socket] = [socket.socket()]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, used[0].fileno() + 200), hard))
    try:
        with suppress(OSError):
            while True:
                used.append(socket.socket())
        for _ in range(spare):
            used.pop().close()
        yield
    finally:
        for taken in used:
            taken.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def answer_when_descriptors_are_free() -> None:
    async with live_server(reply("Hi")) as server, asyncio.timeout(LIMIT):
        with no_free_descriptors(spare=4):
            clients = [socket.socket() for _ in range(4)]
            for client in clients:
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.connect(("127.0.0.1", server.port))
            await asyncio.sleep(2.5)
            for client in clients:
                client.close()
        assert (await call(server.port, HEALTH)).status == 200


@pytest.mark.parametrize("run", runners())
def test_a_server_without_free_descriptors_says_so_once_and_goes_on_later(
    run: Callable[[Coroutine[Any, Any, None]], None], caplog: pytest.LogCaptureFixture
) -> None:
    run(answer_when_descriptors_are_free())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "cannot accept connections, trying again every second: Too many open files")
    ]


async def close_while_out_of_descriptors() -> None:
    async with live_server(reply("Hi")) as server:
        with no_free_descriptors(spare=1):
            client = socket.socket()
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", server.port))
            await asyncio.sleep(0.2)
        client.close()


@pytest.mark.parametrize("run", runners())
def test_a_server_that_waits_for_descriptors_can_be_closed(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    run(close_while_out_of_descriptors())


async def test_sockets_that_other_processes_have_too_are_accepted_from_until_they_are_left_to_those() -> None:
    accepted: list[asyncio.Protocol] = []

    def new_connection() -> asyncio.Protocol:
        accepted.append(asyncio.Protocol())
        return accepted[-1]

    async def wait_for(number: int) -> None:
        for _ in range(500):
            if len(accepted) >= number:
                break
            await asyncio.sleep(0.01)
        assert len(accepted) == number

    sockets = await bind("127.0.0.1", 0)
    address = sockets[0].getsockname()
    listener, other = Listener(new_connection), Listener(new_connection)
    for _ in range(2):
        listener.add(sockets)
    _, first = await asyncio.open_connection(*address)
    await wait_for(1)
    for _ in range(2):
        listener.remove(sockets)
    _, second = await asyncio.open_connection(*address)
    await asyncio.sleep(0.05)
    assert len(accepted) == 1
    other.add(sockets)
    await wait_for(2)
    await listener.close()
    await other.close()
    first.close()
    second.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*address)


async def test_the_last_listener_that_is_closed_accepts_all_that_wait_and_lets_the_kernel_refuse_others() -> None:
    accepted: list[asyncio.Protocol] = []

    def new_connection() -> asyncio.Protocol:
        accepted.append(asyncio.Protocol())
        return accepted[-1]

    sockets = await bind("127.0.0.1", 0)
    others = [each.dup() for each in sockets]  # as another process has them
    address = sockets[0].getsockname()
    listener = Listener(new_connection)
    listener.add(sockets)
    clients = [socket.create_connection(address) for _ in range(200)]  # more than are accepted at once
    listener.is_last = True
    await listener.close()
    assert len(accepted) == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for each in (*clients, *others):
        each.close()


class WithoutReaders(asyncio.SelectorEventLoop):
    """An event loop that cannot watch sockets, as that of Windows."""

    def add_reader(self, *args: object) -> None:
        raise NotImplementedError


def test_on_an_event_loop_that_cannot_watch_sockets_asyncio_accepts() -> None:
    async def listen() -> None:
        accepted: list[asyncio.Protocol] = []

        def new_connection() -> asyncio.Protocol:
            accepted.append(asyncio.Protocol())
            return accepted[-1]

        listener = Listener(new_connection)
        address = await listener.listen("127.0.0.1", 0)
        with socket.create_connection(address):
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(accepted) == 1
        await listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        runner.run(listen())


async def test_a_port_is_shared_only_by_sockets_that_are_bound_to_share_it() -> None:
    first = await bind("127.0.0.1", 0, reuse_port=True)
    port = first[0].getsockname()[1]
    second = await bind("127.0.0.1", port, reuse_port=True)
    assert second[0].getsockname() == first[0].getsockname()
    with pytest.raises(OSError, match="in use"):
        await bind("127.0.0.1", port)
    alone = await bind("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await bind("127.0.0.1", alone[0].getsockname()[1], reuse_port=True)
    for each in (*first, *second, *alone):
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        each.close()


async def test_a_listener_that_is_closed_accepts_nothing_and_closes_its_sockets() -> None:
    listener = Listener(asyncio.Protocol)
    address = await listener.listen("127.0.0.1", 0)
    with socket.create_connection(address):
        pass
    await listener.close()
    await listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    sockets = await bind("127.0.0.1", 0)
    listener.add(sockets)
    await listener.close()
    assert [each.fileno() for each in sockets] == [-1]


async def test_at_most_64_connections_are_accepted_before_others_have_their_turn() -> None:
    accepted: list[asyncio.Protocol] = []

    def new_connection() -> asyncio.Protocol:
        accepted.append(asyncio.Protocol())
        return accepted[-1]

    sockets = await bind("127.0.0.1", 0)
    clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(130)]
    listener = Listener(new_connection)
    listener.add(sockets)
    seen: list[int] = []
    for _ in range(20):
        await asyncio.sleep(0)
        if accepted and (not seen or len(accepted) > seen[-1]):
            seen.append(len(accepted))
    assert seen == [64, 128, 130]
    await listener.close()
    for client in clients:
        client.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, WithoutReaders])
def test_writing_to_an_accepted_connection_never_blocks(kind: type[asyncio.SelectorEventLoop]) -> None:
    async def write() -> None:
        made: list[asyncio.Transport] = []

        class Writer(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                made.append(transport)

        listener = Listener(Writer)
        address = await listener.listen("127.0.0.1", 0)
        with socket.create_connection(address):
            for _ in range(20):
                await asyncio.sleep(0)
            (transport,) = made
            assert transport.get_extra_info("socket").gettimeout() == 0.0
            transport.abort()
        await listener.close()

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(write())


@in_stopped_loop
async def test_a_failure_to_accept_is_retried_after_a_second_and_reported_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    accepted: list[asyncio.Protocol] = []

    def new_connection() -> asyncio.Protocol:
        accepted.append(asyncio.Protocol())
        return accepted[-1]

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    listener = Listener(new_connection)
    address = await listener.listen("127.0.0.1", 0)
    client = socket.socket()
    reports = []
    with no_free_descriptors(spare=0):
        client.connect(address)
        await turns()
        for seconds in (0, 1.01, 30, 40, 30, 40):
            skip(seconds)
            await turns()
            reports.append(len(caplog.records))
    assert reports == [1, 1, 1, 2, 2, 3]
    assert accepted == []
    skip(1.01)
    await turns()
    assert len(accepted) == 1
    client.close()
    await listener.close()
