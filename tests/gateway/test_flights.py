"""Several callers, one reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from acytoo.errors import RateLimitError, ServerError, TruncatedError
from acytoo.gateway.flights import FlightReader, Flights
from acytoo.server.control import BackendReply
from acytoo.types import Item


class Upstream:
    """A reply that the test sends piece by piece."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_closed = False
        self.pieces: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent = 0

    async def ask(self) -> BackendReply:
        """Wait for the test to let the reply begin."""
        self.asked += 1
        await self.opening
        return BackendReply(self._batches(), False, {"x-acytoo-target": "a"})

    def send(self, *pieces: str | Exception | None) -> None:
        """Let the reply begin, and send pieces; None ends it."""
        if not self.opening.done():
            self.opening.set_result(None)
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def _batches(self) -> AsyncGenerator[list[Item], None]:
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                self.sent += 1
                yield [piece]
        finally:
            self.is_closed = True


class Kept(list[tuple[list[Item], Mapping[str, str]]]):
    """The replies that were given to the cache."""

    async def keep(self, items: Sequence[Item], headers: Mapping[str, str]) -> None:
        self.append((list(items), headers))


@pytest.fixture
async def upstream() -> Upstream:
    """A reply of the test's own."""
    return Upstream()


@pytest.fixture
def kept() -> Kept:
    """The replies that were kept."""
    return Kept()


async def read(reader: FlightReader) -> str:
    """Return the complete text, and leave."""
    try:
        await reader.opened()
        return "".join([str(item) async for batch in reader for item in batch])
    finally:
        await reader.aclose()


def join(flights: Flights) -> FlightReader:
    """Return a reader of the reply that is being received."""
    reader = flights.join(b"key")
    assert reader is not None
    return reader


async def turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_identical_requests_share_one_reply(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    readers = [flights.start(b"key", upstream.ask, kept.keep), join(flights), join(flights)]
    reading = [asyncio.ensure_future(read(reader)) for reader in readers]
    await turns()
    upstream.send("Hel", "lo", None)
    assert await asyncio.gather(*reading) == ["Hello"] * 3
    await turns()
    assert upstream.asked == 1
    assert kept == [(["Hel", "lo"], {"x-acytoo-target": "a"})]
    assert flights.join(b"key") is None


async def test_another_request_has_a_reply_of_its_own(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    reader = flights.start(b"key", upstream.ask, kept.keep)
    assert flights.join(b"other") is None
    await reader.aclose()


async def test_who_joins_later_gets_the_reply_from_its_beginning(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    first = asyncio.ensure_future(read(flights.start(b"key", upstream.ask, kept.keep)))
    upstream.send("Hel")
    await turns()
    second = asyncio.ensure_future(read(join(flights)))
    await turns()
    upstream.send("lo", None)
    assert list(await asyncio.gather(first, second)) == ["Hello", "Hello"]


@pytest.mark.parametrize("pieces", [(), ("Hel",)])
async def test_the_first_caller_may_leave_without_the_others_noticing(
    upstream: Upstream, kept: Kept, pieces: tuple[str, ...]
) -> None:
    flights = Flights()
    first = asyncio.ensure_future(read(flights.start(b"key", upstream.ask, kept.keep)))
    second = asyncio.ensure_future(read(join(flights)))
    if pieces:
        upstream.send(*pieces)
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    upstream.send(*["Hel", "lo"][len(pieces) :], None)
    assert await second == "Hello"
    assert len(kept) == 1


@pytest.mark.parametrize("has_begun", [False, True])
async def test_when_all_callers_leave_the_upstream_call_stops(upstream: Upstream, kept: Kept, has_begun: bool) -> None:
    flights = Flights()
    reading = [
        asyncio.ensure_future(read(reader))
        for reader in (flights.start(b"key", upstream.ask, kept.keep), join(flights))
    ]
    if has_begun:
        upstream.send("Hel")
    await turns()
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
    assert upstream.is_closed is has_begun
    assert upstream.opening.cancelled() is not has_begun
    assert not kept
    assert flights.join(b"key") is None


async def test_a_request_after_all_have_left_is_sent_again(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    await flights.start(b"key", upstream.ask, kept.keep).aclose()
    second = Upstream()
    reading = asyncio.ensure_future(read(flights.start(b"key", second.ask, kept.keep)))
    second.send("Hi", None)
    assert await reading == "Hi"


async def test_an_error_before_the_reply_is_everybodys(upstream: Upstream, kept: Kept) -> None:
    async def refuse() -> BackendReply:
        await upstream.opening
        raise RateLimitError("slow down", status=429, retry_after=7)

    flights = Flights()
    reading = [
        asyncio.ensure_future(read(reader)) for reader in (flights.start(b"key", refuse, kept.keep), join(flights))
    ]
    await turns()
    upstream.send()
    errors = await asyncio.gather(*reading, return_exceptions=True)
    assert [(type(error), getattr(error, "retry_after", None)) for error in errors] == [(RateLimitError, 7)] * 2
    assert errors[0] is not errors[1]
    assert not kept
    assert flights.join(b"key") is None


async def test_a_reply_that_is_cut_is_an_error_for_everybody_and_not_kept(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    readers = [flights.start(b"key", upstream.ask, kept.keep), join(flights)]
    upstream.send("Hel", TruncatedError("the reply was cut"))
    for reader in readers:
        seen = []
        with pytest.raises(TruncatedError, match="the reply was cut"):
            async for batch in reader:
                seen += batch
        assert seen == ["Hel"]
        await reader.aclose()
    assert not kept


async def test_a_defect_is_reported_as_an_internal_error(
    upstream: Upstream, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    flights = Flights()
    reader = flights.start(b"key", upstream.ask, kept.keep)
    upstream.send(ZeroDivisionError())
    with pytest.raises(ServerError, match="internal server error"):
        await read(reader)
    assert "ZeroDivisionError" in caplog.text


async def test_a_slow_caller_does_not_hold_up_the_others(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    fast, slow = flights.start(b"key", upstream.ask, kept.keep), join(flights)
    upstream.send(*["x"] * 100, None)
    assert await read(fast) == "x" * 100
    assert await read(slow) == "x" * 100


async def test_a_reply_that_is_too_large_is_not_kept_and_nobody_can_join_it(upstream: Upstream, kept: Kept) -> None:
    flights = Flights(most_bytes=10_000)
    reader = flights.start(b"key", upstream.ask, kept.keep)
    upstream.send(*["x" * 1000] * 12)
    await turns()
    assert flights.join(b"key") is None
    upstream.send(*["x" * 1000] * 988, None)
    assert len(await read(reader)) == 1_000_000
    assert not kept


async def test_reading_a_reply_that_is_too_large_waits_for_the_slowest_caller(upstream: Upstream, kept: Kept) -> None:
    flights = Flights(most_bytes=10_000)
    fast, slow = flights.start(b"key", upstream.ask, kept.keep), join(flights)
    upstream.send(*["x" * 1000] * 1000, None)
    reading = asyncio.ensure_future(read(fast))
    await turns()
    await turns()
    assert upstream.sent < 40
    assert len(await read(slow)) == 1_000_000
    assert len(await reading) == 1_000_000


async def test_a_slow_caller_that_leaves_holds_nobody_up(upstream: Upstream, kept: Kept) -> None:
    flights = Flights(most_bytes=10_000)
    fast, slow = flights.start(b"key", upstream.ask, kept.keep), join(flights)
    upstream.send(*["x" * 1000] * 1000, None)
    reading = asyncio.ensure_future(read(fast))
    await turns()
    await slow.aclose()
    await slow.aclose()
    assert len(await reading) == 1_000_000


async def test_closing_stops_all_upstream_calls(upstream: Upstream, kept: Kept) -> None:
    flights = Flights()
    reader = flights.start(b"key", upstream.ask, kept.keep)
    upstream.send("Hel")
    await turns()
    await flights.close()
    assert upstream.is_closed
    await reader.aclose()


async def test_closing_waits_until_a_complete_reply_is_kept(upstream: Upstream) -> None:
    begun, is_kept = asyncio.Event(), False

    async def keep(items: Sequence[Item], headers: Mapping[str, str]) -> None:
        nonlocal is_kept
        begun.set()
        await turns()
        is_kept = True

    flights = Flights()
    reader = flights.start(b"key", upstream.ask, keep)
    upstream.send("Hello", None)
    assert await read(reader) == "Hello"
    await begun.wait()
    await flights.close()
    assert is_kept
