"""Find providers by name: those in `providers/`, and those that other packages offer as entry points."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import TYPE_CHECKING, Any

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.compat.legacy import METHODS
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "acytoo.providers"


def providers() -> dict[str, type[AsyncGeneratorProvider]]:
    """Return every provider class by its name in lower case. This imports every package that offers providers.

    An entry point never replaces a built-in provider. One with such a name, or a broken one, is skipped with a warning.
    """
    classes = dict(_built_in())
    for name, entry in _entry_points().items():
        try:
            if name in classes:
                raise _left_out(entry, "a built-in provider has this name")
            classes[name] = _load(name)
        except UsageError as error:
            _warn_once(str(error))
    return dict(sorted(classes.items()))


def provider_class(name: str) -> type[AsyncGeneratorProvider]:
    """Return the provider class with that name; of the other packages, only the one that offers it is imported.

    Raises UsageError that names the most similar provider, or the reason why it cannot be loaded.
    """
    lower = name.lower()
    # Its own module first, then the one with most of them: a program that uses one API need not import the others.
    for module in sorted(_modules(), key=lambda module: (module != lower, module != "compatible")):
        if (built_in := _classes_in(module).get(lower)) is not None:
            return built_in
    if lower in _entry_points():
        return _load(lower)
    raise unknown_provider(name)


def is_known(name: str) -> bool:
    """Return whether there is a provider with that name. No other package is imported."""
    return name.lower() in _built_in() or name.lower() in _entry_points()


def unknown_provider(address: str) -> UsageError:
    """Return the error for an address without a known provider."""
    similar = suggest(address)
    hint = f"did you mean {similar!r}?" if similar else f"known are {', '.join(_known())}"
    return UsageError(f"unknown provider {address!r}: {hint}")


def suggest(address: str) -> str:
    """Return the address that was probably meant: a model with its provider, or a name spelled correctly; else ""."""
    name, slash, model = address.partition("/")
    for provider_name, cls in _built_in().items():
        if not slash and name.lower().startswith((f"{provider_name}-", *cls.model_prefixes)):
            return f"{provider_name}/{address}"
    import difflib  # slow to import, and rarely needed

    similar = difflib.get_close_matches(name.lower(), _known(), 1)
    return f"{similar[0]}{slash}{model}" if similar else ""


def _known() -> list[str]:
    return sorted({*_built_in(), *_entry_points()})


@functools.cache
def _modules() -> list[str]:
    """Return the names of the modules with the providers that Acytoo has itself."""
    import pkgutil

    from acytoo import providers as package

    return [info.name for info in pkgutil.iter_modules(package.__path__)]


@functools.cache
def _classes_in(module_name: str) -> dict[str, type[AsyncGeneratorProvider]]:
    module = importlib.import_module(f"acytoo.providers.{module_name}")
    own = [value for value in vars(module).values() if _is_provider(value) and value.__module__ == module.__name__]
    return {cls.address_name(): cls for cls in own}


@functools.cache
def _built_in() -> dict[str, type[AsyncGeneratorProvider]]:
    return {name: cls for module in _modules() for name, cls in _classes_in(module).items()}


@functools.cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name, without loading them. The first one with a name wins."""
    from importlib.metadata import entry_points  # here, because it is slow to import and rarely needed

    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        entries.setdefault(entry.name.lower(), entry)
    return entries


@functools.cache
def _load(name: str) -> type[AsyncGeneratorProvider]:
    """Return the class behind an entry point. Raises UsageError that names its package and the reason."""
    entry = _entry_points()[name]
    try:
        value: Any = _as_provider(entry.load())
        reason = "" if value is not None else f"{entry.value} is not a provider class"
    except Exception as error:
        reason = f"{entry.value} cannot be loaded: {type(error).__name__}: {error}"
    if not reason:
        return value  # type: ignore[no-any-return]
    raise _left_out(entry, reason)


def _left_out(entry: EntryPoint, reason: str) -> UsageError:
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return UsageError(f"the entry point {entry.name!r}{package} is left out: {reason}")


def _as_provider(value: Any) -> type[AsyncGeneratorProvider] | None:
    """Return a provider class as it is, and a foreign class with a method of gpt4free's classes as a legacy one."""
    if _is_provider(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, type) or not any(hasattr(value, name) for name in METHODS):
        return None
    return type(
        value.__name__, (value, AsyncGeneratorProvider), {"__module__": value.__module__, "__doc__": value.__doc__}
    )


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def provider(address: str, **settings: Any) -> AsyncGeneratorProvider:
    """Return a configured provider by address.

    An address is a provider and a model (`anthropic/claude-…`), a provider (`ollama`), or the URL of an Acytoo server.
    Raises UsageError for an unknown name or an invalid setting.
    """
    if not isinstance(address, str):
        raise UsageError(f"the address must be a str like 'openai/…', not {type(address).__name__}")
    if "://" in address:
        return provider_class("acytoo")(address, **settings)
    name, _, model = address.partition("/")
    return provider_class(name)(**{"model": model or None, **settings})


def _is_provider(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, AsyncGeneratorProvider) and value is not AsyncGeneratorProvider
