"""Every row of the fault table at the first target of a route, with a healthy second one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from acytoo import (
    Acytoo,
    AcytooError,
    AuthenticationError,
    Finish,
    NotFoundError,
    RequestError,
    Route,
    Target,
    UsageError,
    dialects,
)
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.testing import FakeEndpoint, ProviderConformance, reply
from acytoo.testing.conformance.faults import FAULT_SCENARIOS, FaultScenario
from acytoo.testing.conformance.subject import Outcome, Subject, point_at, question
from acytoo.types import Messages

HEALTHY = "the second target's reply"
ALL_KINDS = [AuthenticationError, NotFoundError, RequestError]


def provider_of(dialect: Dialect) -> type[AsyncGeneratorProvider]:
    return type("Faulty", (AsyncGeneratorProvider,), {"dialect": dialect})


class Routed:
    """A provider and a healthy one behind it, as the fault kit uses a provider."""

    def __init__(self, first: AsyncGeneratorProvider, healthy_url: str) -> None:
        second = provider_of(dialects.Ollama())(healthy_url)
        self.route = Route(
            Target(first, name="first"), Target(second, name="second"), attempts=2, next_on=ALL_KINDS, max_wait=0
        )

    async def create_async_generator(self, model: str, messages: Messages) -> AsyncGenerator[str, None]:
        stream = self.route.create_async_generator(model, messages)
        async with aclosing(stream):
            async for text in stream:
                yield text


ROWS = [
    pytest.param(dialect, fault, id=f"{dialect.name}-{fault.name}")
    for dialect in (dialects.OpenAI(), dialects.Ollama(), dialects.Acytoo())
    for fault in FAULT_SCENARIOS
    if fault.can_happen_in(dialect) and fault.calls == 1
]


async def _outcome(subject: Subject, url: str, fault: FaultScenario, settings: dict[str, Any]) -> Outcome:
    return await subject.consume(url, question(), timeout=fault.timeout, **settings)


@pytest.mark.parametrize(("dialect", "fault"), ROWS)
async def test_the_second_target_answers_exactly_if_no_content_has_left(dialect: Dialect, fault: FaultScenario) -> None:
    cls = provider_of(dialect)
    alone = Subject("alone", lambda url, **settings: point_at(cls, url, **settings), dialect)
    async with fault.environment.start(alone, fault.scripts) as running:
        without = await _outcome(alone, running.url, fault, running.settings)
    async with FakeEndpoint(dialects.Ollama(), reply(HEALTHY, Finish("stop"))) as healthy:
        routed = Subject("routed", lambda url, **settings: Routed(point_at(cls, url, **settings), healthy.url), dialect)
        async with fault.environment.start(routed, fault.scripts) as running:
            got = await _outcome(routed, running.url, fault, running.settings)
    if without.error is None and got.error is None:
        assert got.text in (without.text, HEALTHY)
        assert len(healthy.requests) == (got.text == HEALTHY)
    elif without.text or isinstance(without.error, UsageError):
        assert isinstance(got.error, AcytooError)
        assert type(got.error) is type(without.error)
        assert got.error.text == got.text == without.text
        assert not healthy.requests
    else:
        assert got.error is None
        assert got.text == HEALTHY
        assert len(healthy.requests) == 1


class TestRouteWithOneTarget(ProviderConformance):
    """A route with one attempt at one target behaves as its provider."""

    provider = Acytoo
    dialect = dialects.Acytoo()

    def make(self, url: str, **settings: object) -> Any:
        return Route(Acytoo(url, **settings), attempts=1)  # type: ignore[arg-type]
