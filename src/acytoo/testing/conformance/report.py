"""What a provider lacks, for people: one line for each row of the tables, with what is wrong and why it matters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.conformance.checks import conduct_complaints, fault_complaints, lifetime_complaints
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS
from acytoo.testing.conformance.faults import FAULTS
from acytoo.testing.conformance.subject import Subject
from acytoo.testing.conformance.suite import ProviderConformance
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS


@dataclass(frozen=True)
class Line:
    """One row tried: no complaints where it holds."""

    name: str
    complaints: list[str]
    why: str

    def __str__(self) -> str:
        if not self.complaints:
            return f"pass  {self.name}"
        return f"FAIL  {self.name}: {'; '.join(self.complaints)} ({self.why})"


def named(address: str) -> Any:
    """What `module:Name` names. Raises UsageError."""
    module, colon, name = address.partition(":")
    if not colon:
        raise UsageError(f"{address!r}: write MODULE:NAME, like acytoo:Acytoo")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{address}: {error}") from error


def subject_of(found: Any, dialect: str = "", **limits: Any) -> Subject:
    """The subject that a provider, or a test class of the kit's, stands for. Raises UsageError."""
    if inspect.isclass(found) and issubclass(found, ProviderConformance):
        body = dict(limits)
    else:
        body = {"provider": found if inspect.isclass(found) else staticmethod(found), **limits}
        found = ProviderConformance
    if dialect:
        body["dialect"] = dialect_of(dialect)
    subject: Subject = type(found.__name__, (found,), body)().subject()
    return subject


def dialect_of(name: str) -> Dialect:
    """The dialect of that name. Raises UsageError."""
    known = {dialect.name: dialect for dialect in dialects.ALL}
    if name not in known:
        raise UsageError(f"no dialect is called {name!r}: known are {', '.join(known)}")
    return known[name]


def lines(subject: Subject, only: tuple[str, ...] = ()) -> Iterator[Line]:
    """Every row whose name has one of these in it (none: every row), as it is tried."""

    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    for fault in FAULTS:
        if subject.faces(fault) and wanted(fault.name):
            yield Line(fault.name, fault_complaints(subject, fault), fault.why)
    for conduct in (*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS):
        if wanted(conduct.name):
            yield Line(conduct.name, conduct_complaints(subject, conduct), conduct.why)
    for lifetime in EVENT_LOOP_SCENARIOS:
        if wanted(lifetime.name):
            yield Line(lifetime.name, lifetime_complaints(subject, lifetime), lifetime.why)
