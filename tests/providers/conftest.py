"""No provider finds a key or a URL on the machine that runs the tests."""

from __future__ import annotations

import pytest

from acytoo.registry import providers


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the environment nor in the system's keyring."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for provider in providers().values():
        for what in ("url", "key", "password", "proxy", "model"):
            for name in (*provider.env.get(what, ()), f"{provider.__name__.upper()}_{what.upper()}"):
                monkeypatch.delenv(name, raising=False)
