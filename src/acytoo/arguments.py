"""Checks what a caller passes beside messages, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acytoo.errors import UsageError
from acytoo.secret import Secret


def text(value: Any, name: str) -> str:
    """The value, where it is text; "" for None. Raises UsageError."""
    if value is None or isinstance(value, str):
        return value or ""
    raise UsageError(f"{name} must be a str, not {type(value).__name__}")


def secret(value: Any, name: str) -> Secret:
    """The key or password. Raises UsageError, which does not show it."""
    return value if isinstance(value, Secret) else Secret(text(value, name))


def headers(value: Any) -> dict[str, str]:
    """The headers, their names in lower case. Raises UsageError."""
    found = _named(value, "extra_headers")
    for name, header in found.items():
        if not isinstance(header, str):
            raise UsageError(f"extra_headers[{name!r}] must be a str, not {type(header).__name__}")
        if name.lower() in _FRAMING:
            raise UsageError(f"extra_headers has {name!r}: where the body ends is known here, leave it out")
    return {name.lower(): header for name, header in found.items()}


_FRAMING = frozenset({"content-length", "transfer-encoding"})


def body_fields(value: Any) -> dict[str, Any]:
    """The fields of the request's body that the caller adds. Raises UsageError."""
    found = _named(value, "extra_body")
    for own in ("model", "messages"):
        if own in found:
            raise UsageError(f"extra_body has {own!r}: pass {own}=… instead")
    return found


def _named(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} must be a dict whose keys are str, like {{'name': …}}")
    return dict(value)
