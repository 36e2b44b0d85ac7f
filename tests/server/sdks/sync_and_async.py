"""A maker's synchronous and its asynchronous client used with the same words, and what all of them are asked."""

from __future__ import annotations

import inspect
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from pydantic import BaseModel

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.testing import ScriptedResponse, reply
from acytoo.types import Finish, Reasoning, Start, ToolCall, Usage

MODEL = "smollm2-135m-instruct"
PASSWORD = "sesame"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For every client: it is never used, and spares each of them 50 ms of loading certificates."""

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
    """What structured output is asked for: an answer that is one of these is valid, any other is not."""

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
"""All that a reply may have, in two calls made in parallel."""

RICH_TEXT = "It is so: é 世界 👩‍👩‍👧"
RICH_CALLS = [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]

LONG = reply(Start("id-1", "m-1", 7), *[f"word {number} " for number in range(20)], Usage(9, 20), Finish("stop"))

CUTS = {
    "torn down": LONG.reset(after=8),
    "closed": LONG.close(after=8),
    "ended in good order": LONG.end(after=8),
    "closed inside a record": LONG.close(after_bytes=700),
    "ended inside a record": LONG.end(after_bytes=700),
    "without its end": reply(Start("id-1", "m-1", 7), *[f"word {n} " for n in range(8)]).without_end(),
    "an error told": LONG.fail("the model has failed", after=8),
}
"""Ways in which a backend's reply stops short."""


def cuts(dialect: Dialect) -> dict[str, ScriptedResponse]:
    """The cuts that can be told from a whole reply: raw text ends with its body, and only a lost connection shows."""
    if dialect.name != "acytoo":
        return CUTS
    return {name: CUTS[name] for name in ("torn down", "closed", "an error told")}


EVERY_CUT = [(dialect, name) for dialect in dialects.ALL for name in cuts(dialect)]
EVERY_CUT_IDS = [f"{dialect.name}, {name}" for dialect, name in EVERY_CUT]


def speaking(dialect: Dialect, url: str, **settings: Any) -> AsyncGeneratorProvider:
    """A provider of that dialect, and nothing else of its own."""
    made: type[AsyncGeneratorProvider] = type("Backend", (AsyncGeneratorProvider,), {"dialect": dialect})
    return made(url, model="m-1", **settings)


def said_call(name: str, arguments: Any) -> None:
    """Assert that a call is one that the grammar allows."""
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert name == "get_weather"
    assert given in ({"city": "Paris"}, {"city": "Rome"})


async def settled(value: Any) -> Any:
    """What a call gives, awaited where it must be."""
    return await value if inspect.isawaitable(value) else value


async def listed(values: Any) -> list[Any]:
    """Every item of an iterable of either kind, or of one that must be awaited first."""
    values = await settled(values)
    return [value async for value in values] if hasattr(values, "__aiter__") else list(values)


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """A context manager of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value
