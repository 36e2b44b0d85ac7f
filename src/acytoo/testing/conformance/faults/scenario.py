"""A row of the fault table, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError, TimedOutError
from acytoo.testing.conformance.environments import Environment
from acytoo.testing.script.directives import COMPLETE_REPLY
from acytoo.types import JSONObject
from acytoo.wire.records import Framing

ErrorTypes: TypeAlias = tuple[type[AcytooError], ...]

ALL_FRAMINGS: tuple[Framing, ...] = ("text", "sse", "ndjson")
RECORDS: tuple[Framing, ...] = ("sse", "ndjson")


@dataclass(frozen=True)
class FaultScenario:
    """One row of the fault table.

    `scripts` are the endpoint's, one per request. `errors` are the error types of which the provider must raise one;
    without any it must yield the complete reply. `text` is what it must have yielded, and what the error must carry.
    With `may_succeed`, the complete reply is accepted as well. `attributes` are required of the error, `message` is a
    part of its message, and `max_requests` how many requests the endpoint may get in `calls` calls.

    The fault can only happen in dialects whose streams have one of the `framings` and, with `needs_end_record`, end
    with a record of their own. `dialects` are the names of those that its script is written for, None for all.
    `reports` are public bug reports, as `owner/repository#number`.
    """

    name: str
    scripts: tuple[str, ...]
    why: str
    errors: ErrorTypes = ()
    text: str | None = None
    may_succeed: bool = False
    attributes: JSONObject = field(default_factory=dict)
    message: str = ""
    timeout: float = 10.0
    environment: Environment = Environment.DIRECT
    framings: tuple[Framing, ...] = ALL_FRAMINGS
    needs_end_record: bool = False
    dialects: frozenset[str] | None = None
    calls: int = 1
    max_requests: int | None = None
    reports: tuple[str, ...] = ()

    def can_happen_in(self, dialect: Dialect) -> bool:
        """Return whether a stream of this dialect can have the fault."""
        if self.dialects is not None and dialect.name not in self.dialects:
            return False
        return dialect.framing in self.framings and (dialect.ends_with_record or not self.needs_end_record)

    @property
    def required(self) -> str:
        """The required outcome, in Markdown."""
        if not self.errors:
            return "the complete reply"
        outcome = " or ".join(f"`{error.__name__}`" for error in self.errors)
        details = [f"`{name}={value!r}`" for name, value in self.attributes.items()]
        if self.text:
            details.append("the text so far")
        if self.message:
            details.append("the server's message")
        if details:
            outcome += f" with {' and '.join(details)}"
        return f"the complete reply, or {outcome}" if self.may_succeed else outcome


def succeeds(name: str, scripts: str, why: str, *, text: str = COMPLETE_REPLY, **options: Any) -> FaultScenario:
    """Return a row that requires a complete reply. Scripts are separated by " then "."""
    return FaultScenario(name, tuple(scripts.split(" then ")), why, (), text, **options)


def fails(
    name: str,
    scripts: str,
    errors: type[AcytooError] | ErrorTypes,
    why: str,
    *,
    text: str | None = "",
    **options: Any,
) -> FaultScenario:
    """Return a row that requires one of these errors, by default before any text."""
    error_types = errors if isinstance(errors, tuple) else (errors,)
    return FaultScenario(name, tuple(scripts.split(" then ")), why, error_types, text, **options)


def times_out(name: str, scripts: str, phase: str, why: str, *, timeout: float = 0.3, **options: Any) -> FaultScenario:
    """Return a row that requires a timeout in this phase. The earlier phases have as much time."""
    return fails(name, scripts, TimedOutError, why, attributes={"phase": phase}, timeout=timeout, **options)
