"""docs/api.md is what the docstrings say today."""

from __future__ import annotations

from pathlib import Path

import acytoo
from tests.api_reference import page

PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def test_the_api_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.api_reference > docs/api.md"


def test_every_public_class_and_function_is_in_the_api_reference() -> None:
    shown = PAGE.read_text()
    missing = [name for name in acytoo.__all__ if callable(getattr(acytoo, name)) and f"### `{name}`" not in shown]
    assert not [name for name in missing if getattr(acytoo, name).__module__.startswith("acytoo")]
