"""Secrets in the system's keyring: of providers whose environment variable is not set, and of config files.

A secret of a provider has the provider's name. Upper and lower case are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acytoo.errors import AcytooError, MissingExtraError

_SERVICE = "acytoo"


def stored_key(name: str) -> str:
    """Return the secret stored under a name, or "" if there is no key, no usable keyring or no `keyring` extra."""
    try:
        return _keyring().get_password(_SERVICE, name.lower()) or ""
    except Exception as error:
        # Backends raise exceptions of many kinds, and a locked or missing keyring must not stop a call that will then
        # name the environment variable to set.
        import logging  # here, because it is slow to import and rarely needed

        logging.getLogger(__name__).debug(
            "no key for %s from the system keyring: %s: %s", name, type(error).__name__, error
        )
        return ""


def store_key(name: str, key: str) -> None:
    """Store a key. Raises MissingExtraError, or AcytooError if the system has no usable keyring."""
    _try("store the key", lambda ring: ring.set_password(_SERVICE, name.lower(), key))


def remove_key(name: str) -> None:
    """Remove a stored key. Raises as `store_key` does, and if there is none."""

    def remove(ring: Any) -> None:
        if ring.get_password(_SERVICE, name.lower()) is None:
            raise AcytooError(f"no secret {name} is stored")
        ring.delete_password(_SERVICE, name.lower())

    _try("remove the key", remove)


def _keyring() -> Any:
    try:
        import keyring
    except ImportError as error:
        raise MissingExtraError("the system keyring", "keyring") from error
    return keyring


def _try(task: str, action: Callable[[Any], object]) -> None:
    ring = _keyring()
    try:
        action(ring)
    except AcytooError:
        raise
    except Exception as error:
        from keyring.errors import NoKeyringError

        if isinstance(error, NoKeyringError):
            raise AcytooError("this system has no keyring: use an environment variable instead") from error
        raise AcytooError(
            f"the system keyring could not {task} ({type(error).__name__}: {error}); "
            "use an environment variable instead"
        ) from error
