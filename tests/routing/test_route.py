"""A route over scripted endpoints: what is repeated, what is not, and what callers see of it."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import pickle
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

import acytoo
from acytoo import (
    AcytooError,
    Attempts,
    AuthenticationError,
    Finish,
    NotFoundError,
    RateLimitError,
    ReplyTooLargeError,
    RequestError,
    Route,
    ServerError,
    Start,
    Target,
    TimedOutError,
    Timeout,
    TruncatedError,
    UnsupportedError,
    UsageError,
    dialects,
)
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.http import Endpoint
from acytoo.testing import FakeEndpoint, ScriptedResponse, hang_up, reply, silent, status
from acytoo.types import Request
from tests.helpers import MESSAGES
from tests.routing.scripts import ONE, OPENAI, OVERLOADED, TWO, Plain
from tests.skipping_loop import in_skipping_loop, skip


class Keyed(AsyncGeneratorProvider):
    dialect = OPENAI
    needs_auth = True


class Claude(AsyncGeneratorProvider):
    dialect = dialects.Anthropic()


class Prepared(AsyncGeneratorProvider):
    dialect = OPENAI

    async def prepare(self, endpoint: Endpoint, fetch: Any) -> Endpoint:
        return endpoint


@asynccontextmanager
async def endpoints(*scripts: ScriptedResponse | list[ScriptedResponse], **options: Any) -> AsyncIterator[Any]:
    """Run an endpoint for each script, and yield a route over them and the list of them."""
    async with AsyncExitStack() as stack:
        fakes = [
            await stack.enter_async_context(FakeEndpoint(OPENAI, *(s if isinstance(s, list) else [s]))) for s in scripts
        ]
        targets = [Target(Plain(fake.url), name=f"t{number}") for number, fake in enumerate(fakes, 1)]
        yield Route(*targets, **options), fakes


async def text_of(route: Route, model: str = "", **options: Any) -> str:
    return "".join([text async for text in route.create_async_generator(model, MESSAGES, **options)])


async def error_of(route: Route, **options: Any) -> AcytooError:
    with pytest.raises(AcytooError) as caught:
        await text_of(route, **options)
    return caught.value


def counts(fakes: list[FakeEndpoint]) -> list[int]:
    return [len(fake.requests) for fake in fakes]


async def test_the_first_target_answers_if_it_works() -> None:
    async with endpoints(ONE, TWO) as (route, fakes):
        assert await text_of(route) == "one reply"
        assert counts(fakes) == [1, 0]


@pytest.mark.parametrize(
    "failure",
    [
        hang_up(),
        status(503, "overloaded"),
        status(500, "internal error"),
        status(429, "slow down"),
        status(408, "timeout"),
        status(409, "conflict"),
        status(425, "too early"),
        status(401, "wrong key"),
        status(403, "no access"),
        status(404, "no such model"),
        reply("x").fail("the model has failed", after=0),
        reply("x").end(after=0),
        reply(Start("id-1", "m", 7), "x").reset(after_bytes=60),
        status(200, body="<title>Sign in</title>", content_type="text/html"),
        status(400, body='{"error": {"message": "too long", "code": "context_length_exceeded"}}'),
    ],
    ids=lambda failure: str(failure.status or type(failure.content).__name__),
)
async def test_the_next_target_answers_if_the_first_fails_before_its_content(failure: ScriptedResponse) -> None:
    async with endpoints(failure, TWO) as (route, fakes):
        assert await text_of(route) == "two replies"
        assert counts(fakes) == [1, 1]


async def test_the_next_target_answers_if_the_conversation_is_too_long_for_claude() -> None:
    message = "prompt is too long: 208310 tokens > 200000 maximum"
    refusal = status(400, body=f'{{"error": {{"type": "invalid_request_error", "message": "{message}"}}}}')
    async with FakeEndpoint(dialects.Anthropic(), refusal) as first, FakeEndpoint(OPENAI, TWO) as second:
        route = Route(Target(Claude(first.url), failures=1), Plain(second.url))
        for _ in range(2):
            assert await text_of(route) == "two replies"
        assert counts([first, second]) == [2, 2], "it works for shorter conversations, so it is not paused"


async def test_the_next_target_answers_if_the_first_cannot_be_reached_or_is_silent() -> None:
    async with FakeEndpoint(OPENAI, silent()) as mute, FakeEndpoint(OPENAI, TWO) as healthy:
        late = Plain(mute.url, timeout={"first_byte": 0.1})
        route = Route(Target(Plain("http://127.0.0.1:9"), name="gone"), Target(late, name="late"), Plain(healthy.url))
        got = await route.reply(MESSAGES)
        assert got.text == "two replies"
        assert [(a.target, a.outcome) for a in got.attempts] == [
            ("gone", "UnreachableError"),
            ("late", "TimedOutError"),
            ("plain", "answered"),
        ]


async def test_an_error_after_the_first_content_belongs_to_the_caller_with_the_text_so_far() -> None:
    async with endpoints(ONE.reset(after=1), TWO) as (route, fakes):
        error = await error_of(route)
        assert isinstance(error, TruncatedError)
        assert error.text == "one "
        assert [a.outcome for a in error.attempts] == ["answered"]
        assert counts(fakes) == [1, 0]


async def test_what_precedes_the_content_of_a_failed_attempt_is_not_seen() -> None:
    failing = reply(Start("id-1", "wrong", 1), "x").fail("the model has failed", after=0)
    healthy = reply(Start("id-2", "right", 2), "fine", Finish("stop"))
    async with endpoints(failing, healthy) as (route, _):
        items = [item async for item in route.stream(MESSAGES)]
        assert [item for item in items if not isinstance(item, Attempts)] == [
            Start("id-2", "right", 2),
            "fine",
            Finish("stop"),
        ]


async def test_a_bad_request_is_not_sent_to_another_target_unless_the_route_is_set_so() -> None:
    async with endpoints(status(400, "bad temperature"), TWO) as (route, fakes):
        error = await error_of(route)
        assert isinstance(error, RequestError)
        assert counts(fakes) == [1, 0]
    async with endpoints(status(400, "bad temperature"), TWO, next_on=[RequestError]) as (route, _):
        assert await text_of(route) == "two replies"


async def test_an_error_of_next_on_is_never_repeated_at_the_same_target() -> None:
    limited = status(429, "slow down")
    async with endpoints([limited, ONE], TWO, next_on=[RateLimitError]) as (route, fakes):
        assert await text_of(route) == "two replies"
        assert counts(fakes) == [1, 1]
    async with endpoints([limited, ONE], next_on=[RateLimitError]) as (route, fakes):
        assert isinstance(await error_of(route), RateLimitError)
        assert counts(fakes) == [1]


async def test_a_route_can_be_set_to_stop_at_a_wrong_key() -> None:
    async with endpoints(status(401, "wrong key"), TWO, next_on=[NotFoundError]) as (route, fakes):
        assert isinstance(await error_of(route), AuthenticationError)
        assert counts(fakes) == [1, 0]


async def test_a_target_that_cannot_express_the_request_is_passed_over() -> None:
    async with FakeEndpoint(OPENAI, ONE) as fake:
        route = Route(Claude("http://127.0.0.1:9", model="m"), Plain(fake.url))
        assert (await route.reply(MESSAGES, seed=7)).text == "one reply"
        only = Route(Claude("http://127.0.0.1:9", model="m"))
        with pytest.raises(UnsupportedError, match="seed"):
            await only.reply(MESSAGES, seed=7)


async def test_a_target_without_its_key_is_passed_over() -> None:
    async with FakeEndpoint(OPENAI, ONE) as fake:
        assert (await Route(Keyed("http://127.0.0.1:9"), Plain(fake.url)).reply(MESSAGES)).text == "one reply"


async def test_one_target_is_asked_again_after_a_pause() -> None:
    async with endpoints([OVERLOADED, OVERLOADED, ONE]) as (route, fakes):
        assert await text_of(route) == "one reply"
        assert counts(fakes) == [3]


async def test_the_budget_of_attempts_holds_over_all_targets() -> None:
    async with endpoints(OVERLOADED, OVERLOADED, attempts=3) as (route, fakes):
        error = await error_of(route)
        assert isinstance(error, ServerError)
        assert sum(counts(fakes)) == 3
        assert len(error.attempts) == 3


async def test_retry_after_is_honoured() -> None:
    loop = asyncio.get_running_loop()
    async with endpoints([status(429, "slow down").header("retry-after", "0.4"), ONE]) as (route, _):
        before = loop.time()
        assert await text_of(route) == "one reply"
        assert loop.time() - before >= 0.4


async def test_what_a_targets_limit_can_never_take_goes_to_the_next_one_and_closes_no_target() -> None:
    too_much = status(429, "send less").header("x-should-retry", "false")
    async with endpoints(too_much, ONE) as (route, fakes):
        for _ in range(10):
            assert await text_of(route) == "one reply"
        assert counts(fakes) == [10, 10]


async def test_a_failure_that_the_server_says_not_to_repeat_goes_to_the_next_target_at_once() -> None:
    final = status(502, "the reply is too large").header("x-should-retry", "false")
    async with endpoints(final, ONE) as (route, fakes):
        assert await text_of(route) == "one reply"
        assert counts(fakes) == [1, 1]
    async with endpoints(final) as (route, fakes):
        assert isinstance(await error_of(route), ServerError)
        assert counts(fakes) == [1]


async def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    loop = asyncio.get_running_loop()
    async with endpoints(status(429, "slow down").header("retry-after", "20"), deadline=10) as (route, fakes):
        before = loop.time()
        error = await error_of(route)
        assert isinstance(error, RateLimitError)
        assert error.retry_after == 20
        assert loop.time() - before < 10
        assert counts(fakes) == [1]


async def test_a_target_that_asked_to_wait_gets_no_other_request_either() -> None:
    async with endpoints(status(429, "slow down").header("retry-after", "60"), TWO) as (route, fakes):
        for _ in range(3):
            assert await text_of(route) == "two replies"
        assert counts(fakes) == [1, 3]


@in_skipping_loop
async def test_the_deadline_ends_an_attempt() -> None:
    async with endpoints(silent(), deadline=1000) as (route, fakes):
        asking = asyncio.ensure_future(error_of(route, timeout=Timeout(None, None, None)))
        await fakes[0].received()
        skip(1000)
        error = await asking
        assert isinstance(error, TimedOutError)
        assert error.phase == "deadline"
        await fakes[0].disconnected()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def chunk_of(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return a record of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "id-1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


@asynccontextmanager
async def raw_upstream(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], head: bytes = HEAD
) -> AsyncIterator[str]:
    """Run a server that begins a stream for each request and lets `answer` write the rest. Yield its URL."""

    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with suppress(ConnectionError):
            await answer(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*serving)


@pytest.mark.parametrize("prepares", [False, True])
async def test_the_deadline_ends_an_attempt_that_has_no_text_in_time(prepares: bool) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
        while not writer.transport.is_closing():
            writer.write(chunk_of({"images": [image]}))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_upstream(answer) as url:
        target = Target((Prepared if prepares else Plain)(url), name="t1")
        error = await error_of(Route(target, deadline=0.3))
        assert isinstance(error, TimedOutError)
        assert str(error) == "no reply began within 0.3 s: t1"
        assert [(attempt.target, attempt.outcome) for attempt in error.attempts] == [("t1", "cancelled")]
        assert (target.in_flight, target.failures_in_a_row) == (0, 1)


@in_skipping_loop
async def test_a_reply_that_began_before_the_deadline_may_take_longer() -> None:
    has_begun = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(chunk_of({"content": "one "}))
        await has_begun.wait()
        writer.write(chunk_of({"content": "reply"}, "stop") + b"data: [DONE]\n\n")

    async with raw_upstream(answer) as url:
        provider = Plain(url, timeout={"idle": None, "first_byte": None})
        texts = Route(provider, deadline=10).create_async_generator("", MESSAGES)
        assert await anext(texts) == "one "
        skip(20)
        await asyncio.sleep(0)
        has_begun.set()
        assert [text async for text in texts] == ["reply"]


async def test_the_most_hopeful_error_is_raised() -> None:
    async with endpoints(status(503, "overloaded"), status(401, "wrong key"), attempts=2) as (route, _):
        error = await error_of(route)
        assert isinstance(error, ServerError)
        assert [a.outcome for a in error.attempts] == ["ServerError", "AuthenticationError"]


async def test_a_target_is_asked_for_its_own_model_and_else_for_the_callers() -> None:
    async with FakeEndpoint(OPENAI, OVERLOADED) as first, FakeEndpoint(OPENAI, TWO) as second:
        route = Route(Target(Plain(first.url, model="its-own"), name="first"), Target(Plain(second.url), name="second"))
        await route.reply(MESSAGES, model="the-callers")
        assert first.requests[0].json["model"] == "its-own"
        assert second.requests[0].json["model"] == "the-callers"


async def test_a_call_without_a_model_asks_for_the_first_targets_if_each_target_has_its_own() -> None:
    first, second, other = (
        Plain("http://127.0.0.1:9", model="a"),
        Plain("http://127.0.0.1:8", model="b"),
        Plain("http://127.0.0.1:7"),
    )
    assert Route(first, second).first_model == "a"
    assert Route(first, other).first_model == "", "the other one takes the caller's"
    async with FakeEndpoint(OPENAI, OVERLOADED) as fake, FakeEndpoint(OPENAI, TWO) as second_fake:
        route = Route(Plain(fake.url, model="a"), Target(Plain(second_fake.url, model="b"), name="second"))
        await route.reply(MESSAGES)
        assert fake.requests[0].json["model"] == "a"
        assert second_fake.requests[0].json["model"] == "b"


@in_skipping_loop
async def test_a_setting_of_a_call_holds_at_every_target() -> None:
    async with endpoints(silent(), TWO) as (route, fakes):
        asking = asyncio.ensure_future(text_of(route, timeout={"first_byte": 10}))
        await fakes[0].received()
        skip(10)
        assert await asking == "two replies"


@pytest.mark.parametrize("name", ["key", "url", "password", "extra_headers"])
def test_a_setting_that_targets_cannot_share_is_refused(name: str) -> None:
    value: Any = {"x": "y"} if name == "extra_headers" else "http://127.0.0.1:9"
    with pytest.raises(UsageError, match=name):
        Route("ollama/llama3.2").create_async_generator("", MESSAGES, **{name: value})
    with pytest.raises(UsageError, match=name):
        Route("ollama/llama3.2", **{name: value})


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: Route(), "at least one target"),
        (lambda: Route(""), "empty"),
        (lambda: Route("ollama/a", "ollama/a"), "twice"),
        (lambda: Route("olama/a"), "ollama"),
        (lambda: Route("ollama/a", strategy="random"), "strategy"),  # type: ignore[arg-type]
        (lambda: Route("ollama/a", attempts=0), "attempts"),
        (lambda: Route("ollama/a", deadline=-1), "deadline"),
        (lambda: Route("ollama/a", max_wait=-1), "max_wait"),
        (lambda: Route("ollama/a", next_on=[ValueError]), "next_on"),  # type: ignore[list-item]
        (lambda: Route(Target(Plain("http://127.0.0.1:9")), timeout=3), "timeout"),
        (lambda: Target("ollama/a"), "expected a provider"),  # type: ignore[arg-type]
        (lambda: Target(Plain("http://127.0.0.1:9"), weight=0), "weight"),
        (lambda: Target(Plain("http://127.0.0.1:9"), limit=0), "limit"),
        (lambda: Target(Plain("http://127.0.0.1:9"), queue=-1), "queue"),
        (lambda: Target(Plain("http://127.0.0.1:9"), failures=0), "failures"),
        (lambda: Target(Plain("http://127.0.0.1:9"), pause=0), "pause"),
        (lambda: acytoo.provider("ollama/a|"), "empty"),
        (lambda: Route("ollama/a", attempts=2.5), "attempts"),  # type: ignore[arg-type]
        (lambda: Route("ollama/a", attempts=float("nan")), "attempts"),  # type: ignore[arg-type]
        (lambda: Route("ollama/a", deadline="3"), "deadline"),  # type: ignore[arg-type]
        (lambda: Route("ollama/a", next_on=RequestError), "next_on"),  # type: ignore[arg-type]
        (lambda: Route("ollama/a", next_on=["RequestError"]), "next_on"),  # type: ignore[list-item]
        (lambda: Target(Plain("http://127.0.0.1:9"), weight=1e308), "weight"),
        (lambda: Target(Plain("http://127.0.0.1:9"), weight="1"), "weight"),  # type: ignore[arg-type]
        (lambda: Target(Plain("http://127.0.0.1:9"), limit=1.5), "limit"),  # type: ignore[arg-type]
        (lambda: Target(Plain("http://127.0.0.1:9"), name=1), "name"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_an_error_at_construction_that_names_it(create: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create()


def test_an_invalid_call_raises_at_once() -> None:
    route = Route("ollama/llama3.2")
    with pytest.raises(UsageError):
        route.create_async_generator("", [{"role": "user"}])
    with pytest.raises(UsageError, match="temprature"):
        route.create_async_generator("", MESSAGES, temprature=1)
    with pytest.raises(UsageError, match="session"):
        route.create_async_generator("", MESSAGES, session=7)


def test_an_address_with_bars_is_a_route() -> None:
    route = acytoo.provider("openai/gpt-5-mini | ollama/llama3.2")
    assert isinstance(route, Route)
    assert [target.name for target in route.targets] == ["openai/gpt-5-mini", "ollama/llama3.2"]


async def test_a_route_may_be_a_target_of_another() -> None:
    async with endpoints(OVERLOADED, TWO) as (inner, fakes):
        outer = Route(Target(Plain("http://127.0.0.1:9"), name="gone"), Target(inner, name="inner"))
        got = await outer.reply(MESSAGES)
        assert got.text == "two replies"
        assert [a.target for a in got.attempts] == ["gone", "inner: t1", "inner: t2"]
        assert counts(fakes) == [1, 1]


async def test_every_method_of_a_provider_works_on_a_route() -> None:
    async with endpoints(OVERLOADED, TWO) as (route, _):
        assert await route.create_async("", MESSAGES) == "two replies"
        assert await route.check()
        assert "".join(await asyncio.to_thread(lambda: list(route.create_completion("", MESSAGES)))) == "two replies"


async def test_a_legacy_provider_may_be_a_target() -> None:
    class Old(AsyncGeneratorProvider):
        url = "http://old"

        @classmethod
        async def create_async_generator(  # type: ignore[override]
            cls, model: str, messages: Any, proxy: str | None = None
        ) -> Any:
            yield "old "
            yield "reply"

    route = Route(Target(Plain("http://127.0.0.1:9"), name="gone"), Old())
    assert await text_of(route) == "old reply"
    with pytest.raises(AcytooError):  # its settings cannot be changed for a call, so the other target's error is raised
        await text_of(route, timeout=3)


async def test_a_failed_attempt_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoints(OVERLOADED, TWO) as (route, _):
        with caplog.at_level(logging.INFO, "acytoo.routing"):
            await text_of(route)
    assert [record.getMessage() for record in caplog.records] == ["target t1 failed: ServerError: 503: overloaded"]


async def test_a_log_line_stays_one_line_whatever_the_server_sends(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoints(status(503, "over\nloaded \x1b[31m"), TWO) as (route, _):
        await text_of(route)
    assert [record.getMessage() for record in caplog.records] == [
        "target t1 failed: ServerError: 503: over\\nloaded \\x1b[31m"
    ]


async def test_no_attempt_shows_a_secret() -> None:
    key = "sk-do-not-show"
    async with FakeEndpoint(OPENAI, status(401, f"wrong key {key}")) as fake, FakeEndpoint(OPENAI, TWO) as second:
        route = Route(Target(Plain(fake.url, key=key), name="t1"), Plain(second.url))
        got = await route.reply(MESSAGES)
        assert key not in repr(got)
        assert "wrong key" in got.attempts[0].error


async def test_a_reply_without_content_is_complete() -> None:
    async with endpoints(reply(Start("id", "m", 7), Finish("stop")), TWO) as (route, fakes):
        got = await route.reply(MESSAGES)
        assert (got.text, got.id) == ("", "id")
        assert counts(fakes) == [1, 0]


async def test_leaving_closes_the_connection_and_gives_the_place_back() -> None:
    async with endpoints(ONE.stall(after=1)) as (route, fakes):
        stream = route.create_async_generator("", MESSAGES)
        assert await anext(stream) == "one "
        assert route.targets[0].in_flight == 1
        await stream.aclose()
        assert route.targets[0].in_flight == 0
        await fakes[0].disconnected()


class Recited(AsyncGeneratorProvider):
    """A legacy provider whose reply breaks off if the model is named so."""

    url = "http://old"

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Any, proxy: str | None = None
    ) -> Any:
        yield "one "
        if model == "broken":
            raise KeyError("sesame")
        yield "reply"


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("is_legacy", [False, True])
async def test_each_end_of_a_reply_gives_the_place_back(is_nested: bool, is_legacy: bool) -> None:
    async with FakeEndpoint(OPENAI, ONE, ONE, ONE.reset(after=1)) as fake:
        inner = Route(Recited() if is_legacy else Plain(fake.url))
        route = Route(Target(inner, name="inner")) if is_nested else inner
        targets = {*inner.targets, *route.targets}

        def in_flight() -> list[int]:
            return [target.in_flight for target in targets]

        assert (await route.reply(MESSAGES)).text == "one reply"
        assert in_flight() == [0] * len(targets)
        reply = route.answer(Request(MESSAGES))
        await anext(aiter(reply))
        assert in_flight() == [1] * len(targets)
        await reply.aclose()
        await reply.aclose()
        assert in_flight() == [0] * len(targets)
        with pytest.raises(AcytooError) as caught:
            await route.reply(MESSAGES, model="broken")
        assert in_flight() == [0] * len(targets)
        assert [target.failures_in_a_row for target in targets] == [1] * len(targets)
        assert [a.outcome for a in caught.value.attempts] == ["answered"]


async def test_a_reply_that_is_closed_before_its_first_step_sends_nothing() -> None:
    async with endpoints(ONE) as (route, fakes):
        reply = route.answer(Request(MESSAGES))
        await reply.aclose()
        assert [batch async for batch in reply] == []
        assert counts(fakes) == [0]


async def test_an_error_after_the_first_content_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-do-not-show"
    async with FakeEndpoint(OPENAI, reply("one ").fail(f"wrong key {key}", after=1)) as fake:
        route = Route(Target(Plain(fake.url, key=key), name="t1"))
        with caplog.at_level(logging.INFO, "acytoo.routing"):
            await error_of(route)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("target t1 failed after its reply had begun: ")
    assert "wrong key" in line
    assert key not in line


async def test_a_call_cancelled_at_any_step_closes_every_attempt() -> None:
    async with endpoints([OVERLOADED] * 50, [ONE] * 50) as (route, _):
        for steps in range(60):
            task = asyncio.ensure_future(text_of(route))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert [target.in_flight for target in route.targets] == [0, 0]


async def test_tokens_are_counted_by_the_first_target_that_can() -> None:
    counting = status(200, body='{"input_tokens": 12}')
    async with FakeEndpoint(dialects.Anthropic(), counting) as fake:
        route = Route(Plain("http://127.0.0.1:9"), Claude(fake.url, model="m"))
        assert await route.count_tokens(Request(MESSAGES)) == 12
        with pytest.raises(UnsupportedError):
            await Route(Plain("http://127.0.0.1:9")).count_tokens(Request(MESSAGES))


@in_skipping_loop
async def test_a_target_that_is_silent_until_the_deadline_counts_as_failed() -> None:
    async with endpoints(silent(), TWO, deadline=1000) as (route, fakes):
        for number in range(1, 6):
            asking = asyncio.ensure_future(error_of(route, timeout=Timeout(None, None, None)))
            await fakes[0].received(number)
            skip(1000)
            error = await asking
            assert [(a.target, a.outcome) for a in error.attempts] == [("t1", "cancelled")]
            assert str(error) == "no reply began within 1000 s: t1"
        assert await text_of(route) == "two replies"
        assert counts(fakes) == [5, 1]


async def test_the_attempts_of_a_route_that_fails_are_those_of_the_route_around_it() -> None:
    async with endpoints(OVERLOADED, OVERLOADED, attempts=2) as (inner, _), endpoints(TWO) as (healthy, _):
        got = await Route(Target(inner, name="inner"), Target(healthy.targets[0].provider, name="last")).reply(MESSAGES)
        assert [(a.target, a.outcome) for a in got.attempts] == [
            ("inner: t1", "ServerError"),
            ("inner: t2", "ServerError"),
            ("last", "answered"),
        ]


async def test_a_provider_that_is_not_stopped_by_the_deadline_leaves_its_caller_uncancelled() -> None:
    class Stubborn(AsyncGeneratorProvider):
        url = "http://old"

        @classmethod
        async def create_async_generator(  # type: ignore[override]
            cls, model: str, messages: Any, proxy: str | None = None
        ) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                yield "late"

    assert await text_of(Route(Stubborn(), deadline=0.05)) == "late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_targets_at_several_urls_are_numbered_because_a_url_may_contain_a_password() -> None:
    route = acytoo.provider("http://user:sesame@127.0.0.1:9|http://user:sesame@127.0.0.1:10|http://127.0.0.1:11")
    assert isinstance(route, Route)
    assert [target.name for target in route.targets] == ["acytoo", "acytoo-2", "acytoo-3"]
    with pytest.raises(UsageError, match="'acytoo' twice"):
        acytoo.provider("http://127.0.0.1:9|http://127.0.0.1:9")


async def test_a_request_that_is_not_sent_does_not_show_that_its_target_works() -> None:
    async with FakeEndpoint(dialects.Anthropic(), OVERLOADED) as down, FakeEndpoint(OPENAI, TWO) as healthy:
        route = Route(Target(Claude(down.url, model="m"), name="down", failures=3), Plain(healthy.url))
        for _ in range(6):
            await route.reply(MESSAGES)
            await route.reply(MESSAGES, seed=7)
        assert len(down.requests) == 3


async def test_a_reply_is_collected_up_to_the_largest_limit_of_a_target() -> None:
    async with FakeEndpoint(OPENAI, ONE) as fake:
        for route in (
            Route(Plain(fake.url, max_reply=5)),
            Route(Target(Plain(fake.url, max_reply=2), name="a"), Target(Plain(fake.url, max_reply=5), name="b")),
        ):
            with pytest.raises(ReplyTooLargeError) as caught:
                await route.reply(MESSAGES)
            assert caught.value.limit == 5
        with pytest.raises(ReplyTooLargeError):
            await Route(Plain(fake.url)).reply(MESSAGES, max_reply=5)
        assert (await Route(Plain(fake.url, max_reply=5)).reply(MESSAGES, max_reply=5000)).text == "one reply"


async def test_the_deadline_begins_with_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoints([status(429, "slow down").header("retry-after", "0.1"), ONE], deadline=1000) as (route, _):
        stream = route.create_async_generator("", MESSAGES)
        clock = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 1000)
        assert "".join([text async for text in stream]) == "one reply"


async def test_an_exception_of_a_legacy_provider_is_a_failure_of_its_target() -> None:
    class Broken(AsyncGeneratorProvider):
        url = "http://old"

        @classmethod
        async def create_async_generator(  # type: ignore[override]
            cls, model: str, messages: Any, proxy: str | None = None
        ) -> Any:
            raise KeyError("sesame")
            yield ""

    async with FakeEndpoint(OPENAI, TWO) as fake:
        route = Route(Target(Broken(), failures=1), Plain(fake.url))
        got = await route.reply(MESSAGES)
        assert [(a.target, a.error) for a in got.attempts] == [
            ("broken", "the legacy provider raised KeyError"),
            ("plain", ""),
        ]
        assert [a.target for a in (await route.reply(MESSAGES)).attempts] == ["plain"]
    error = await error_of(Route(Broken(), attempts=1))
    assert isinstance(error.__cause__, KeyError)


async def test_a_failed_attempt_leaves_no_cycle_of_references() -> None:
    async with endpoints([OVERLOADED] * 9, [TWO] * 9) as (route, _):
        await text_of(route)
        gc.collect()
        gc.disable()
        try:
            for _ in range(4):
                await text_of(route)
            assert gc.collect() == 0
        finally:
            gc.enable()


@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize(("deadline", "first_byte"), [(0.1, None), (1000, 0.1)])
async def test_no_error_of_a_timeout_waits_for_the_garbage_collector(
    has_head: bool, deadline: float, first_byte: float | None
) -> None:
    script = ONE.stall(after=0) if has_head else silent()
    async with endpoints(script, deadline=deadline, attempts=1) as (route, fakes):
        gc.collect()
        known = [one for one in gc.get_objects() if isinstance(one, TimedOutError)]
        gc.disable()
        try:
            with suppress(TimedOutError):
                await text_of(route, timeout=Timeout(None, first_byte, None))
            assert len(fakes[0].requests) == 1
            assert [one for one in gc.get_objects() if isinstance(one, TimedOutError)] == known
        finally:
            gc.enable()


def test_a_route_does_not_keep_the_event_loops_alive_that_used_it() -> None:
    kept = []

    async def ask(route: Route) -> weakref.ref[asyncio.AbstractEventLoop]:
        async with FakeEndpoint(OPENAI, TWO) as fake:
            kept.append(Route(route, Plain(fake.url)))
            await text_of(kept[-1])
        return weakref.ref(asyncio.get_running_loop())

    dead = Route(Target(Plain("http://127.0.0.1:9"), failures=1, pause=0.1))
    loops = [asyncio.run(ask(dead)) for _ in range(2)]
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


async def test_an_exception_of_a_legacy_provider_in_its_reply_has_the_text_so_far() -> None:
    error = await error_of(Route(Recited(model="broken")))
    assert (error.text, isinstance(error, ServerError)) == ("one ", True)


async def test_a_session_holds_in_a_balanced_route_inside_another() -> None:
    async with endpoints(ONE, ONE, ONE, strategy="balance") as (inner, fakes):
        for number in range(12):
            await Route(inner).reply([{"role": "user", "content": str(number)}], session="s")
        assert sorted(counts(fakes)) == [0, 0, 12]


async def test_the_deadline_holds_for_a_target_that_asks_the_route_itself() -> None:
    class Asking(AsyncGeneratorProvider):
        url = "http://old"

        @classmethod
        async def create_async_generator(  # type: ignore[override]
            cls, model: str, messages: Any, proxy: str | None = None
        ) -> Any:
            if model == "asking":
                assert await route.create_async("answering", messages) == "an answer"
                await asyncio.sleep(20)
            yield "an answer"

    route = Route(Asking(), deadline=0.2)
    error = await error_of(route, model="asking")
    assert str(error) == "no reply began within 0.2 s: asking"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert route.targets[0].in_flight == 0


async def test_a_reply_whose_content_is_still_held_back_at_the_deadline_has_not_begun() -> None:
    is_over = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"a')  # which may become the document of an error
        await is_over.wait()

    async with raw_upstream(answer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n") as url:
        target = Target(acytoo.Acytoo(url), name="t1")
        error = await error_of(Route(target, deadline=0.3))
        is_over.set()
        assert str(error) == "no reply began within 0.3 s: t1"
        assert [(attempt.target, attempt.outcome) for attempt in error.attempts] == [("t1", "cancelled")]
        assert (target.in_flight, target.failures_in_a_row) == (0, 1)


@in_skipping_loop
async def test_no_reply_begins_that_the_deadline_has_cut() -> None:
    upstream: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        upstream.set_result(writer)
        await is_over.wait()

    async with raw_upstream(answer) as url:
        target = Target(Plain(url, timeout=Timeout(None, None, None)), name="t1")
        asking = asyncio.ensure_future(error_of(Route(target, deadline=1000)))
        writer = await upstream
        for _ in range(100):  # until the head has been read
            await asyncio.sleep(0)
        writer.write(chunk_of({"content": "one "}))  # is received in the turn of the event loop in which time is over
        skip(1000)
        error = await asking
        is_over.set()
    assert str(error) == "no reply began within 1000 s: t1"
    assert [(attempt.target, attempt.outcome) for attempt in error.attempts] == [("t1", "cancelled")]
    assert (target.in_flight, target.failures_in_a_row) == (0, 1)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda route: pickle.loads(pickle.dumps(route))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("strategy", ["order", "balance"])
async def test_a_copy_of_a_route_has_its_settings_and_a_health_of_its_own(
    copied: Callable[[Route], Route], strategy: Any
) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hello")) as fake:
        provider = acytoo.provider("compatible/m", url=fake.url, key="k")
        target = Target(provider, name="one", weight=2, limit=3, queue=4, failures=1, pause=60)
        route = Route(target, Target(provider), strategy=strategy, deadline=120, hedge=True)
        target.failed(None)
        again = copied(route)
        assert (repr(again), again.deadline, again.hedges) == (repr(route), route.deadline, True)
        assert (again.targets[0].weight, again.targets[0].failures_in_a_row) == (2, 0)
        assert await again.create_async("", MESSAGES) == "Hello"
        assert target.failures_in_a_row == 1
