"""A short reply cut at every byte on the wire: an error of ours with what came, or the reply where all of it came."""

from __future__ import annotations

from acytoo.errors import TruncatedError, UnreachableError
from acytoo.testing.conformance.consumers import ConsumerScenario, streamed
from acytoo.testing.conformance.environments import endpoint
from acytoo.testing.conformance.subject import Attempt, Defect, Subject

_AT_ONCE = 50
"""Cuts that one endpoint is scripted for."""


async def _resets(subject: Subject) -> None:
    await _cut_at_each_byte(subject, "reset")


async def _half_closes(subject: Subject) -> None:
    await _cut_at_each_byte(subject, "half-close")


async def _cut_at_each_byte(subject: Subject, way: str) -> None:
    async with endpoint(subject, ("short", "short+close:2t")) as fake:
        whole = await streamed(fake.url, subject)
        size = fake.written
        await subject.attempt(fake.url)
        texts_end = fake.written - size
    may_be_whole_from = size - 4 if subject.dialect.framing == "text" else texts_end
    for begin in range(0, size, _AT_ONCE):
        places = range(begin, min(size, begin + _AT_ONCE))
        async with endpoint(subject, tuple(f"short+{way}:{place}w" for place in places)) as fake:
            for place in places:
                attempt = await subject.attempt(fake.url)
                if wrong := _wrong(attempt, whole, place >= may_be_whole_from):
                    raise Defect(f"after a {way} at byte {place} of {size} it {wrong}")


def _wrong(attempt: Attempt, whole: str, may_be_whole: bool) -> str:
    error = attempt.error
    if attempt.hung:
        return "hung"
    if not whole.startswith(attempt.text):
        return f"yielded {attempt.text[:40]!r}"
    if error is None:
        return "" if may_be_whole and attempt.text == whole else f"took {attempt.text[:40]!r} for a whole reply"
    if not isinstance(error, (UnreachableError, TruncatedError)):
        return f"raised {type(error).__module__}.{type(error).__qualname__} ({str(error)[:80]})"
    if error.text != attempt.text:
        return "raised an error that does not carry the text so far"
    return ""


_REQUIRED = "`UnreachableError`, or `TruncatedError` with the text so far; once all of it came, the whole reply"

TRUNCATION_SCENARIOS: tuple[ConsumerScenario, ...] = (
    ConsumerScenario(
        "reset-at-each-byte",
        "asks a server that resets the connection after 0, 1, 2, … bytes on the wire",
        _REQUIRED,
        "somewhere in the head, a chunk's size, a character or a record is the place nobody thought of",
        _resets,
    ),
    ConsumerScenario(
        "half-close-at-each-byte",
        "asks a server that sends no more (FIN) after 0, 1, 2, … bytes on the wire",
        _REQUIRED,
        "as above, without the sign that a reset is",
        _half_closes,
    ),
)
"""Both ways."""
