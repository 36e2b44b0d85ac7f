"""A hostile value at any place of any recorded document raises nothing but an AcytooError.

This is a fixed sample. `python -m bench fuzz --target documents` runs everything.
"""

from __future__ import annotations

import pytest

from tests.dialects.hostile_documents import Case, cases, failure

SAMPLE = 25
"""Variants of each document."""


@pytest.mark.parametrize("case", [*cases()], ids=lambda case: case.name)
def test_a_hostile_value_anywhere_raises_only_acytoo_errors(case: Case) -> None:
    failures = {f"{variant}: {found}" for variant, body in case.sample(SAMPLE) if (found := failure(case, body))}
    assert failures == set()
