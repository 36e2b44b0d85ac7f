"""Helpers to use an SDK's synchronous and asynchronous client in the same way, and what all SDK tests send."""

from __future__ import annotations

import inspect
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from pydantic import BaseModel

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import ScriptedResponse, reply
from acytoo.types import Finish, Reasoning, Start, ToolCall, Usage

MODEL = "smollm2-135m-instruct"
PASSWORD = "sesame"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For every client: the tests use no TLS, and an empty context saves each of them 50 ms of loading certificates."""

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER = "What is the weather in Paris?"

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "The weather of a city.", "parameters": PARAMETERS}


class Pet(BaseModel):
    """The schema of structured output: a reply that fits it is valid."""

    model_config = {"extra": "forbid"}
    kind: Literal["cat", "dog"]
    name: Literal["Rex", "Tom"]


RICH = reply(
    Start("id-1", "m-1", 7),
    Reasoning("Let me "),
    Reasoning("see."),
    "It is ",
    "so: é 世界 👩‍👩‍👧",
    ToolCall(0, "call_a", "get_weather", ""),
    ToolCall(0, arguments='{"city":'),
    ToolCall(0, arguments='"Paris"}'),
    ToolCall(1, "call_b", "get_weather", '{"city":"Rome"}'),
    Usage(21, 12, 5, 0, 4),
    Finish("tool_calls"),
)
"""A reply with everything it may have, and two parallel tool calls."""

RICH_TEXT = "It is so: é 世界 👩‍👩‍👧"
RICH_CALLS = [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]

LONG = reply(Start("id-1", "m-1", 7), *[f"word {number} " for number in range(20)], Usage(9, 20), Finish("stop"))

CUTS = {
    "torn down": LONG.reset(after=8),
    "closed": LONG.close(after=8),
    "ended cleanly": LONG.end(after=8),
    "closed inside a record": LONG.close(after_bytes=700),
    "ended inside a record": LONG.end(after_bytes=700),
    "without its end": reply(Start("id-1", "m-1", 7), *[f"word {n} " for n in range(8)]).without_end(),
    "an error reported": LONG.fail("the model has failed", after=8),
}
"""Ways to truncate a backend's reply."""


def cuts(dialect: Dialect) -> dict[str, ScriptedResponse]:
    """Return the cuts that can be detected: raw text ends with its body, so only a lost connection shows."""
    if dialect.name != "acytoo":
        return CUTS
    return {name: CUTS[name] for name in ("torn down", "closed", "an error reported")}


EVERY_CUT = [(dialect, name) for dialect in dialects.ALL for name in cuts(dialect)]
EVERY_CUT_IDS = [f"{dialect.name}, {name}" for dialect, name in EVERY_CUT]


def check_call(name: str, arguments: Any) -> None:
    """Assert that a call is one that the schema allows."""
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert name == "get_weather"
    assert given in ({"city": "Paris"}, {"city": "Rome"})


async def resolve(value: Any) -> Any:
    """Return the result of a call, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def collect_all(values: Any) -> list[Any]:
    """Return every item of a synchronous or asynchronous iterable, which may have to be awaited first."""
    values = await resolve(values)
    return [value async for value in values] if hasattr(values, "__aiter__") else list(values)


@asynccontextmanager
async def enter(manager: Any) -> AsyncIterator[Any]:
    """Enter a synchronous or asynchronous context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value
