"""The scenarios that create event loops also hold on uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from acytoo import Acytoo
from acytoo.dialects import by_name
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS, EventLoopScenario
from acytoo.testing.conformance.subject import Subject


@pytest.fixture
def on_uvloop() -> Iterator[None]:
    uvloop = pytest.importorskip("uvloop")
    if sys.version_info >= (3, 14):
        pytest.skip("policies are deprecated")
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


@pytest.mark.usefixtures("on_uvloop")
@pytest.mark.parametrize(
    "scenario", [row for row in EVENT_LOOP_SCENARIOS if row.name != "fork"], ids=lambda row: row.name
)
def test_a_provider_survives_on_uvloop(scenario: EventLoopScenario) -> None:
    scenario.run(Subject("Acytoo", Acytoo, by_name("acytoo")))
