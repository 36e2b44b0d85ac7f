"""Keys in the system's keyring, for providers whose environment variable is not set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acytoo.errors import AcytooError, MissingExtraError

_SERVICE = "acytoo"


def stored_key(provider: str) -> str:
    """The key stored for a provider, "" where there is none, no keyring, or no `keyring` extra."""
    try:
        return _keyring().get_password(_SERVICE, provider) or ""
    except Exception:
        return ""


def store_key(provider: str, key: str) -> None:
    """Keep a key. Raises MissingExtraError, or AcytooError where the system has no usable keyring."""
    _try("keep the key", lambda ring: ring.set_password(_SERVICE, provider, key))


def remove_key(provider: str) -> None:
    """Forget a key. Raises as `store_key`, and where there is none."""
    _try("remove the key", lambda ring: ring.delete_password(_SERVICE, provider))


def _keyring() -> Any:
    try:
        import keyring
    except ImportError as error:
        raise MissingExtraError("the system keyring", "keyring") from error
    return keyring


def _try(what: str, action: Callable[[Any], object]) -> None:
    ring = _keyring()
    try:
        action(ring)
    except Exception as error:
        raise AcytooError(
            f"the system keyring could not {what} ({type(error).__name__}: {error}); "
            "an environment variable always works"
        ) from error
