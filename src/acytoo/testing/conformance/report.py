"""A conformance report for people: one line per scenario, with the violations and why they matter."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from acytoo import dialects
from acytoo.errors import UsageError
from acytoo.testing.conformance.checks import Scenario, check
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS
from acytoo.testing.conformance.faults import FAULT_SCENARIOS
from acytoo.testing.conformance.subject import Subject, point_at
from acytoo.testing.conformance.suite import ProviderConformance
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS


@dataclass(frozen=True)
class Result:
    """The violations of one scenario, none if the provider conforms."""

    name: str
    violations: list[str]
    why: str

    def __str__(self) -> str:
        if not self.violations:
            return f"pass  {self.name}"
        return f"FAIL  {self.name}: {'; '.join(self.violations)} ({self.why})"


def import_object(address: str) -> Any:
    """Return the object at `module:Name`. Raises UsageError if it cannot be imported."""
    module, colon, name = address.partition(":")
    if not colon:
        raise UsageError(f"invalid address {address!r}: expected MODULE:NAME, such as acytoo:Acytoo")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {address!r}: {error}") from error


def subject_of(provider: Any, dialect_name: str = "", **limits: Any) -> Subject:
    """Return the subject for a provider, or for a subclass of `ProviderConformance`.

    `limits` are fields of `Subject`. Raises UsageError if the dialect is not known.
    """
    dialect = dialects.by_name(dialect_name) if dialect_name else None
    if inspect.isclass(provider) and issubclass(provider, ProviderConformance):
        subject = provider().subject(dialect)
    else:
        dialect = dialect or getattr(provider, "dialect", None)
        name = getattr(provider, "__name__", repr(provider))
        if dialect is None:
            raise UsageError(f"{name} has no dialect: name its API with --dialect")
        subject = Subject(name, functools.partial(point_at, provider), dialect)
    return dataclasses.replace(subject, **limits)


def run(subject: Subject, only: tuple[str, ...] = ()) -> Iterator[Result]:
    """Yield a result as each scenario finishes. With `only`, skip scenarios with none of these texts in their name."""
    scenarios: list[Scenario] = [fault for fault in FAULT_SCENARIOS if fault.can_happen_in(subject.dialect)]
    scenarios += [*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS, *EVENT_LOOP_SCENARIOS]
    for scenario in scenarios:
        if not only or any(part in scenario.name for part in only):
            yield Result(scenario.name, check(subject, scenario), scenario.why)
