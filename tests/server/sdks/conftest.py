"""The servers for the official SDKs: one over the real model, others over scripted backends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from acytoo import Acytoo, dialects
from acytoo.dialects import Dialect
from acytoo.embedded.provider import load_provider
from acytoo.testing import FakeEndpoint, ScriptedResponse
from tests.server.live_server import backend
from tests.server_process import Served

Scripted: TypeAlias = Callable[..., str]


@pytest.fixture(autouse=True)
def without_sdk_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's environment from pointing an SDK elsewhere or tracing it."""
    for name in os.environ:
        if name.startswith(("OPENAI_", "ANTHROPIC_", "OLLAMA_", "GOOGLE_", "GEMINI_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of an SDK's two clients is used."""
    return str(request.param)


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """The URL of one server over the real model, for all tests."""
    with Served(load_provider(Acytoo.url)) as server:
        yield server.url


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """`scripted(answer, …)` gives the URL of a server of ours over a backend that answers so."""
    with ExitStack() as stack:

        def serve(*answers: ScriptedResponse, dialect: Dialect = dialects.OpenAI(), password: str = "") -> str:
            fake = stack.enter_context(FakeEndpoint(dialect, *answers))
            return stack.enter_context(Served(backend(dialect, fake.url), password)).url

        yield serve
