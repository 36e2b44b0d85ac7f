"""The kit can fail: what it says of a provider written in the older style, and of a rude one."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import UsageError
from acytoo.testing import ProviderConformance
from acytoo.testing.conformance.checks import conduct_complaints, fault_complaints, lifetime_complaints
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS
from acytoo.testing.conformance.faults import FAULTS
from acytoo.testing.conformance.markdown import faults_page
from acytoo.testing.conformance.report import subject_of
from acytoo.testing.conformance.subject import Subject
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS
from tests.processes import LIMIT
from tests.testing.conformance.naive import Naive

ROOT = Path(__file__).parents[3]


def complaints(subject: Subject, row: str) -> str:
    """Everything the kit says of one row."""
    for fault in FAULTS:
        if fault.name == row:
            return "\n".join(fault_complaints(subject, fault))
    for conduct in (*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS):
        if conduct.name == row:
            return "\n".join(conduct_complaints(subject, conduct))
    for lifetime in EVENT_LOOP_SCENARIOS:
        if lifetime.name == row:
            return "\n".join(lifetime_complaints(subject, lifetime))
    raise AssertionError(f"no row is called {row}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("byte-by-byte", "raised UnicodeDecodeError"),
        ("stall", "hung: no error, no end"),
        ("silent", "hung: no error, no end"),
        ("black-hole", "hung: no error, no end"),
        ("refused", "which is no AcytooError"),
        ("reset", "`TruncatedError` and the text so far was right"),
        ("until-reset", "for a whole reply"),
        ("gzip-cut", "for a whole reply"),
        ("invalid-utf-8", "raised UnicodeDecodeError"),
        ("status-429-json", "its error shows the key or password: its repr"),
        ("http-proxy-password-tls", "its error shows the key or password: its message"),
        ("error-with-200", "the server's own words was right"),
        ("page-with-200", "took '<!DOCTYPE html>"),
        ("empty-with-200", "took '' for a whole reply"),
        ("redirect-302", "asked 2 times, 1 is right"),
        ("redirect-elsewhere", "went to the other origin"),
        ("socks-proxy", "the whole reply was right"),
        ("keep-alive-ran-out", "the whole reply was right"),
        ("reset-at-each-byte", "after a reset at byte 0"),
        ("half-close-at-each-byte", "after a half-close at byte 0"),
    ],
)
def test_the_classic_loop_is_told_what_it_lacks(row: str, words: str) -> None:
    assert words in complaints(subject_of(Naive, "acytoo", patience_s=1.0), row)


@pytest.mark.parametrize("row", ["one-packet", "until-close", "redirect-307", "leaves-early", "crowd", "two-threads"])
def test_the_classic_loop_is_told_what_it_does_right(row: str) -> None:
    assert complaints(subject_of(Naive, "acytoo"), row) == ""


SINS = {
    "Rude": [
        ("one-packet", "yielded what is no text, or an empty one"),
        ("one-packet", "changed the caller's messages"),
        ("one-packet", "the log of 'rude' shows a secret"),
        ("one-packet", "left 1 task(s) running: sleep"),
        ("one-packet", "Unclosed client session"),
        ("until-close", "was right"),
        ("reset", "for a whole reply"),
        ("cancelled-in-each-phase", "went on as if nothing were"),
        ("http-proxy", "did not go through the proxy"),
    ],
    "Shared": [
        ("loop-after-loop", "Event loop is closed"),
        ("two-threads", "two loops in two threads"),
        ("fork", "a child forked in mid-stream"),
        ("crowd", "were not their own whole reply"),
    ],
    "Hasty": [
        ("never-begins", "connected although nobody ever asked"),
        ("slow", "cancelled its consumer in the consumer's own code"),
        ("again-and-again", "faulty replies left"),
    ],
}
"""What each of the providers of `naive` does wrong, by the row that finds it out."""


@functools.cache
def report_on(name: str, row: str) -> str:
    """The report on a provider that may leave anything behind, so from a process of its own."""
    done = command(f"tests.testing.conformance.naive:{name}", "--dialect=acytoo", "--patience=2", f"--only={row}")
    return done.stdout + done.stderr


@pytest.mark.parametrize(("name", "row", "words"), [(name, *sin) for name, sins in SINS.items() for sin in sins])
def test_what_a_provider_does_wrong_is_found_out(name: str, row: str, words: str) -> None:
    found = [line for line in report_on(name, row).splitlines() if line.startswith(f"FAIL  {row}: ")]
    assert found, report_on(name, row)
    assert words in found[0]


class _Deaf:
    """A provider that hears nothing: neither that its consumer has left, nor that it is cancelled."""

    def __init__(self, url: str) -> None:
        self.provider = Acytoo(url)

    async def create_async_generator(self, model: str, messages: Any) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._fill(queue, messages))
        while (text := await queue.get()) is not None:
            yield text

    async def _fill(self, queue: asyncio.Queue[str | None], messages: Any) -> None:
        async for text in self.provider.create_async_generator("", messages):
            await queue.put(text)
        await queue.put(None)


@pytest.mark.parametrize(
    "row", ["leaves-early", "drops-it", "raises", "cancelled-in-each-phase", "own-timeout", "never-reads"]
)
def test_a_provider_that_goes_on_when_its_consumer_has_left_is_found_out(row: str) -> None:
    subject = Subject("Deaf", lambda url, **_: _Deaf(url), dialects.Acytoo(), patience_s=1.0)
    found = complaints(subject, row)
    assert "was still open 0.1 s after" in found or "that nobody reads" in found


class TestAFunction(ProviderConformance):
    """A bare function is a provider too; `make` says how it is pointed at a URL."""

    dialect = dialects.OpenAI()

    def make(self, url: str, **settings: Any) -> Any:
        from acytoo.providers.openai import OpenAI

        return functools.partial(OpenAI.create_async_generator, url=url, **settings)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Some rows are enough."""
        for name, row in (
            ("fault", FAULTS[-1]),
            ("conduct", CONSUMER_SCENARIOS[0]),
            ("lifetime", EVENT_LOOP_SCENARIOS[0]),
        ):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, [row], ids=[row.name])


def test_a_provider_whose_api_is_not_known_is_asked_for_it() -> None:
    with pytest.raises(UsageError, match="dialect"):
        subject_of(Naive)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "acytoo.testing", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT, check=False)


def test_the_command_prints_a_line_for_each_row_and_fails_where_one_does() -> None:
    done = command("tests.testing.conformance.naive:Naive", "--dialect", "acytoo", "--only", "status-40")
    assert done.returncode == 1, done.stderr
    assert "FAIL  status-404-json: " in done.stdout
    assert done.stdout.endswith("Naive, acytoo: 0 of 11 rows hold\n")


def test_the_command_passes_a_provider_that_holds() -> None:
    done = command("acytoo:Acytoo", "--only", "status-40")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("pass  ") == 11


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["no.such:Thing"], ["acytoo:No"], ["acytoo:Acytoo", "--dialect", "x"]]
)
def test_the_command_says_what_is_wrong_with_its_arguments(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_the_page_in_the_docs_is_the_tables() -> None:
    assert (ROOT / "docs" / "faults.md").read_text() == faults_page(), (
        "python -m acytoo.testing --faults > docs/faults.md"
    )


def test_every_row_has_a_name_of_its_own() -> None:
    tables: tuple[Any, ...] = (*FAULTS, *CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS, *EVENT_LOOP_SCENARIOS)
    names = [row.name for row in tables]
    assert len(names) == len(set(names))


def test_the_kit_can_be_imported_without_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; from acytoo.testing import ProviderConformance"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT)


def test_every_row_can_happen_in_at_least_one_dialect() -> None:
    subjects = [Subject(dialect.name, Acytoo, dialect) for dialect in dialects.ALL]
    assert [fault.name for fault in FAULTS if not any(subject.faces(fault) for subject in subjects)] == []
