"""What every test starts from: an environment without proxies, keys or URLs of ours."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the machine it runs on."""
    for name in os.environ:
        if name.startswith("ACYTOO_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
