"""A route under concurrent requests: failures, limits, a target that comes back, and a second one asked in parallel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from acytoo import AcytooError, Route, ServerError, Target, TimedOutError, Timeout
from acytoo.base_provider import AsyncGeneratorProvider, ReplyOpener
from acytoo.client import BatchStream
from acytoo.testing import FakeEndpoint, ScriptedResponse, silent, status
from acytoo.types import Closable, Item, Request
from tests.helpers import MESSAGES
from tests.routing.scripts import ONE, OPENAI, OVERLOADED, THREE, TWO, Plain
from tests.skipping_loop import in_skipping_loop, skip

UNLIMITED = Timeout(None, None, None)


def alternating(*scripts: ScriptedResponse) -> Callable[[object], ScriptedResponse]:
    count = iter(range(1_000_000))
    return lambda _: scripts[next(count) % len(scripts)]


async def test_a_hundred_requests_are_answered_although_one_target_fails_half_of_the_time() -> None:
    async with (
        FakeEndpoint(OPENAI, alternating(ONE, OVERLOADED)) as half,
        FakeEndpoint(OPENAI, TWO) as healthy,
    ):
        route = Route(
            Target(Plain(half.url), name="half"), Target(Plain(healthy.url), name="healthy"), strategy="balance"
        )
        replies = await asyncio.gather(*[route.reply(MESSAGES, session=str(n)) for n in range(100)])
        assert {r.text for r in replies} <= {"one reply", "two replies"}
        assert len(half.requests) + len(healthy.requests) == sum(len(r.attempts) for r in replies)
        assert all(target.in_flight == 0 for target in route.targets)


async def test_a_limit_is_never_passed_and_everybody_gets_a_turn() -> None:
    most = 0

    def count(_: object) -> ScriptedResponse:
        nonlocal most
        most = max(most, route.targets[0].in_flight)
        return ONE

    async with FakeEndpoint(OPENAI, count) as fake:
        route = Route(Target(Plain(fake.url), limit=4))
        replies = await asyncio.gather(*[route.reply(MESSAGES) for _ in range(60)])
        assert [r.text for r in replies] == ["one reply"] * 60
        assert most == 4


async def test_a_full_queue_refuses_the_next_request_at_once() -> None:
    async with FakeEndpoint(OPENAI, ONE.stall(after=1)) as fake:
        route = Route(Target(Plain(fake.url), limit=1, queue=1))
        first = route.create_async_generator("", MESSAGES)
        assert await anext(first) == "one "
        second = asyncio.ensure_future(route.reply(MESSAGES))
        await asyncio.sleep(0)
        with pytest.raises(ServerError, match="too many requests are waiting") as caught:
            await route.reply(MESSAGES)
        assert caught.value.status == 503
        assert caught.value.retry_after
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await first.aclose()
        assert not route.targets[0].is_full


async def test_a_route_with_a_full_queue_is_busy_for_the_route_around_it_and_has_not_failed() -> None:
    async with FakeEndpoint(OPENAI, ONE.stall(after=1), TWO) as fake, FakeEndpoint(OPENAI, THREE) as other:
        inner = Route(Target(Plain(fake.url), limit=1, queue=0), attempts=1)
        outer = Route(Target(inner, name="inner", failures=1), Target(Plain(other.url), name="other"))
        first = outer.create_async_generator("", MESSAGES)
        await anext(first)
        reply = await outer.reply(MESSAGES)
        assert [(a.target, a.outcome) for a in reply.attempts] == [("inner", "BusyError"), ("other", "answered")]
        await first.aclose()
        assert (await outer.reply(MESSAGES)).text == "two replies"


async def test_a_full_target_is_passed_over() -> None:
    async with FakeEndpoint(OPENAI, ONE.stall(after=1)) as fake, FakeEndpoint(OPENAI, TWO) as other:
        route = Route(Target(Plain(fake.url), limit=1, name="one"), Target(Plain(other.url), name="two"))
        first = route.create_async_generator("", MESSAGES)
        await anext(first)
        assert (await route.reply(MESSAGES)).text == "two replies"
        await first.aclose()


async def test_a_target_that_comes_back_is_not_flooded() -> None:
    healthy = False
    at_once: list[int] = []

    def script(_: object) -> ScriptedResponse:
        at_once.append(target.in_flight)
        return ONE if healthy else OVERLOADED

    async with FakeEndpoint(OPENAI, script) as fake:
        target = Target(Plain(fake.url), failures=3, pause=0.2)
        route = Route(target, attempts=3)
        for _ in range(3):
            with pytest.raises(AcytooError):
                await Route(target, attempts=1).reply(MESSAGES)
        healthy = True
        at_once.clear()
        replies = await asyncio.gather(*[route.reply(MESSAGES) for _ in range(50)])
        assert [r.text for r in replies] == ["one reply"] * 50
        assert len(at_once) == 50
        assert at_once[0] == 1
        assert all(number <= 2 * earlier + 1 for earlier, number in enumerate(at_once)), at_once


async def test_while_every_target_is_paused_for_long_a_request_fails_at_once_with_the_time_to_wait() -> None:
    async with FakeEndpoint(OPENAI, OVERLOADED) as fake:
        route = Route(Target(Plain(fake.url), failures=1, pause=100), attempts=1)
        with pytest.raises(ServerError, match="overloaded"):
            await route.reply(MESSAGES)
        with pytest.raises(ServerError, match="paused after failures: plain") as caught:
            await route.reply(MESSAGES)
        assert caught.value.status == 503
        assert 70 < (caught.value.retry_after or 0) <= 120
        assert len(fake.requests) == 1


async def hedged(
    stack: AsyncExitStack, *scripts: Any, attempts: int = 4, deadline: float = 60.0, limit: int | None = None
) -> tuple[Route, list[FakeEndpoint]]:
    """Return a route that knows how long a reply takes, over endpoints with these scripts."""
    fakes = [await stack.enter_async_context(FakeEndpoint(OPENAI, *s)) for s in scripts]
    targets = [Target(Plain(fake.url), name=f"t{n}", limit=limit) for n, fake in enumerate(fakes, 1)]
    route = Route(*targets, hedge=True, attempts=attempts, deadline=deadline)
    for _ in range(20):
        assert route.hedge_after is None
        route.note_first_content(0.05)
    assert route.hedge_after == 0.05
    return route, fakes


async def test_a_slow_target_is_overtaken_by_a_second_one_and_left() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [TWO])
        got = await route.reply(MESSAGES)
        assert got.text == "two replies"
        await fakes[0].disconnected()
        assert all(target.in_flight == 0 for target in route.targets)


async def test_a_target_that_is_fast_enough_is_the_only_one_asked() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [ONE], [TWO])
        route._first_content_s.extend([5.0] * 100)
        assert (await route.reply(MESSAGES)).text == "one reply"
        assert [len(fake.requests) for fake in fakes] == [1, 0]


@in_skipping_loop
async def test_if_one_of_two_fails_the_other_one_answers() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [ONE.wait(1000, after=0)], [OVERLOADED], deadline=1e6)
        asking = asyncio.ensure_future(route.reply(MESSAGES, timeout=UNLIMITED))
        await fakes[1].received()
        skip(1000)
        assert (await asking).text == "one reply"
        assert [len(fake.requests) for fake in fakes] == [1, 1]


async def test_if_both_fail_the_route_goes_on() -> None:
    async with AsyncExitStack() as stack:
        # By chance, the second one's pauses may end before the first one's, more than once.
        route, _ = await hedged(stack, [OVERLOADED, ONE], [OVERLOADED, OVERLOADED], attempts=20)
        got = await route.reply(MESSAGES)
        assert got.text == "one reply"


async def test_cancelling_a_call_that_asks_two_targets_leaves_both() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [silent()])
        task = asyncio.ensure_future(route.reply(MESSAGES))
        await fakes[1].received()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for fake in fakes:
            await fake.disconnected()
        assert all(target.in_flight == 0 for target in route.targets)


async def test_cancelling_a_call_at_any_step_leaves_both_targets() -> None:
    async with AsyncExitStack() as stack:
        route, _ = await hedged(stack, [silent()], [TWO])
        route._first_content_s.extend([0.0] * 100)
        for steps in range(40):
            task = asyncio.ensure_future(route.reply(MESSAGES))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert [target.in_flight for target in route.targets] == [0, 0], steps


async def test_the_target_that_was_left_is_among_the_attempts() -> None:
    async with AsyncExitStack() as stack:
        route, _ = await hedged(stack, [silent()], [TWO])
        got = await route.reply(MESSAGES)
        assert [(a.target, a.outcome) for a in got.attempts] == [("t1", "cancelled"), ("t2", "answered")]


async def test_those_that_wait_are_not_sent_to_a_target_that_has_asked_to_wait() -> None:
    async with FakeEndpoint(OPENAI, status(429, "slow down").header("retry-after", "60")) as fake:
        route = Route(Target(Plain(fake.url), limit=1))
        results = await asyncio.gather(*[route.reply(MESSAGES) for _ in range(5)], return_exceptions=True)
        assert all(isinstance(result, AcytooError) for result in results)
        assert len(fake.requests) == 1
        assert route.targets[0].in_flight == 0


def passed(provider: AsyncGeneratorProvider, request: Request) -> Closable[bytes]:
    """Begin a reply whose bytes pass through, as a server does: a ReplyOpener."""
    body = msgspec.json.encode({"model": "m", "messages": MESSAGES, "stream": request.stream})
    return provider.pass_through(body, request, OPENAI.writer(request) if request.stream else None)


def answered(provider: AsyncGeneratorProvider, request: Request) -> Closable[list[Item]]:
    """Begin a reply that is translated, as a server does: a ReplyOpener."""
    return provider.answer(request)


@pytest.mark.parametrize("hedge", [False, True])
@pytest.mark.parametrize("first", [ONE.wait(0.001, after=1), OVERLOADED, ONE.reset(after=1)], ids=["ok", "busy", "cut"])
@pytest.mark.parametrize(
    ("opener", "stream"), [(passed, True), (passed, False), (answered, True)], ids=["passed", "document", "answered"]
)
async def test_a_servers_request_cancelled_at_any_step_gives_every_place_back(
    opener: ReplyOpener[Any], stream: bool, first: ScriptedResponse, hedge: bool
) -> None:
    async with FakeEndpoint(OPENAI, first) as one, FakeEndpoint(OPENAI, TWO) as two:
        targets = [Target(Plain(fake.url), name=name, failures=1000) for name, fake in (("one", one), ("two", two))]
        inner = Route(*targets, hedge=hedge)
        outer = Route(Target(inner, name="inner"))

        async def ask() -> None:
            opened = await outer.open_reply(Request(MESSAGES, "m", stream=stream), opener)
            try:
                async for _ in opened.batches:
                    if isinstance(opened.batches, BatchStream):
                        await opened.batches.forward(lambda _: True)
            finally:
                await opened.batches.aclose()

        for steps in range(50):
            inner._first_content_s.extend([0.0] * 100)
            task = asyncio.ensure_future(ask())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert [target.in_flight for target in (*targets, *outer.targets)] == [0, 0, 0], steps


@pytest.mark.parametrize("scripts", [([silent()], [OVERLOADED]), ([OVERLOADED.wait(1000, after=0)], [silent()])])
@in_skipping_loop
async def test_a_third_target_takes_the_place_of_one_of_two_that_fails(scripts: Any) -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, *scripts, [TWO], deadline=1e6)
        asking = asyncio.ensure_future(route.reply(MESSAGES, timeout=UNLIMITED))
        await fakes[1].received()
        skip(1000)
        got = await asking
        assert got.text == "two replies"
        assert sorted(attempt.outcome for attempt in got.attempts) == ["ServerError", "answered", "cancelled"]
        assert got.attempts[-1].target == "t3"
        assert [len(fake.requests) for fake in fakes] == [1, 1, 1]
        assert all(target.in_flight == 0 for target in route.targets)


@in_skipping_loop
async def test_a_second_target_that_is_full_when_it_is_due_is_asked_once_it_has_room() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [TWO], limit=1)
        lease = route.targets[1].take()
        assert lease is not None
        task = asyncio.ensure_future(route.reply(MESSAGES))
        await fakes[0].received()
        skip(0.05)
        for _ in range(10):
            await asyncio.sleep(0)
        lease.release()
        assert (await task).text == "two replies"
        assert [len(fake.requests) for fake in fakes] == [1, 1]
        assert all(target.in_flight == 0 for target in route.targets)


async def test_a_second_target_that_is_paused_when_it_is_due_is_asked_after_the_pause() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [TWO])
        route.targets[1].failed(0.3)
        assert (await route.reply(MESSAGES)).text == "two replies"
        assert [len(fake.requests) for fake in fakes] == [1, 1]


async def test_no_second_target_is_looked_for_beyond_the_attempts() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [ONE.wait(0.3, after=0)], [TWO], attempts=1)
        assert (await route.reply(MESSAGES)).text == "one reply"
        assert [len(fake.requests) for fake in fakes] == [1, 0]


@in_skipping_loop
async def test_after_a_bad_request_to_one_of_two_targets_no_third_one_is_asked() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [ONE.wait(1000, after=0)], [status(400)], [TWO], deadline=1e6)
        asking = asyncio.ensure_future(route.reply(MESSAGES, timeout=UNLIMITED))
        await fakes[1].received()
        while route.targets[1].in_flight:  # noqa: ASYNC110 - a failure is no event
            await asyncio.sleep(0)
        skip(1000)
        assert (await asking).text == "one reply"
        assert [len(fake.requests) for fake in fakes] == [1, 1, 0]


async def test_two_targets_that_begin_at_the_same_time_give_one_reply() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [ONE.wait(0.02, after=0)], [TWO.wait(0.02, after=0)])
        route._first_content_s.extend([0.0] * 100)
        got = await asyncio.gather(*[route.reply(MESSAGES) for _ in range(20)])
        assert {reply.text for reply in got} <= {"one reply", "two replies"}
        for reply in got:
            assert [attempt.outcome for attempt in reply.attempts][-1] == "answered"
            assert reply.attempts[-1].target == ("t1" if reply.text == "one reply" else "t2")
        assert [target.in_flight for target in route.targets] == [0, 0]
        assert [len(fake.requests) for fake in fakes] == [20, 20]


@in_skipping_loop
async def test_two_targets_that_are_silent_until_the_deadline_count_as_failed() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [silent()], deadline=1000)
        asking = asyncio.ensure_future(route.reply(MESSAGES, timeout=UNLIMITED))
        await fakes[1].received()
        skip(1000)
        with pytest.raises(TimedOutError, match="no reply began within 1000 s: t1, t2") as caught:
            await asking
        assert sorted((a.target, a.outcome) for a in caught.value.attempts) == [
            ("t1", "cancelled"),
            ("t2", "cancelled"),
        ]
        assert [target.failures_in_a_row for target in route.targets] == [1, 1]
        assert [target.in_flight for target in route.targets] == [0, 0]


async def test_targets_that_are_left_by_an_impatient_caller_have_not_failed() -> None:
    async with AsyncExitStack() as stack:
        route, fakes = await hedged(stack, [silent()], [silent()])
        for steps in range(8):
            task = asyncio.ensure_future(route.reply(MESSAGES))
            await fakes[1].received(steps + 1)
            task.cancel()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for fake in fakes:
                await fake.disconnected()
            assert [target.failures_in_a_row for target in route.targets] == [0, 0]
            assert [target.in_flight for target in route.targets] == [0, 0]
