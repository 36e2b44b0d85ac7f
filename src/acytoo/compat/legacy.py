"""Call the `create_async_generator` of a legacy (gpt4free-style) class with the settings of an instance.

The problem: such a method is a classmethod that does its own HTTP, so it knows nothing of an instance's settings, and
no two of them have the same parameters. A setting that is lost sends a request to another server, or around the proxy.

The strategy: pass each setting under its name. A classmethod also gets the URL as its class's `url`, in a copy of the
class. What the parameters cannot take is refused by name, before anything is sent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import FunctionType
from typing import Any

from acytoo.compat import g4f
from acytoo.errors import ProtocolError, UsageError
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Event, Item

ALIASES = {"url": "base_url", "base_url": "url", "key": "api_key", "api_key": "key"}
"""The other name of a setting that has two."""


_OWN_SETTINGS = ("drop_unsupported", "max_reply")
"""Settings that Acytoo applies itself, so that a method need not know them."""


class LegacyMethod:
    """A descriptor for a legacy `create_async_generator`: unchanged on the class, with the settings on an instance."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.method.__get__(None, owner)
        return functools.partial(call, instance, self.method)


def call(provider: Any, method: Any, /, model: str = "", messages: Any = (), *args: Any, **kwargs: Any) -> Any:
    """Call the method with the provider's settings; those of the call win. Raises UsageError for what it cannot take.

    `None` means that an argument is absent. What gpt4free passes to every provider is left out if it is not taken.
    """
    settings = {name: value for name, value in provider.legacy_settings.items() if value is not None}
    function, takes_url = _bind(provider, method, settings)
    parameters = Parameters(function)
    given = {**dict(zip(parameters.after_messages, args, strict=False)), **kwargs}
    given = {name: value for name, value in given.items() if value is not None}
    drops = given.get("drop_unsupported", settings.get("drop_unsupported"))
    for name in [name for name in _OWN_SETTINGS if not parameters.has(name)]:
        settings.pop(name, None)
        given.pop(name, None)
    for name in given:
        settings.pop(name, None)
        settings.pop(ALIASES.get(name, ""), None)
    taken, refused = {}, []
    for name, value in {**settings, **given}.items():
        keyword = parameters.keyword(name)
        if name in ("url", "base_url") and takes_url and name in settings and not parameters.has(keyword):
            continue
        if keyword is not None:
            taken[keyword] = _revealed(value)
        elif not g4f.is_ignored(name, value) and not (drops and name in OPTIONS):
            refused.append(name)
    if refused:
        raise LegacyArgumentError(type(provider).__name__, refused)
    return _items(type(provider).__name__, function(model, messages, **taken))


async def _items(provider: str, stream: Any) -> AsyncGenerator[Item, None]:
    """Yield what a legacy provider yields, without what is empty. Raises ProtocolError for what is not text."""
    if not hasattr(stream, "__aiter__"):
        if inspect.iscoroutine(stream):
            stream.close()
        raise ProtocolError(f"{provider}.create_async_generator is not an async generator: it must yield texts")
    async with aclosing(stream):
        async for item in stream:
            if not isinstance(item, str | Event | None):
                raise ProtocolError(f"{provider}.create_async_generator has yielded {type(item).__name__}, not str")
            if item:
                yield item


class LegacyArgumentError(UsageError):
    """Arguments, called `names`, that a legacy provider's `create_async_generator` has no parameters for."""

    def __init__(self, provider: str, names: list[str]) -> None:
        self.provider = provider
        self.names = names
        shown = " and ".join(repr(name) for name in names)
        super().__init__(f"{provider} cannot take {shown}: its create_async_generator has no such parameter")


class Parameters:
    """The parameters of a legacy `create_async_generator`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
        kinds = {name: parameter.kind for name, parameter in parameters.items()}
        positional = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        self.after_messages = positional[2:]
        self._takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
        self._named = {
            *self.after_messages,
            *(n for n, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY),
        }

    def has(self, name: str | None) -> bool:
        """Return whether there is a parameter with that name."""
        return name in self._named

    def keyword(self, name: str) -> str | None:
        """Return the keyword under which an argument can be passed, which may be its other name, or None."""
        if name in self._named:
            return name
        other = ALIASES.get(name)
        if other in self._named:
            return other
        return name if self._takes_any else None


def _bind(provider: Any, method: Any, settings: Mapping[str, Any]) -> tuple[Callable[..., Any], bool]:
    """Return the method as a function, and whether it finds the provider's URL by itself."""
    owner: Any = type(provider)
    if isinstance(method, FunctionType):
        return method.__get__(provider, owner), True
    if isinstance(method, classmethod):
        if settings.keys() & {"url", "base_url"}:
            owner = _at_url(owner, provider.url)
        return method.__get__(None, owner), True
    return method.__get__(None, owner), False


@functools.lru_cache(maxsize=128)
def _at_url(owner: Any, url: str) -> type:
    """Return a copy of the class with another URL."""
    return type(owner.__name__, (owner,), {"__module__": owner.__module__, "__doc__": owner.__doc__, "url": url})


def _revealed(value: Any) -> Any:
    """Return a setting as a legacy provider takes it."""
    if isinstance(value, Mapping):
        return {name: _revealed(item) for name, item in value.items()}
    return value.reveal() if isinstance(value, Secret) else value
