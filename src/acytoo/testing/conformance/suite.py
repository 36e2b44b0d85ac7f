"""The whole contract as tests: inherit, name the provider, and pytest collects every row of the tables."""

from __future__ import annotations

from typing import Any, ClassVar

from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.conformance.checks import conduct_complaints, fault_complaints, lifetime_complaints
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS, ConsumerScenario
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS, EventLoopScenario
from acytoo.testing.conformance.faults import FAULTS, Fault
from acytoo.testing.conformance.subject import Subject, pointed
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS


class ProviderConformance:
    """Inherit from it in a class whose name begins with `Test`, and set `provider`.

    A provider without a `dialect` of its own, in the older style, needs `dialect` set to the API that it speaks; one
    whose URL is not its attribute `url` needs `make`. Runs in at most a minute on two idle cores, and needs no plugin
    of pytest's. TLS rows need the extra `testing` (trustme), SOCKS rows whatever the provider needs for SOCKS.
    """

    provider: ClassVar[Any] = None
    dialect: ClassVar[Dialect | None] = None
    model: ClassVar[str] = "fake-model"
    promptly_s: ClassVar[float] = 0.1
    """How soon the endpoint must see that the consumer has left, in seconds of this process's own time."""
    patience_s: ClassVar[float] = 10.0
    """After so many seconds without an end an attempt counts as hung."""
    crowd: ClassVar[int] = 100
    """How many replies are asked for at once."""

    def make(self, url: str, **settings: Any) -> Any:
        """The provider pointed at a URL, or a function of model and messages that returns its stream.

        `settings` are some of `key`, `timeout` (seconds, for each wait), `proxy` and `ca` (a file).
        """
        return pointed(type(self).provider, url, **settings)

    def subject(self) -> Subject:
        """The provider with its limits. Raises UsageError where no dialect is known."""
        dialect = self.dialect or getattr(self.provider, "dialect", None)
        if dialect is None:
            raise UsageError(f"{type(self).__name__} needs to know the API: dialect = dialects.OpenAI(), for one")
        name = getattr(self.provider, "__name__", type(self).__name__)
        return Subject(name, self.make, dialect, self.model, self.promptly_s, self.patience_s, self.crowd)

    # What pytest calls.

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each row that can happen in the dialect."""
        if self.provider is None and type(self).make is ProviderConformance.make:
            raise UsageError(f"{type(self).__name__} names no provider: provider = …")
        subject = self.subject()
        rows: dict[str, list[Any]] = {
            "fault": [fault for fault in FAULTS if subject.faces(fault)],
            "conduct": [*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS],
            "lifetime": list(EVENT_LOOP_SCENARIOS),
        }
        for name, table in rows.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, table, ids=[row.name for row in table])

    def test_in_the_face_of(self, fault: Fault) -> None:
        """Each row of the fault table."""
        _none(fault_complaints(self.subject(), fault), fault.required, fault.why)

    def test_when_the_consumer(self, conduct: ConsumerScenario) -> None:
        """Each way in which a consumer behaves."""
        _none(conduct_complaints(self.subject(), conduct), conduct.required, conduct.why)

    def test_when_the_event_loop(self, lifetime: EventLoopScenario) -> None:
        """Each way in which event loops come and go."""
        _none(lifetime_complaints(self.subject(), lifetime), lifetime.required, lifetime.why)


def _none(complaints: list[str], required: str, why: str) -> None:
    if complaints:
        raise AssertionError("\n".join([*complaints, f"required: {required}", f"why: {why}"]))
