"""The certificate authority of the fake servers."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from acytoo.errors import MissingExtraError
from acytoo.testing import Authority

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_without_trustme_the_error_names_the_extra_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'acytoo\[testing\]'") as caught:
        Authority()
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith("trustme") for requirement in extras[caught.value.extra])
