"""The provider under test: how it is pointed at an endpoint, and how it is called."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.conformance.clock import cancel_and_wait, finishes_within
from acytoo.types import ChatMessages

KEY = "sk-conformance-key-nobody-may-see"
PROXY_PASSWORD = "proxy-word-nobody-may-see"
SECRETS = (KEY, PROXY_PASSWORD)

Make: TypeAlias = Callable[..., Any]
"""`make(url, **settings)` returns a provider, or a function of model and messages that returns an async iterator.

The settings are some of `key`, `timeout` (one number), `proxy`, `ca` and `max_reply` (bytes).
"""


class Violation(AssertionError):
    """A violation of the contract, described in one line."""


@dataclass
class Outcome:
    """The outcome of one call."""

    texts: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    hung: bool = False

    @property
    def text(self) -> str:
        """The yielded texts, without anything that is not a `str`."""
        return "".join(text for text in self.texts if isinstance(text, str))


@dataclass
class Subject:
    """A provider, its dialect, and its limits.

    `promptly_s`: how soon the endpoint must see that the consumer has left. `patience_s`: how long a call may take
    before it counts as hung. `crowd`: how many replies are requested at once.
    """

    name: str
    make: Make
    dialect: Dialect
    model: str = "fake-model"
    promptly_s: float = 0.1
    patience_s: float = 10.0
    crowd: int = 100

    def __post_init__(self) -> None:
        if type(self.dialect).writer is Dialect.writer:
            raise UsageError(
                f"{type(self.dialect).__name__} has no writer: the kit's endpoint answers in the dialect, so it needs "
                "the server side too (writer, write_reply, error_document, …)"
            )

    def stream(self, url: str, messages: ChatMessages | None = None, **settings: object) -> AsyncGenerator[str, None]:
        """Return the provider's stream of texts, not yet started."""
        made = self.make(url, **{"key": KEY, **settings})
        generate: Any = getattr(made, "create_async_generator", made)
        stream: AsyncGenerator[str, None] = generate(self.model, question() if messages is None else messages)
        return stream

    async def complete(self, url: str, messages: ChatMessages | None = None, **settings: object) -> str:
        """Return the complete text, from `create_async` if the provider has it."""
        made = self.make(url, **{"key": KEY, **settings})
        messages = question() if messages is None else messages
        if hasattr(made, "create_async"):
            text: str = await made.create_async(self.model, messages)
            return text
        generate: Any = getattr(made, "create_async_generator", made)
        return "".join([text async for text in generate(self.model, messages)])

    async def consume(self, url: str, messages: ChatMessages | None = None, **settings: object) -> Outcome:
        """Consume a stream and record its outcome. A call that hangs is cancelled."""
        outcome = Outcome()

        async def read() -> None:
            stream = self.stream(url, messages, **settings)
            async with aclosing(_closable(stream)):
                async for text in stream:
                    outcome.texts.append(text)

        task = asyncio.ensure_future(read())
        outcome.hung = not await finishes_within(task, self.patience_s)
        if outcome.hung:
            await cancel_and_wait(task)
        elif task.cancelled():
            outcome.error = asyncio.CancelledError()
        else:
            outcome.error = task.exception()
        return outcome


def question(text: str = "Hello, how are you?") -> ChatMessages:
    """Return the messages sent to every provider."""
    return [{"role": "user", "content": text}]


class _NothingToClose:
    async def aclose(self) -> None:
        """Do nothing."""


def _closable(stream: Any) -> Any:
    return stream if hasattr(stream, "aclose") else _NothingToClose()


def point_at(provider: Any, url: str, **settings: object) -> Any:
    """Return an instance of a provider that has a dialect, else a function that calls a copy of the class at `url`.

    A legacy (gpt4free-style) provider gets the settings as arguments of the call, as far as it accepts them. This is
    the default `make`.
    """
    if getattr(provider, "dialect", None) is not None:
        return provider(url, **settings)
    if not inspect.isclass(provider):
        raise UsageError(f"cannot point {provider!r} at a URL: override make(self, url, **settings)")
    legacy: Any = type(provider.__name__, (provider,), {"url": url})
    parameters = inspect.signature(legacy.create_async_generator).parameters
    accepts_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    accepted = {name: value for name, value in settings.items() if accepts_any or name in parameters}

    def generate(model: str, messages: ChatMessages) -> Any:
        return legacy.create_async_generator(model, messages, **accepted)

    return generate
