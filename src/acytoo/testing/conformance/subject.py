"""The provider under test: how it is pointed at an endpoint, and what it is asked."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.conformance.clock import ended, stopped
from acytoo.testing.conformance.faults import Fault
from acytoo.types import ChatMessages

KEY = "sk-conformance-key-nobody-may-see"
PROXY_PASSWORD = "proxy-word-nobody-may-see"
SECRETS = (KEY, PROXY_PASSWORD)

Make: TypeAlias = Callable[..., Any]
"""`make(url, **settings)`: a provider, or a function of model and messages that returns an async iterator of text.

The settings that come are those of the contract: `key`, `timeout` (one number), `proxy`, `ca`.
"""


class Defect(AssertionError):
    """What a provider does that the contract does not allow, in one line."""


@dataclass
class Attempt:
    """What asking came to."""

    texts: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    hung: bool = False

    @property
    def text(self) -> str:
        """What was yielded, as far as it was text."""
        return "".join(text for text in self.texts if isinstance(text, str))


@dataclass
class Subject:
    """A provider, its dialect, and the limits that it is held to.

    `promptly_s`: how soon the endpoint must see that the consumer has left. `patience_s`: how long anything may
    take before it counts as hung. `crowd`: how many replies it is asked for at once.
    """

    name: str
    make: Make
    dialect: Dialect
    model: str = "fake-model"
    promptly_s: float = 0.1
    patience_s: float = 10.0
    crowd: int = 100

    def faces(self, fault: Fault) -> bool:
        """Whether the fault can happen in its dialect."""
        return self.dialect.framing in fault.families and (self.dialect.ends_with_record or not fault.needs_end)

    def ask(self, url: str, messages: Any = None, **settings: Any) -> AsyncIterator[str]:
        """The provider's stream of text, not yet begun."""
        made = self.make(url, **{"key": KEY, **settings})
        generate: Any = getattr(made, "create_async_generator", made)
        stream: AsyncIterator[str] = generate(self.model, question() if messages is None else messages)
        return stream

    async def whole(self, url: str, messages: Any = None, **settings: Any) -> str:
        """The whole text, by `create_async` where the provider has it."""
        made = self.make(url, **{"key": KEY, **settings})
        messages = question() if messages is None else messages
        if hasattr(made, "create_async"):
            text: str = await made.create_async(self.model, messages)
            return text
        generate: Any = getattr(made, "create_async_generator", made)
        return "".join([text async for text in generate(self.model, messages)])

    async def attempt(self, url: str, messages: Any = None, **settings: Any) -> Attempt:
        """Ask, and note whatever comes; what hangs is cancelled."""
        attempt = Attempt()

        async def consume() -> None:
            stream = self.ask(url, messages, **settings)
            async with aclosing(_closable(stream)):
                async for text in stream:
                    attempt.texts.append(text)

        task = asyncio.ensure_future(consume())
        attempt.hung = not await ended(task, self.patience_s)
        if attempt.hung:
            await stopped(task)
        elif task.cancelled():
            attempt.error = asyncio.CancelledError()
        else:
            attempt.error = task.exception()
        return attempt


def question(words: str = "Hello, how are you?") -> ChatMessages:
    """What every provider is asked."""
    return [{"role": "user", "content": words}]


class _NothingToClose:
    async def aclose(self) -> None:
        """An iterator that cannot be closed."""


def _closable(stream: Any) -> Any:
    return stream if hasattr(stream, "aclose") else _NothingToClose()


def pointed(provider: Any, url: str, **settings: Any) -> Any:
    """The default `make`: an instance where the provider has a dialect, else the class with its `url` replaced.

    A provider in the older style gets the settings with the call, where it names them or takes any.
    """
    if getattr(provider, "dialect", None) is not None:
        return provider(url, **settings)
    if not inspect.isclass(provider):
        raise UsageError(f"say how {provider!r} is pointed at a URL: override make(self, url, **settings)")
    older: Any = type(provider.__name__, (provider,), {"url": url})
    known = inspect.signature(older.create_async_generator).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    given = {name: value for name, value in settings.items() if takes_any or name in known}

    def ask(model: str, messages: Any) -> Any:
        return older.create_async_generator(model, messages, **given)

    return ask
