"""Authentication: the server's password, presented the way each API's clients present a key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from acytoo.errors import AuthenticationError
from acytoo.secret import Secret


def require_password(password: Secret, presented: Iterable[Secret]) -> None:
    """Raise AuthenticationError unless one of the presented secrets is the password; no password admits everyone."""
    if password and not has_password(password, presented):
        raise AuthenticationError("the password or key is missing or wrong", status=401, code="authentication_error")


def has_password(password: Secret, presented: Iterable[Secret]) -> bool:
    """Return whether one of the presented secrets is the password."""
    expected = password.reveal().encode()
    # compare_digest takes the same time for every wrong secret, so that nobody can guess one byte after another.
    return any(hmac.compare_digest(secret.reveal().encode("utf-8", "surrogatepass"), expected) for secret in presented)
