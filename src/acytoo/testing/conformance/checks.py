"""One row of a table tried on a provider: every complaint in one line, none where it holds."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any

from acytoo.errors import AcytooError, MissingExtraError
from acytoo.testing.conformance.clock import ended, happens, stopped
from acytoo.testing.conformance.consumers import ConsumerScenario
from acytoo.testing.conformance.environments import ENVIRONMENTS, Environment
from acytoo.testing.conformance.event_loops import EventLoopScenario
from acytoo.testing.conformance.faults import WHOLE, Fault
from acytoo.testing.conformance.leaks import LeakDetector, told_secrets, watched
from acytoo.testing.conformance.subject import Attempt, Defect, Subject, question


def fault_complaints(subject: Subject, fault: Fault) -> list[str]:
    """What the provider does wrong in the face of one fault."""
    return _complaints_of(lambda watch: _face(subject, fault, watch), 4 * subject.patience_s)


def conduct_complaints(subject: Subject, conduct: ConsumerScenario) -> list[str]:
    """What the provider does wrong when its consumer behaves so."""
    return _complaints_of(lambda watch: conduct.run(subject), max(60, 4 * subject.patience_s))


def lifetime_complaints(subject: Subject, lifetime: EventLoopScenario) -> list[str]:
    """What the provider does wrong when event loops come and go."""
    with watched() as watch:
        try:
            lifetime.run(subject)
        except Defect as defect:
            watch.complain(str(defect))
        except Exception as error:
            watch.complain(f"raised {_described(error)}")
    return watch.complaints


def _complaints_of(case: Callable[[LeakDetector], Coroutine[Any, Any, None]], limit: float) -> list[str]:
    """What a case complains of in an event loop of its own, and what it leaves behind."""

    async def main(watch: LeakDetector) -> None:
        watch.loop()
        task = asyncio.ensure_future(case(watch))
        if not await ended(task, limit):
            watch.complain("hung")
            await stopped(task)
        elif task.cancelled():
            watch.complain("cancelled its consumer in the consumer's own code")
        elif isinstance(error := task.exception(), Defect):
            watch.complain(str(error))
        elif error is not None:
            watch.complain(f"raised {_described(error)}")
        del task
        await _settled()
        watch.tasks()

    with watched() as watch:
        asyncio.run(main(watch))
    return watch.complaints


async def _settled() -> None:
    """What was only waiting for its turn has had it."""
    for _ in range(10):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        await asyncio.wait(others, timeout=0.05)


async def _face(subject: Subject, fault: Fault, watch: LeakDetector) -> None:
    messages = question()
    kept = copy.deepcopy(messages)
    async with ENVIRONMENTS[fault.place](subject, fault.words) as scene:
        settings = {"timeout": fault.timeout, **scene.settings}
        for _ in range(fault.asks - 1):
            first = await subject.attempt(scene.url, messages, **settings)
            for complaint in _judged(first, Fault("first", (), "", (), WHOLE)):
                watch.complain(f"before the fault: {complaint}")
            await asyncio.sleep(0.02)
        attempt = await subject.attempt(scene.url, messages, **settings)
        for complaint in _judged(attempt, fault):
            watch.complain(complaint)
        if messages != kept:
            watch.complain("changed the caller's messages")
        await _left(subject, fault, scene, attempt, watch)


async def _left(subject: Subject, fault: Fault, scene: Environment, attempt: Attempt, watch: LeakDetector) -> None:
    """What the servers saw of it."""
    if scene.elsewhere is not None and scene.elsewhere.connections:
        watch.complain("went to the other origin that it was redirected to")
    if fault.requests is not None and scene.fake is not None and len(scene.fake.requests) > fault.requests:
        watch.complain(f"asked {len(scene.fake.requests)} times, {fault.requests} is right")
    if attempt.error is None and not attempt.hung and any(not server.connections for server in scene.servers):
        watch.complain("did not go through the proxy")
    if scene.fake is not None and any("proxy-authorization" in request.headers for request in scene.fake.requests):
        watch.complain("showed the proxy's password to the endpoint")
    if attempt.error is not None and _broken(fault):
        for server in scene.servers:
            if server.connections and not await happens(server.disconnected(), subject.promptly_s):
                watch.complain(f"the connection was still open {subject.promptly_s:g} s after the error")


_BREAKING = frozenset({"reset", "close", "half-close", "stall", "noise", "slow-head", "silent", "hang-up", "garbage"})
"""After these a connection cannot be used again."""


def _broken(fault: Fault) -> bool:
    names = {word.partition(":")[0] for word in fault.words[-1].split("+")}
    return bool(names & _BREAKING or (fault.place and "redirect" not in names))


def _judged(attempt: Attempt, fault: Fault) -> list[str]:
    """What is wrong with an attempt, by what is required."""
    found: list[str] = []
    error = attempt.error
    if any(not isinstance(text, str) or not text for text in attempt.texts):
        found.append("yielded what is no text, or an empty one")
    if attempt.hung:
        return [*found, f"hung: no error, no end (its limit was {fault.timeout:g} s)"]
    if where := told_secrets(error):
        found.append(f"its error shows the key or password: {where}")
    if error is None:
        return found + _judged_whole(attempt, fault)
    if isinstance(error, MissingExtraError):
        return [*found, f"could not be tried: {error}"]
    if not fault.errors:
        return [*found, f"raised {_described(error)}; {fault.required} was right"]
    if not isinstance(error, AcytooError):
        found.append(f"raised {_described(error)}, which is no AcytooError; {fault.required} was right")
    elif not isinstance(error, fault.errors):
        found.append(f"raised {_described(error)}; {fault.required} was right")
    else:
        for name, value in fault.has.items():
            if getattr(error, name, None) != value:
                found.append(f"its error has {name}={getattr(error, name, None)!r}; {value!r} was right")
        if fault.says not in str(error):
            found.append(f"its error does not say what the server said: {str(error)[:100]!r}")
        if error.text != attempt.text:
            found.append("its error does not carry the text so far")
    return found + _judged_text(attempt, fault)


def _judged_whole(attempt: Attempt, fault: Fault) -> list[str]:
    if fault.errors and not fault.also_whole:
        return [f"took {attempt.text[:40]!r} for a whole reply; {fault.required} was right"]
    if fault.errors:
        return [] if sorted(attempt.text) == sorted(WHOLE) else [f"took {attempt.text[:80]!r} for a whole reply"]
    return _judged_text(attempt, fault)


def _judged_text(attempt: Attempt, fault: Fault) -> list[str]:
    if fault.text is not None and attempt.text != fault.text:
        return [f"yielded {attempt.text[:80]!r}; {fault.text[:80]!r} was right"]
    if fault.text is None and not fault.also_whole and not WHOLE.startswith(attempt.text):
        return [f"yielded {attempt.text[:80]!r}, which is not how the reply begins"]
    return []


def _described(error: BaseException) -> str:
    module = type(error).__module__
    name = (
        type(error).__qualname__
        if module.startswith(("builtins", "acytoo"))
        else f"{module}.{type(error).__qualname__}"
    )
    return f"{name} ({' '.join(str(error).split())[:80]})" if str(error) else name
