"""The hot paths of wire and dialects take the instructions that are committed, within five per cent."""

from __future__ import annotations

import os

import pytest
from bench import guard


def test_no_hot_path_has_become_slower_or_quicker_unnoticed() -> None:
    if why := guard.obstacle():
        assert "CI" not in os.environ, why
        pytest.skip(why)
    changes = guard.changes()
    outside = {name: f"{change:+.1%}" for name, change in changes.items() if abs(change) > guard.LIMIT}
    assert not outside, "where that is meant, run `python -m bench guard --commit`"
