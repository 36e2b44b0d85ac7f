"""A worker's end of the connection to its supervisor, in this process: the test is the supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from acytoo.server.listener import Listener, bind
from acytoo.server.worker import VARIABLE, SupervisorConnection, is_worker
from tests.recording_loop import RecordingLoop
from tests.skipping_loop import in_skipping_loop, in_stopped_loop, skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such workers")


async def turns(number: int = 50) -> None:
    """Let the event loop do what can be done now. Everything is in this process."""
    for _ in range(number):
        await asyncio.sleep(0)


class Worker:
    """A worker in place 1 of 3, and what the test sees of it as its supervisor and as its clients."""

    def __init__(
        self, places: list[list[socket.socket]], theirs: socket.socket, descriptor: int, listening: str, interval: str
    ) -> None:
        self.descriptor = descriptor
        self.addresses = [sockets[0].getsockname() for sockets in places]
        self.theirs = theirs
        os.environ[VARIABLE] = f"1:{listening}:{descriptor}:{interval}"
        connection = SupervisorConnection.from_environment()
        assert connection is not None
        self.connection = connection
        self.accepted = 0
        self.ends = 0
        self.listener = Listener(self._accept)
        self.listener.add(connection.sockets)
        self.is_closed = False

    def _accept(self) -> asyncio.Protocol:
        self.accepted += 1
        return asyncio.Protocol()

    def start(self) -> None:
        """Report that it serves."""
        self.connection.start(self.listener, self._end)

    def close(self) -> None:
        """End the worker, once."""
        if not self.is_closed:
            self.is_closed = True
            self.connection.close()

    def _end(self) -> None:
        self.ends += 1

    async def received(self, size: int) -> bytes:
        """Return the next bytes from the worker, or fewer if there are no more."""
        await turns()
        with suppress(BlockingIOError):
            return self.theirs.recv(size)
        return b""

    async def is_silent(self) -> bool:
        """Return whether nothing more was sent, and the connection goes on."""
        await turns()
        try:
            return self.theirs.recv(1) == b"no"
        except BlockingIOError:
            return True

    async def received_end(self) -> bool:
        """Return whether the worker has closed the connection without sending anything more."""
        await turns()
        with suppress(BlockingIOError):
            return not self.theirs.recv(1)
        return False

    async def accepts(self, place: int) -> bool:
        """Return whether the worker accepts a connection of that place."""
        before = self.accepted
        _, writer = await asyncio.open_connection(*self.addresses[place])
        await turns()
        writer.close()
        return self.accepted > before


@asynccontextmanager
async def working(interval: str = "0") -> AsyncIterator[Worker]:
    """Run a worker's connection and its listener."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    places = [await bind("127.0.0.1", 0) for _ in range(3)]
    listening = ";".join(",".join(str(os.dup(each.fileno())) for each in sockets) for sockets in places)
    worker = Worker(places, theirs, ours.detach(), listening, interval)
    try:
        yield worker
    finally:
        await worker.listener.close()
        worker.close()
        theirs.close()
        for sockets in places:
            for each in sockets:
                each.close()


async def test_a_process_is_a_worker_until_it_has_connected() -> None:
    assert not is_worker()
    assert SupervisorConnection.from_environment() is None
    os.environ[VARIABLE] = "x"
    assert is_worker()
    async with working() as worker:
        assert not is_worker()
        assert SupervisorConnection.from_environment() is None
        assert [each.getsockname() for each in worker.connection.sockets] == [worker.addresses[1]]


async def test_it_reports_once_that_it_serves() -> None:
    async with working() as worker:
        assert await worker.is_silent()
        worker.start()
        assert await worker.received(1) == b"r"
        assert await worker.is_silent()


@in_stopped_loop
async def test_it_gives_signs_of_life_at_the_interval_that_its_supervisor_wants() -> None:
    async with working("100.5") as worker:
        worker.start()
        assert await worker.received(2) == b"r."
        for _ in range(3):
            skip(100)
            assert await worker.is_silent()
            skip(0.5)
            assert await worker.received(1) == b"."
        worker.close()
        skip(200)
        await asyncio.sleep(0)
        assert await worker.received_end()


async def test_it_accepts_for_the_places_that_it_is_lent_until_they_are_taken_back() -> None:
    async with working() as worker:
        worker.start()
        assert [await worker.accepts(place) for place in range(3)] == [False, True, False]
        worker.theirs.send(b"+0\n+2\n")
        assert [await worker.accepts(place) for place in range(3)] == [True, True, True]
        worker.theirs.send(b"-2\n-")
        assert [await worker.accepts(place) for place in (0, 1)] == [True, True]
        worker.theirs.send(b"0")
        assert [await worker.accepts(place) for place in (0, 1)] == [True, True]
        worker.theirs.send(b"\n+2\n")
        assert [await worker.accepts(place) for place in range(3)] == [False, True, True]


@pytest.mark.parametrize("has_read", [True, False], ids=["it has read all", "the connection is reset"])
async def test_it_notices_once_that_its_supervisor_has_ended(has_read: bool) -> None:
    async with working("1000") as worker:
        worker.start()
        if has_read:
            assert await worker.received(2) == b"r."
        assert worker.ends == 0
        worker.theirs.close()
        await turns()
        assert worker.ends == 1


@in_skipping_loop
async def test_it_goes_on_if_its_supervisor_does_not_read_or_has_ended() -> None:
    async with working("1000") as worker:
        worker.start()
        worker.theirs.close()
        for _ in range(3):
            skip(1001)
            await asyncio.sleep(0.001)
        assert await worker.accepts(1)


async def test_new_clients_are_refused_at_the_end_only_if_no_other_worker_goes_on() -> None:
    async with working() as worker:
        worker.start()
        await turns()
        assert not worker.listener.is_last
        worker.theirs.send(b"+0\n-0\n")
        await turns()
        assert not worker.listener.is_last
        worker.theirs.send(b"!0\n")
        await turns()
        assert worker.listener.is_last
    async with working() as worker:
        worker.start()
        worker.theirs.close()
        await turns()
        assert worker.listener.is_last


async def test_closing_ends_the_connection_and_the_listening_sockets() -> None:
    async with working() as worker:
        sockets = worker.connection.sockets
        worker.start()
        assert await worker.received(1) == b"r"
        worker.listener.remove(sockets)
        worker.close()
        assert await worker.received_end()
        assert [each.fileno() for each in sockets] == [-1]
        assert not asyncio.get_running_loop().remove_reader(worker.descriptor)
        assert worker.ends == 0


def test_closing_ends_the_signs_of_life() -> None:
    async def main() -> None:
        async with working("1000") as worker:
            worker.start()
            assert loop.pending() == 1
            worker.close()
            assert loop.pending() == 0

    loop = RecordingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
