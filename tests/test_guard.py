"""The hot paths take the committed number of instructions, within five per cent."""

from __future__ import annotations

import os

import pytest
from bench import guard


def test_the_instruction_counts_of_the_hot_paths_are_as_committed() -> None:
    if reason := guard.obstacle():
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    changes = guard.changes()
    outside = {name: f"{change:+.1%}" for name, change in changes.items() if abs(change) > guard.LIMIT}
    assert not outside, "if that is intended, run `python -m bench guard --commit`"
