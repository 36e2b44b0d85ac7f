"""Finds providers by name: those in `providers/`, and those other packages offer as entry points."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError

ENTRY_POINT_GROUP = "acytoo.providers"


def providers() -> dict[str, type[AsyncGeneratorProvider]]:
    """Every provider class by its name, in lower case; every package that offers some is imported.

    An entry point never replaces one of ours, and is left out with a warning where it is broken.
    """
    found = dict(_ours())
    for name in _offered():
        if name not in found:
            try:
                found[name] = _loaded(name)
            except UsageError as error:
                _warn_once(str(error))
    return dict(sorted(found.items()))


def provider_class(name: str) -> type[AsyncGeneratorProvider]:
    """The class of that name; no other package than its own is imported.

    Raises UsageError naming the nearest known one, or saying why it cannot be loaded.
    """
    wanted = name.lower()
    found = _ours().get(wanted)
    if found is not None:
        return found
    if wanted in _offered():
        return _loaded(wanted)
    known = sorted({*_ours(), *_offered()})
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise UsageError(f"no provider is called {name!r}: {hint}")


@functools.cache
def _ours() -> dict[str, type[AsyncGeneratorProvider]]:
    from acytoo import providers as package

    found: dict[str, type[AsyncGeneratorProvider]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if _is_provider(value) and value.__module__ == module.__name__:
                found[value.address_name()] = value
    return found


@functools.cache
def _offered() -> dict[str, EntryPoint]:
    """The entry points of other packages by name, none of them loaded; the first of a name counts."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry.name.lower(), entry)
    return found


@functools.cache
def _loaded(name: str) -> type[AsyncGeneratorProvider]:
    """The class behind an entry point. Raises UsageError saying which package's it is, and what is wrong with it."""
    entry = _offered()[name]
    try:
        value: Any = entry.load()
        reason = "" if hasattr(value, "create_async_generator") else f"{entry.value} is not a provider class"
    except Exception as error:
        reason = f"{entry.value} cannot be loaded: {type(error).__name__}: {error}"
    if not reason:
        return value  # type: ignore[no-any-return]
    of = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    raise UsageError(f"the entry point {entry.name!r}{of} is left out: {reason}")


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def provider(address: str, **settings: Any) -> AsyncGeneratorProvider:
    """A configured provider by address: `anthropic/claude-…` (provider and model), `ollama`, or an Acytoo server's URL.

    Raises UsageError for a name nobody knows, or a setting that is wrong.
    """
    if "://" in address:
        return provider_class("acytoo")(address, **settings)
    name, _, model = address.partition("/")
    return provider_class(name)(**{"model": model or None, **settings})


def _is_provider(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, AsyncGeneratorProvider) and value is not AsyncGeneratorProvider
