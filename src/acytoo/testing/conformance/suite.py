"""The contract as tests: inherit from `ProviderConformance`, and pytest collects one test per scenario."""

from __future__ import annotations

from typing import Any, ClassVar

from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.conformance.checks import Scenario, check
from acytoo.testing.conformance.consumers import CONSUMER_SCENARIOS, ConsumerScenario
from acytoo.testing.conformance.event_loops import EVENT_LOOP_SCENARIOS, EventLoopScenario
from acytoo.testing.conformance.faults import FAULT_SCENARIOS, FaultScenario
from acytoo.testing.conformance.subject import Subject, point_at
from acytoo.testing.conformance.truncation import TRUNCATION_SCENARIOS


class ProviderConformance:
    """The base class of a provider's conformance tests. Name the subclass `Test…` and set `provider`.

    A legacy (gpt4free-style) provider has no `dialect` of its own: set `dialect` to that of its API. If its URL is not
    its attribute `url`, override `make`. The tests take at most a minute on two idle cores and need no pytest plugin.
    The TLS scenarios need the extra `testing` (trustme), the SOCKS scenarios whatever the provider needs for SOCKS.
    """

    provider: ClassVar[Any] = None
    dialect: ClassVar[Dialect | None] = None
    model: ClassVar[str] = "fake-model"
    promptly_s: ClassVar[float] = 0.1
    """How soon the endpoint must see that the consumer has left, in seconds of this process's running time."""
    patience_s: ClassVar[float] = 10.0
    """Seconds after which a call counts as hung."""
    crowd: ClassVar[int] = 100
    """The number of concurrent calls."""

    def make(self, url: str, **settings: object) -> Any:
        """Return the provider pointed at a URL, or a function of model and messages that returns its stream.

        `settings` are some of `key`, `timeout` (seconds, for each wait), `proxy`, `ca` (a file) and
        `max_reply` (bytes).
        """
        return point_at(type(self).provider, url, **settings)

    def subject(self, dialect: Dialect | None = None) -> Subject:
        """Return the provider with its limits, in this dialect or its own. Raises UsageError if neither is known."""
        dialect = dialect or self.dialect or getattr(self.provider, "dialect", None)
        if dialect is None:
            raise UsageError(f"{type(self).__name__} has no dialect: set one, such as dialect = dialects.OpenAI()")
        name = getattr(self.provider, "__name__", type(self).__name__)
        return Subject(name, self.make, dialect, self.model, self.promptly_s, self.patience_s, self.crowd)

    # Called by pytest.

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Parametrize the tests with the scenarios that can happen in the dialect."""
        if self.provider is None and type(self).make is ProviderConformance.make:
            raise UsageError(f"{type(self).__name__} has no provider: set provider = …")
        subject = self.subject()
        tables: dict[str, list[Scenario]] = {
            "fault": [fault for fault in FAULT_SCENARIOS if fault.can_happen_in(subject.dialect)],
            "consumer": [*CONSUMER_SCENARIOS, *TRUNCATION_SCENARIOS],
            "event_loop_use": [*EVENT_LOOP_SCENARIOS],
        }
        for argument, table in tables.items():
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, table, ids=[scenario.name for scenario in table])

    def test_fault(self, fault: FaultScenario) -> None:
        """Test a row of the fault table."""
        self._test(fault)

    def test_consumer(self, consumer: ConsumerScenario) -> None:
        """Test a behaviour of consumers."""
        self._test(consumer)

    # Not `event_loop`: pytest-asyncio has had a fixture of that name.
    def test_event_loop(self, event_loop_use: EventLoopScenario) -> None:
        """Test a use of event loops."""
        self._test(event_loop_use)

    def _test(self, scenario: Scenario) -> None:
        violations = check(self.subject(), scenario)
        if violations:
            raise AssertionError("\n".join([*violations, f"required: {scenario.required}", f"why: {scenario.why}"]))
