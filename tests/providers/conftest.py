"""Hide the keys and URLs of the machine that runs the tests from the providers."""

from __future__ import annotations

import pytest

from acytoo.registry import providers


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove every provider's environment variables, and disable the system's keyring."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for provider in providers().values():
        for setting in ("url", "key", "password", "proxy", "model"):
            for name in (*provider.env.get(setting, ()), f"{provider.__name__.upper()}_{setting.upper()}"):
                monkeypatch.delenv(name, raising=False)
