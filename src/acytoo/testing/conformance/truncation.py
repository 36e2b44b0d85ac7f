"""Cut a short reply at every byte on the wire: the provider must raise an error, or have received the complete reply.

A table of chosen places would miss the one that nobody thought of. A reply of two texts has a few hundred bytes, so
every place can be tried: in the status line, a header, a chunk size, a record, a character, and after the last text.
"""

from __future__ import annotations

from acytoo.errors import TruncatedError, UnreachableError
from acytoo.testing.conformance.consumers import ConsumerScenario, consume
from acytoo.testing.conformance.environments import endpoint
from acytoo.testing.conformance.subject import Outcome, Subject, Violation

_BATCH = 50
"""Cuts per endpoint."""


async def _reset_at_each_byte(subject: Subject) -> None:
    await _cut_at_each_byte(subject, "reset")


async def _half_close_at_each_byte(subject: Subject) -> None:
    await _cut_at_each_byte(subject, "half-close")


async def _cut_at_each_byte(subject: Subject, directive: str) -> None:
    async with endpoint(subject, ("short", "short+close:2t")) as fake:
        complete = await consume(subject, fake.url)
        size = fake.written
        await subject.consume(fake.url)
        texts_end = fake.written - size
    # Plain text ends with the terminating chunk: without its last bytes (CRLF CRLF), a client may accept it or not.
    # A dialect with records has its own end somewhere after the last text.
    may_be_complete_from = size - 4 if subject.dialect.framing == "text" else texts_end
    for begin in range(0, size, _BATCH):
        places = range(begin, min(size, begin + _BATCH))
        async with endpoint(subject, tuple(f"short+{directive}:{place}w" for place in places)) as fake:
            for place in places:
                outcome = await subject.consume(fake.url)
                if violation := _violation(outcome, complete, place >= may_be_complete_from):
                    raise Violation(f"after a {directive} at byte {place} of {size} it {violation}")


def _violation(outcome: Outcome, complete: str, may_be_complete: bool) -> str:
    error = outcome.error
    if outcome.hung:
        return "hung"
    if not complete.startswith(outcome.text):
        return f"yielded {outcome.text[:40]!r}"
    if error is None:
        if may_be_complete and outcome.text == complete:
            return ""
        return f"accepted {outcome.text[:40]!r} as a complete reply"
    if not isinstance(error, (UnreachableError, TruncatedError)):
        return f"raised {type(error).__module__}.{type(error).__qualname__} ({str(error)[:80]})"
    if error.text != outcome.text:
        return "raised an error whose `text` is not the yielded text"
    return ""


_REQUIRED = (
    "`UnreachableError`, or `TruncatedError` with the text so far; the complete reply if all of it has been received"
)

TRUNCATION_SCENARIOS: tuple[ConsumerScenario, ...] = (
    ConsumerScenario(
        "reset-at-each-byte",
        "calls a server that resets the connection after 0, 1, 2, … bytes on the wire",
        _REQUIRED,
        "a connection can be cut inside the head, a chunk size, a record or a character",
        _reset_at_each_byte,
    ),
    ConsumerScenario(
        "half-close-at-each-byte",
        "calls a server that sends FIN after 0, 1, 2, … bytes on the wire",
        _REQUIRED,
        "a FIN, unlike a reset, is not an error of the socket",
        _half_close_at_each_byte,
    ),
)
"""A reset and a half-close at every byte."""
