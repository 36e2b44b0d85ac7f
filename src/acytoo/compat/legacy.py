"""Call the methods of a legacy (gpt4free-style) class with the settings of an instance.

The problem: such a method is a classmethod that does its own HTTP, so it knows nothing of an instance's settings, and
no two of them have the same parameters. A setting that is lost sends a request to another server, or around the proxy.
A class may have one or more of three methods; the others work with the one it has.

The strategy: pass each setting under its name. A classmethod also gets the URL as its class's `url`, in a copy of the
class. What the parameters cannot take is refused by name, before anything is sent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
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


METHODS = ("create_async_generator", "create_async", "create_completion")
"""The methods of gpt4free's classes that answer a request, the best first."""


def adopt(cls: Any, base: Any) -> bool:
    """Let a class's own methods, or those of its mixins, get the settings of an instance. Return whether it has any.

    A class without `create_async_generator` gets one that calls the method it has. A plain method of a class with a
    dialect finds the settings in `self` and in the methods it calls.
    """
    own = {}
    for name in METHODS:
        method = inspect.getattr_static(cls, name)
        if method is vars(base)[name] or isinstance(method, LegacyMethod):
            continue
        if cls.dialect is None or isinstance(method, classmethod | staticmethod):
            own[name] = LegacyMethod(method, yields=name == METHODS[0])
    if own and cls.dialect is None and METHODS[0] not in own and not cls.is_legacy:
        own[METHODS[0]] = LegacyMethod(next(iter(own.values())).method, yields=True, is_other=True)
    for name, method in own.items():
        setattr(cls, name, method)
    return bool(own)


class LegacyMethod:
    """A descriptor for a legacy method: unchanged on the class, with the settings on an instance.

    `yields`: the result is made an async generator. `is_other`: the method has another name in the class.
    """

    def __init__(self, method: Any, *, yields: bool, is_other: bool = False) -> None:
        self.method = method
        self.yields = yields
        self.is_other = is_other

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is not None:
            return functools.partial(call, instance, self)
        if self.is_other:
            return functools.partial(_call_on_class, owner, self)
        return self.method.__get__(None, owner)


def _call_on_class(owner: Any, method: LegacyMethod, /, *args: Any, **kwargs: Any) -> Any:
    return call(owner(), method, *args, **kwargs)


def takes(cls: Any, name: str) -> bool:
    """Return whether a legacy class can be called with the argument."""
    legacy: LegacyMethod = inspect.getattr_static(cls, METHODS[0])
    return Parameters(legacy.method.__get__(None, cls)).keyword(name) is not None


def call(provider: Any, legacy: LegacyMethod, /, model: str = "", messages: Any = (), *args: Any, **kwargs: Any) -> Any:
    """Call the method with the provider's settings; those of the call win. Raises UsageError for what it cannot take.

    `None` means that an argument is absent. What gpt4free passes to every provider is left out if it is not taken.
    """
    settings = {name: value for name, value in provider.legacy_settings.items() if value is not None}
    function, takes_url = _bind(provider, legacy.method, settings)
    parameters = Parameters(function)
    given = {**dict(zip(parameters.after_messages, args, strict=False)), **kwargs}
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(proxy := given.get("proxy", ""), str | Secret):  # gpt4free's `stream` by position
        shown = proxy if isinstance(proxy, bool) else f"of the type {type(proxy).__name__}"  # it may have a password
        raise UsageError(f"invalid proxy {shown}: expected a URL like http://host:port; pass others by their names")
    drops = given.get("drop_unsupported", settings.get("drop_unsupported"))
    for name in [name for name in _OWN_SETTINGS if provider.dialect is None and not parameters.has(name)]:
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
        elif not (g4f.is_ignored(name, value) or (drops and name in OPTIONS)):
            refused.append(name)
    if refused:
        raise LegacyArgumentError(type(provider).__name__, refused)
    if "stream" in parameters.required and "stream" not in taken:
        taken["stream"] = True
    result = function(model or provider.model, messages, **taken)
    return _items(type(provider).__name__, result) if legacy.yields else result


async def _items(provider: str, result: Any) -> AsyncGenerator[Item, None]:
    """Yield what a legacy method yields or returns, without what is empty.

    Raises ProtocolError for what is not text.
    """
    if inspect.isawaitable(result):
        result = await result
    stream = _iterated(result)
    try:
        async for item in stream:
            if not isinstance(item, str | Event | None):
                raise ProtocolError(f"{provider} has yielded {type(item).__name__}, not str")
            if item:
                yield item
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()


def _iterated(result: Any) -> AsyncIterator[Any]:
    """Return the result of a legacy method as an async iterator. One item is what cannot be iterated over."""
    if hasattr(result, "__aiter__"):
        iterator: AsyncIterator[Any] = aiter(result)
        return iterator
    return _from_thread(iter(result if isinstance(result, Iterator | list | tuple) else [result]))


async def _from_thread(iterator: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """Yield the items of an iterator that waits for a network, without stopping the event loop."""
    import asyncio

    end = object()
    try:
        while (item := await asyncio.to_thread(next, iterator, end)) is not end:
            yield item
    finally:
        if hasattr(iterator, "close"):
            with suppress(ValueError):  # the call was cancelled, and the generator still runs in its thread
                iterator.close()


class LegacyArgumentError(UsageError):
    """Arguments, called `names`, that a legacy provider's method has no parameters for."""

    def __init__(self, provider: str, names: list[str]) -> None:
        self.provider = provider
        self.names = names
        shown = " and ".join(repr(name) for name in names)
        super().__init__(f"{provider} cannot take {shown}: its method has no such parameter")


class Parameters:
    """The parameters of a legacy method."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
        kinds = {name: parameter.kind for name, parameter in parameters.items()}
        positional = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        self.after_messages = positional[2:]
        self.required = {name for name in kinds if parameters[name].default is inspect.Parameter.empty}
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
    if isinstance(method, classmethod) and provider.dialect is None:
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
