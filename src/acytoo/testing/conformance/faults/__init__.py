"""The fault table: what goes wrong, what a provider must make of it, and why.

Tests and docs/faults.md are generated from it.
"""

from acytoo.testing.conformance.faults.connections import CONNECTING, HEAD
from acytoo.testing.conformance.faults.scenario import ALL_FRAMINGS, FaultScenario
from acytoo.testing.conformance.faults.statuses import ERRORS, REDIRECTS, STATUS
from acytoo.testing.conformance.faults.streams import STREAM

FAULT_SCENARIOS: tuple[FaultScenario, ...] = (*CONNECTING, *HEAD, *STATUS, *ERRORS, *REDIRECTS, *STREAM)
"""Every row of the table."""

__all__ = ["ALL_FRAMINGS", "FAULT_SCENARIOS", "FaultScenario"]
