"""docs/faults.md, made from the tables."""

from __future__ import annotations

from collections.abc import Iterable

from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS
from acytoo.testing.conformance.faults import EVERYWHERE, FAULTS, Fault
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS
from acytoo.testing.script.syntax import WORDS

_HEAD = """\
# Faults

What `acytoo.testing` does to a provider, what it requires, and why. Made by `python -m acytoo.testing --faults` from
`src/acytoo/testing`; [testing.md](testing.md) says how to use it. "Seen" are public reports of the fault, or of a
client that did not stand it.

After every row: nothing left behind (sockets, tasks, threads, complaints of the event loop, unclosed resources); the
caller's messages unchanged; key and proxy password in no message, repr, argument, attribute, traceback or cause of the
error and in no log record; every text a non-empty `str`, none lost, doubled or out of order; the error's `text` what
was yielded; the connection closed within 0.1 s (of the process's own time) where it cannot be used again.

## What goes wrong

"Endpoint" is what `acytoo fake --fault` takes, one for each request.

| fault | endpoint | required | why | seen |
| --- | --- | --- | --- | --- |
"""

_WORDS = """
## The words

`acytoo fake --dialect openai --fault WORDS` is the endpoint alone, for any client. Words are joined by `+`; several
`--fault` are for one request after the other, the last again and again. A name from the table above stands for its
words. Places: `17` is after 17 bytes of the body, `1t` after 1 text, `9w` after 9 bytes on the wire, `w` after the
complete response, none at the end of the body.

| word | like | what the endpoint does |
| --- | --- | --- |
"""

_MISSING = """
## Not covered

- Names that resolve slowly or to many addresses (only one that has none), and losing the network under an open
  connection: both need more than this machine. A black-holed connect is a listening socket whose queue is full (Linux).
- Bodies in br or zstd that are right: none are asked for, so one that comes is refused by name.
- HTTP/2 and HTTP/3: the endpoint speaks HTTP/1.1.
- The fork row needs `os.fork`; counting sockets needs `/proc` (Linux).
"""


def faults_page() -> str:
    """The whole page."""
    parts = [_HEAD, _rows(_of_fault(fault) for fault in FAULTS)]
    parts.append(
        "\n## What consumers do\n\n| row | the consumer | required | why | seen |\n| --- | --- | --- | --- | --- |\n"
    )
    parts.append(
        _rows(
            (row.name, row.does, row.required, row.why, _seen(row.seen))
            for row in (*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS)
        )
    )
    parts.append(
        "\n## What event loops do\n\n| row | what happens | required | why | seen |\n| --- | --- | --- | --- | --- |\n"
    )
    parts.append(_rows((row.name, row.does, row.required, row.why, _seen(row.seen)) for row in EVENT_LOOP_SCENARIOS))
    parts.append(_WORDS)
    parts.append(_rows((word.name, f"`{word.example}`", word.does) for word in WORDS.values()))
    return "".join([*parts, _MISSING])


def _of_fault(fault: Fault) -> tuple[str, ...]:
    where = " ".join(f"`{words}`" for words in fault.words)
    if fault.place:
        where += f" ({fault.place})"
    if fault.families != EVERYWHERE:
        where += f" ({', '.join(fault.families)} only)"
    if fault.needs_end:
        where += " (where a record ends the stream)"
    return fault.name, where, fault.required, fault.why, _seen(fault.seen)


def _seen(reports: tuple[str, ...]) -> str:
    links = [report.partition("#") for report in reports]
    return ", ".join(f"[{repo}#{number}](https://github.com/{repo}/issues/{number})" for repo, _, number in links)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
