"""Run one scenario on a provider, and return its violations of the contract, each in one line."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from acytoo.errors import AcytooError, MissingExtraError
from acytoo.testing.conformance.clock import cancel_and_wait, finishes_within, occurs_within
from acytoo.testing.conformance.consumers import ConsumerScenario
from acytoo.testing.conformance.environments import Environment, RunningEnvironment
from acytoo.testing.conformance.event_loops import EventLoopScenario
from acytoo.testing.conformance.faults import FaultScenario
from acytoo.testing.conformance.leaks import LeakDetector, detect_leaks, secret_location
from acytoo.testing.conformance.subject import Outcome, Subject, Violation, question
from acytoo.testing.script.directives import COMPLETE_REPLY

Scenario: TypeAlias = FaultScenario | ConsumerScenario | EventLoopScenario


def check(subject: Subject, scenario: Scenario) -> list[str]:
    """Return the violations, or an empty list if the provider conforms."""
    if isinstance(scenario, FaultScenario):
        return _check_fault(subject, scenario)
    if isinstance(scenario, ConsumerScenario):
        return _check_consumer(subject, scenario)
    return _check_event_loop(subject, scenario)


def _check_fault(subject: Subject, fault: FaultScenario) -> list[str]:
    return _run_in_loop(lambda detector: _run_fault(subject, fault, detector), 4 * subject.patience_s)


def _check_consumer(subject: Subject, scenario: ConsumerScenario) -> list[str]:
    # Each call has its own limit. A cut at each byte is thousands of calls, which take a minute on a busy machine.
    return _run_in_loop(lambda detector: scenario.run(subject), max(600, 4 * subject.patience_s))


def _check_event_loop(subject: Subject, scenario: EventLoopScenario) -> list[str]:
    with detect_leaks() as detector:
        try:
            scenario.run(subject)
        except Violation as violation:
            detector.add(str(violation))
        except Exception as error:
            detector.add(f"raised {_describe(error)}")
    return detector.violations


def _run_in_loop(run: Callable[[LeakDetector], Coroutine[Any, Any, None]], limit_s: float) -> list[str]:
    """Run a scenario in a new event loop, and return its violations and leaks."""

    async def main(detector: LeakDetector) -> None:
        detector.watch_loop()
        task = asyncio.ensure_future(run(detector))
        if not await finishes_within(task, limit_s):
            detector.add("hung")
            await cancel_and_wait(task)
        elif task.cancelled():
            detector.add("cancelled its consumer while the consumer ran its own code")
        elif isinstance(error := task.exception(), Violation):
            detector.add(str(error))
        elif error is not None:
            detector.add(f"raised {_describe(error)}")
        del task
        await _settle()
        detector.check_tasks()

    with detect_leaks() as detector:
        asyncio.run(main(detector))
    return detector.violations


async def _settle() -> None:
    """Let tasks finish that only wait for their turn in the event loop."""
    for _ in range(10):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        await asyncio.wait(others, timeout=0.05)


async def _run_fault(subject: Subject, fault: FaultScenario, detector: LeakDetector) -> None:
    messages = question()
    original = copy.deepcopy(messages)
    async with fault.environment.start(subject, fault.scripts) as running:
        settings = {"timeout": fault.timeout, **running.settings}
        for _ in range(fault.calls - 1):
            earlier = await subject.consume(running.url, messages, **settings)
            for violation in _judge(earlier, FaultScenario("earlier call", (), "", (), COMPLETE_REPLY)):
                detector.add(f"before the fault: {violation}")
            await asyncio.sleep(0.02)
        outcome = await subject.consume(running.url, messages, **settings)
        for violation in _judge(outcome, fault):
            detector.add(violation)
        if messages != original:
            detector.add("changed the caller's messages")
        await _check_servers(subject, fault, running, outcome, detector)


async def _check_servers(
    subject: Subject, fault: FaultScenario, running: RunningEnvironment, outcome: Outcome, detector: LeakDetector
) -> None:
    """Check what the servers received, and that broken connections are closed."""
    if running.elsewhere is not None and running.elsewhere.connections:
        detector.add("followed the redirect to another origin")
    if running.fake is not None:
        requests = running.fake.requests
        if fault.max_requests is not None and len(requests) > fault.max_requests:
            detector.add(f"sent {len(requests)} requests; expected at most {fault.max_requests}")
        if any("proxy-authorization" in request.headers for request in requests):
            detector.add("sent the proxy's password to the endpoint")
    if outcome.error is None and not outcome.hung and any(not server.connections for server in running.servers):
        detector.add("bypassed the proxy")
    if outcome.error is not None and _breaks_connection(fault):
        for server in running.servers:
            if server.connections and not await occurs_within(server.disconnected(), subject.promptly_s):
                detector.add(f"the connection was still open {subject.promptly_s:g} s after the error")


_BREAKING = frozenset(
    {"reset", "close", "half-close", "stall", "noise", "slow-head", "silent", "hang-up", "garbage", "only-pings"}
)
"""Directives after which a connection cannot be reused."""


def _breaks_connection(fault: FaultScenario) -> bool:
    names = {directive.partition(":")[0] for directive in fault.scripts[-1].split("+")}
    if names & _BREAKING:
        return True
    return fault.environment is not Environment.DIRECT and "redirect" not in names


def _judge(outcome: Outcome, fault: FaultScenario) -> list[str]:
    """Return how the outcome of a call differs from the required one."""
    violations: list[str] = []
    error = outcome.error
    if any(not isinstance(text, str) or not text for text in outcome.texts):
        violations.append("yielded something other than a non-empty str")
    if outcome.hung:
        return [*violations, f"hung: neither an error nor the end of the reply (timeout {fault.timeout:g} s)"]
    if location := secret_location(error):
        violations.append(f"showed the key or the proxy's password in the error's {location}")
    if error is None:
        return violations + _judge_success(outcome, fault)
    if isinstance(error, MissingExtraError):
        return [*violations, f"could not be tested: {error}"]
    if not fault.errors:
        return [*violations, f"raised {_describe(error)}; expected {fault.required}"]
    if not isinstance(error, AcytooError):
        violations.append(f"raised {_describe(error)}, not an AcytooError; expected {fault.required}")
    elif not isinstance(error, fault.errors):
        violations.append(f"raised {_describe(error)}; expected {fault.required}")
    else:
        for name, value in fault.attributes.items():
            if getattr(error, name, None) != value:
                violations.append(f"the error has {name}={getattr(error, name, None)!r}; expected {value!r}")
        if fault.message not in str(error):
            violations.append(f"the error does not have the server's message: {str(error)[:100]!r}")
        if error.text != outcome.text:
            violations.append("the error's `text` is not the yielded text")
    return violations + _judge_text(outcome, fault)


def _judge_success(outcome: Outcome, fault: FaultScenario) -> list[str]:
    if not fault.errors:
        return _judge_text(outcome, fault)
    if not fault.may_succeed:
        return [f"accepted {outcome.text[:40]!r} as a complete reply; expected {fault.required}"]
    # Records may have been shuffled: the same characters in any order.
    if sorted(outcome.text) != sorted(COMPLETE_REPLY):
        return [f"accepted {outcome.text[:80]!r} as a complete reply"]
    return []


def _judge_text(outcome: Outcome, fault: FaultScenario) -> list[str]:
    if fault.text is not None and outcome.text != fault.text:
        return [f"yielded {outcome.text[:80]!r}; expected {fault.text[:80]!r}"]
    if fault.text is None and not fault.may_succeed and not COMPLETE_REPLY.startswith(outcome.text):
        return [f"yielded {outcome.text[:80]!r}, which is not the beginning of the reply"]
    return []


def _describe(error: BaseException) -> str:
    error_type = type(error)
    is_short = error_type.__module__.startswith(("builtins", "acytoo"))
    name = error_type.__qualname__ if is_short else f"{error_type.__module__}.{error_type.__qualname__}"
    return f"{name} ({' '.join(str(error).split())[:80]})" if str(error) else name
