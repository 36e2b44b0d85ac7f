"""Authentication: the server's password, presented the way each API's clients present a key; and limits on guessing it.

The problem: guesses must cost something, but behind a reverse proxy everybody has the same address, and nobody who
guesses may lock out the others. The strategy: an address that has presented many different wrong passwords is not
refused. Each of its requests waits before its password is compared, whether it is right or wrong, so that the time
shows nothing. The requests that wait are limited too; a further one gets status 429. The cost: one dictionary, empty on
most servers.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import deque
from collections.abc import Sequence
from ipaddress import ip_address

from acytoo.errors import AuthenticationError, RateLimitError
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.control import ANYONE, Caller, Control
from acytoo.server.request import IncomingRequest

_LOG = logging.getLogger("acytoo.server")

BURST = 10
"""Different wrong passwords that an address may present at once. One per second is forgotten."""

_MAX_COUNTED = 60
"""Wrong passwords of one address that are counted, so that all are forgotten after a minute."""

_MAX_GUESSES = 2 * BURST
"""Wrong passwords of one address that are known again."""

WAIT = 1.0
"""Seconds that a request of an address above that limit waits."""

MAX_WAITING = 32
"""Requests of one address that may wait at the same time."""

MAX_ADDRESSES = 4096
"""Addresses whose wrong passwords are counted; the one that has been silent for longest is forgotten."""

_REPORT_INTERVAL = 60.0
"""Seconds between two log lines about one address."""


class PasswordCheck:
    """The check of one server's password, and of its callers' keys. A server with neither does not need it."""

    def __init__(self, config: ServerConfig, control: Control) -> None:
        self.config = config
        self._control = control
        self._failures = Failures()
        self._waiting: dict[str, int] = {}

    def find(self, presented: Sequence[Secret]) -> Caller | None:
        """Return who has presented the password or a key. Raises AuthenticationError for a key that has expired."""
        if is_among(self.config.password, presented):
            return ANYONE
        return self._control.find(presented)

    def require(self, presented: Sequence[Secret]) -> Caller:
        """Return who has presented the password or a key. Raises AuthenticationError for nobody."""
        caller = self.find(presented)
        if caller is None:
            raise WrongPasswordError(presented)
        return caller

    async def wait(self, request: IncomingRequest) -> None:
        """Wait if the request's address has presented many wrong passwords. Raises RateLimitError if too many wait."""
        if not self._failures.addresses:
            return
        address = address_of(request)
        if not self._failures.exceed_limit(address, time.monotonic()):
            return
        waiting = self._waiting.get(address, 0)
        if waiting >= MAX_WAITING:
            message = "too many wrong passwords from this address: try again later"
            raise RateLimitError(message, status=429, code="rate_limit_error", retry_after=WAIT)
        self._waiting[address] = waiting + 1
        try:
            await asyncio.sleep(WAIT)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def count(self, request: IncomingRequest, guess: int) -> None:
        """Count a wrong password, and log it."""
        address = address_of(request)
        if number := self._failures.add(address, guess, time.monotonic()):
            _LOG.warning("%d wrong password%s from %s", number, "" if number == 1 else "s", address)


def is_among(expected: Secret, presented: Sequence[Secret]) -> bool:
    """Return whether a secret is one of those presented; an empty one never is.

    compare_digest takes the same time for every wrong secret, so that nobody can guess one byte after another.
    """
    known = expected.reveal().encode()
    if known:
        for secret in presented:
            if hmac.compare_digest(secret.reveal().encode("utf-8", "surrogatepass"), known):
                return True
    return False


class WrongPasswordError(AuthenticationError):
    """A request without the server's password. `guess`: the hash of the wrong one, None if there was none."""

    def __init__(self, presented: Sequence[Secret]) -> None:
        message = "the password or key is missing or wrong"
        super().__init__(message, status=401, code="authentication_error")
        self.guess = hash(tuple([secret.reveal() for secret in presented])) if presented else None


class Failures:
    """The wrong passwords that each address has presented lately."""

    def __init__(self) -> None:
        self.addresses: dict[str, _Failed] = {}

    def add(self, address: str, guess: int, now: float) -> int:
        """Count one. Return how many there have been since the last report if it is time for another, else 0."""
        failed = self.addresses.pop(address, None) or _Failed(now)
        self.addresses[address] = failed  # the last in order
        if len(self.addresses) > MAX_ADDRESSES:
            del self.addresses[next(iter(self.addresses))]
        if guess not in failed.guesses:
            failed.guesses.append(guess)
            failed.number = min(failed.at(now) + 1, _MAX_COUNTED)
            failed.counted_at = now
        failed.unreported += 1
        if now < failed.report_at:
            return 0
        number, failed.unreported, failed.report_at = failed.unreported, 0, now + _REPORT_INTERVAL
        return number

    def exceed_limit(self, address: str, now: float) -> bool:
        """Return whether the address has presented so many that its requests have to wait."""
        failed = self.addresses.get(address)
        if failed is not None and not failed.at(now) and now >= failed.report_at:
            del self.addresses[address]
        return failed is not None and failed.at(now) > BURST - 1


class _Failed:
    __slots__ = ("counted_at", "guesses", "number", "report_at", "unreported")

    def __init__(self, now: float) -> None:
        self.guesses: deque[int] = deque(maxlen=_MAX_GUESSES)
        """The last ones. One that is repeated is no guess: a client has a key that was revoked, and tries again."""
        self.number = 0.0
        self.counted_at = self.report_at = now
        self.unreported = 0

    def at(self, now: float) -> float:
        """Return how many are not forgotten yet."""
        return max(0.0, self.number - (now - self.counted_at))


def address_of(request: IncomingRequest) -> str:
    """Return the address that a request counts for. An IPv6 network of 64 bits is one: a host may have all of it."""
    connection = request.connection
    if not connection.address:  # which it keeps: finding it takes a system call, and is done for every request
        transport = connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        connection.address = _network_of(peer[0]) if peer else "-"
    return connection.address


def _network_of(host: str) -> str:
    if ":" not in host:
        return host
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped) if mapped is not None else f"{ip_address(address.packed[:8] + bytes(8))}/64"
