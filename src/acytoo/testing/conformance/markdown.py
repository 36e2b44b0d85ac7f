"""Generate docs/faults.md from the tables. Not in the wheel, which has no docs."""

from __future__ import annotations

from collections.abc import Iterable

from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS, ConsumerScenario
from acytoo.testing.conformance.environments import Environment
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS, EventLoopScenario
from acytoo.testing.conformance.faults import ALL_FRAMINGS, FAULT_SCENARIOS, FaultScenario
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS
from acytoo.testing.script.directives import PLACES, SYNTAX

_INTRODUCTION = """\
# Faults

What `acytoo.testing` does to a provider, what it requires, and why. [testing.md](testing.md) shows how to use it.
"Reports" are public bug reports of the fault, or of clients that did not survive it. This page is generated from
`src/acytoo/testing` by `python -m acytoo.testing --faults`.

After every scenario, these must hold:

- No sockets, tasks or threads are left, nothing is left unclosed, and the event loop has reported no error.
- The caller's messages are unchanged.
- The key and the proxy's password are in no log record, and nowhere in the error: message, repr, arguments,
  attributes, traceback or causes.
- Every text is a non-empty `str`. None is lost, repeated or out of order.
- The error's `text` is the yielded text.
- A connection that cannot be reused is closed within 0.1 s of the process's running time.

## Faults of servers and networks

"Script" is what the endpoint does: an argument of `acytoo fake --fault` for each request.

| fault | script | required | why | reports |
| --- | --- | --- | --- | --- |
"""

_CONSUMERS = """
## Consumers

| scenario | the consumer | required | why | reports |
| --- | --- | --- | --- | --- |
"""

_EVENT_LOOPS = """
## Event loops

| scenario | what happens | required | why | reports |
| --- | --- | --- | --- | --- |
"""

_DIRECTIVES = """
## Directives

`acytoo fake --dialect openai --fault SCRIPT` runs the endpoint alone, for any client. A script is a list of directives
joined by `+`, or the name of a fault in the first table. Repeat `--fault` for further requests; the last one is
repeated. At most one directive creates the response; the others change it.

Places in the response:

{places}

| directive | example | what the endpoint does |
| --- | --- | --- |
"""

_LIMITS = """
## Not covered

- Names that resolve slowly or to many addresses, and losing the network under an open connection: both need more than
  one machine. A port that drops connections is a listening socket whose backlog is full, which works on Linux only.
- Valid bodies in `br`: no provider here asks for it, so any such body must be an error.
- HTTP/2 and HTTP/3: the endpoint uses HTTP/1.1.
- The scenario `fork` needs `os.fork`; counting sockets needs `/proc` (Linux).
"""


def faults_page() -> str:
    """Return the complete page."""
    places = "\n".join(f"- {f'`{example}`' if example else 'none'}: {meaning}" for example, meaning in PLACES.items())
    return "".join(
        (
            _INTRODUCTION,
            _rows(_fault_row(fault) for fault in FAULT_SCENARIOS),
            _CONSUMERS,
            _rows(_scenario_row(scenario) for scenario in (*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS)),
            _EVENT_LOOPS,
            _rows(_scenario_row(scenario) for scenario in EVENT_LOOP_SCENARIOS),
            _DIRECTIVES.replace("{places}", places),
            _rows((each.name, f"`{each.example}`", each.description) for each in SYNTAX.directives.values()),
            _LIMITS,
        )
    )


def _fault_row(fault: FaultScenario) -> tuple[str, ...]:
    script = " ".join(f"`{text}`" for text in fault.scripts)
    if fault.environment is not Environment.DIRECT:
        script += f" ({fault.environment.value})"
    if fault.framings != ALL_FRAMINGS:
        script += f" ({', '.join(fault.framings)} only)"
    if fault.needs_end_record:
        script += " (only if a record ends the stream)"
    return fault.name, script, fault.required, fault.why, _links(fault.reports)


def _scenario_row(scenario: ConsumerScenario | EventLoopScenario) -> tuple[str, ...]:
    return scenario.name, scenario.description, scenario.required, scenario.why, _links(scenario.reports)


def _links(reports: tuple[str, ...]) -> str:
    parts = [report.partition("#") for report in reports]
    return ", ".join(f"[{repo}#{number}](https://github.com/{repo}/issues/{number})" for repo, _, number in parts)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
