"""Which refused requests have a row in the ledger."""

from __future__ import annotations

import logging

import pytest

from acytoo.gateway.refusals import MOST, Refusals


def test_each_key_has_so_many_in_a_minute_and_the_log_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    refusals = Refusals()
    assert [refusals.has_room("ci", 100.0) for _ in range(MOST + 5)] == [True] * MOST + [False] * 5
    assert refusals.has_room("other", 100.0)
    assert not refusals.has_room("ci", 159.0)
    assert refusals.has_room("ci", 160.0)
    assert len(caplog.records) == 1
    assert "key ci" in caplog.text
