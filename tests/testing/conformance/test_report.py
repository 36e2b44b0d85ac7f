"""The conformance suite can fail: what it reports on providers with bugs."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, dialects
from acytoo.errors import UsageError
from acytoo.testing import ProviderConformance
from acytoo.testing.conformance.checks import Scenario, check
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS
from acytoo.testing.conformance.faults import FAULT_SCENARIOS
from acytoo.testing.conformance.markdown import faults_page
from acytoo.testing.conformance.report import subject_of
from acytoo.testing.conformance.subject import Subject
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS
from tests.processes import LIMIT
from tests.testing.conformance.naive import Naive

ROOT = Path(__file__).parents[3]


ALL_SCENARIOS: tuple[Scenario, ...] = (
    *FAULT_SCENARIOS,
    *CONSUMER_SCENARIOS,
    *TRUNCATION_SCENARIOS,
    *EVENT_LOOP_SCENARIOS,
)


def violations(subject: Subject, name: str) -> str:
    """Return the violations of the scenario with this name, one per line."""
    (scenario,) = [scenario for scenario in ALL_SCENARIOS if scenario.name == name]
    return "\n".join(check(subject, scenario))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("byte-by-byte", "raised UnicodeDecodeError"),
        ("stall", "hung: neither an error nor the end"),
        ("silent", "hung: neither an error nor the end"),
        ("black-hole", "hung: neither an error nor the end"),
        ("refused", "not an AcytooError"),
        ("reset", "expected `TruncatedError` with the text so far"),
        ("until-reset", "as a complete reply"),
        ("gzip-cut", "as a complete reply"),
        ("invalid-utf-8", "raised UnicodeDecodeError"),
        ("status-429-json", "showed the key or the proxy's password in the error's repr"),
        ("http-proxy-password-tls", "showed the key or the proxy's password in the error's message"),
        ("error-with-escaped-key", "expected `AuthenticationError`"),
        ("error-with-200", "`StatusError` or `ProtocolError` with the server's message"),
        ("page-with-200", "accepted '<!DOCTYPE html>"),
        ("empty-with-200", "accepted '' as a complete reply"),
        ("redirect-302", "sent 2 requests; expected at most 1"),
        ("redirect-elsewhere", "followed the redirect to another origin"),
        ("socks-proxy", "expected the complete reply"),
        ("keep-alive-expired", "expected the complete reply"),
        ("reset-at-each-byte", "after a reset at byte 0"),
        ("half-close-at-each-byte", "after a half-close at byte 0"),
    ],
)
def test_a_naive_provider_fails_with_a_message_that_names_the_bug(name: str, message: str) -> None:
    assert message in violations(subject_of(Naive, "acytoo", patience_s=1.0), name)


@pytest.mark.parametrize("name", ["one-packet", "until-close", "redirect-307", "closes-early", "crowd", "two-threads"])
def test_a_naive_provider_passes_what_it_does_right(name: str) -> None:
    assert violations(subject_of(Naive, "acytoo"), name) == ""


BUGS = {
    "Careless": [
        ("one-packet", "yielded something other than a non-empty str"),
        ("one-packet", "changed the caller's messages"),
        ("one-packet", "logged a secret to 'careless'"),
        ("one-packet", "left 1 task(s) running: sleep"),
        ("one-packet", "Unclosed client session"),
        ("until-close", "expected 'Grüße, 世界"),
        ("reset", "as a complete reply"),
        ("cancelled-in-each-phase", "ignored its cancellation"),
        ("http-proxy", "bypassed the proxy"),
    ],
    "Shared": [
        ("loop-after-loop", "Event loop is closed"),
        ("two-threads", "two loops in two threads"),
        ("fork", "a child forked in mid-stream"),
        ("crowd", "concurrent calls got a wrong reply"),
    ],
    "Stale": [
        ("keep-alive-closed", "expected the complete reply"),
        ("keep-alive-expired", "raised http.client.RemoteDisconnected"),
    ],
    "Eager": [
        ("never-starts", "connected although no text was requested"),
        ("slow", "cancelled its consumer while the consumer ran its own code"),
        ("many-faults", "calls with faults left"),
    ],
}
"""What each provider in `naive` does wrong: the scenario that detects it, and the message."""


@functools.cache
def report_on(provider: str, name: str) -> str:
    """Run one scenario in a process of its own: these providers may leave anything behind."""
    done = command(f"tests.testing.conformance.naive:{provider}", "--dialect=acytoo", "--patience=2", f"--only={name}")
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("provider", "name", "message"), [(provider, *bug) for provider, bugs in BUGS.items() for bug in bugs]
)
def test_a_bug_is_reported(provider: str, name: str, message: str) -> None:
    failures = [line for line in report_on(provider, name).splitlines() if line.startswith(f"FAIL  {name}: ")]
    assert failures, report_on(provider, name)
    assert message in failures[0]


class _Detached:
    """A provider that reads in a task of its own, and so misses that its consumer has left or was cancelled."""

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
    "name", ["closes-early", "drops-generator", "raises", "cancelled-in-each-phase", "own-timeout", "never-reads"]
)
def test_a_provider_that_continues_after_its_consumer_has_left_is_reported(name: str) -> None:
    subject = Subject("Detached", lambda url, **_: _Detached(url), dialects.Acytoo(), patience_s=1.0)
    message = violations(subject, name)
    assert "was still open 0.1 s after" in message or "that its consumer did not read" in message


class _Keeping:
    """A provider that keeps twice the text of its replies, however long they are."""

    def __init__(self, url: str) -> None:
        self.provider = Acytoo(url)
        self.kept: list[str] = []

    async def create_async_generator(self, model: str, messages: Any) -> AsyncIterator[str]:
        async for text in self.provider.create_async_generator(model, messages):
            self.kept.append(f"{text}{text}")
            yield text

    async def create_async(self, model: str, messages: Any) -> str:
        return "".join([text async for text in self.create_async_generator(model, messages)])


@pytest.mark.parametrize(("name", "message"), [("inflates", "MB of memory"), ("collects-too-much", "in spite of")])
def test_a_provider_that_keeps_more_than_the_limit_is_reported(name: str, message: str) -> None:
    subject = Subject("Keeping", lambda url, **_: _Keeping(url), dialects.Acytoo(), patience_s=10.0)
    assert message in violations(subject, name)


async def _cancel_itself(model: str, messages: Any) -> AsyncIterator[str]:
    raise asyncio.CancelledError
    yield ""


def test_a_provider_that_cancels_itself_is_reported() -> None:
    subject = Subject("Cancelling", lambda url, **_: _cancel_itself, dialects.Acytoo(), patience_s=1.0)
    assert violations(subject, "closes-early") == "cancelled itself before the first text"


class TestAFunction(ProviderConformance):
    """The suite for a bare function, which `make` points at a URL."""

    dialect = dialects.OpenAI()

    def make(self, url: str, **settings: Any) -> Any:
        from acytoo.providers.openai import OpenAI

        return functools.partial(OpenAI.create_async_generator, url=url, **settings)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Select one scenario of each kind."""
        for argument, scenario in (
            ("fault", FAULT_SCENARIOS[-1]),
            ("consumer", CONSUMER_SCENARIOS[0]),
            ("event_loop_use", EVENT_LOOP_SCENARIOS[0]),
        ):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, [scenario], ids=[scenario.name])


def test_a_provider_without_a_dialect_is_an_error() -> None:
    with pytest.raises(UsageError, match="dialect"):
        subject_of(Naive)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "acytoo.testing", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT, check=False)


def test_the_command_prints_a_line_per_scenario_and_exits_with_1_if_one_fails() -> None:
    done = command("tests.testing.conformance.naive:Naive", "--dialect", "acytoo", "--only", "status-40")
    assert done.returncode == 1, done.stderr
    assert "FAIL  status-404-json: " in done.stdout
    assert done.stdout.endswith("Naive, acytoo: 0 of 11 scenarios passed\n")


def test_the_command_exits_with_0_if_all_scenarios_pass() -> None:
    done = command("acytoo:Acytoo", "--only", "status-40")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("pass  ") == 11


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["no.such:Thing"], ["acytoo:No"], ["acytoo:Acytoo", "--dialect", "x"]]
)
def test_the_command_rejects_invalid_arguments(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_the_page_in_the_docs_is_generated_from_the_tables() -> None:
    assert (ROOT / "docs" / "faults.md").read_text() == faults_page(), (
        "python -m acytoo.testing --faults > docs/faults.md"
    )


def test_the_names_of_the_scenarios_are_unique() -> None:
    names = [scenario.name for scenario in ALL_SCENARIOS]
    assert len(names) == len(set(names))


def test_the_suite_can_be_imported_without_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; from acytoo.testing import ProviderConformance"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT)


class _Metafunc:
    """Records what a test class parametrizes."""

    fixturenames = ("fault", "consumer", "event_loop_use")

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []

    def parametrize(self, argument: str, scenarios: list[Scenario], ids: list[str]) -> None:
        self.scenarios += scenarios


def test_every_scenario_is_tested_in_at_least_one_dialect() -> None:
    class Suite(ProviderConformance):
        provider = Acytoo

    metafunc = _Metafunc()
    for dialect in dialects.ALL:
        Suite.dialect = dialect
        Suite().pytest_generate_tests(metafunc)
    tested = {scenario.name for scenario in metafunc.scenarios}
    assert [scenario.name for scenario in ALL_SCENARIOS if scenario.name not in tested] == []


def test_a_dialect_in_which_no_endpoint_can_answer_is_refused_before_anything_runs() -> None:
    class ClientOnly(dialects.OpenAI):
        writer = dialects.Dialect.writer

    class Mine(AsyncGeneratorProvider):
        url = "http://127.0.0.1"
        dialect = ClientOnly()

    class Conformance(ProviderConformance):
        provider = Mine

    for provider in (Mine, Conformance):
        with pytest.raises(UsageError, match="ClientOnly has no writer: the kit's endpoint answers in the dialect"):
            subject_of(provider)
