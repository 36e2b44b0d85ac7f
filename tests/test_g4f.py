"""Stands in for gpt4free's clients (g4f 8.8.6, read, and tried by hand): what they read of a class and pass to it."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.testing import FakeEndpoint, reply
from tests.asking import MESSAGES

PASSED: dict[str, Any] = {"stream": True, "conversation": None, "ignore_stream": True, "stream_timeout": 5}
"""Keyword arguments of its clients that mean something to providers of its own alone."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    with FakeEndpoint(dialects.acytoo, reply("Hello ", "world")) as fake:
        monkeypatch.setenv("ACYTOO_URL", fake.url)
        yield fake


def test_the_class_has_the_attributes_its_clients_read() -> None:
    assert Acytoo.__name__ == Acytoo.get_parent() == "Acytoo"
    assert Acytoo.working and Acytoo.supports_stream and Acytoo.supports_message_history
    assert not Acytoo.needs_auth and not hasattr(Acytoo, "login_url")
    assert Acytoo.use_stream_timeout in (True, False)
    assert Acytoo.get_dict().keys() >= {"name", "url", "label"}
    Acytoo.live += 1
    Acytoo.live -= 1


def test_its_blocking_client_gets_the_whole_reply(fake: FakeEndpoint) -> None:
    texts = Acytoo.create_completion(model="gpt-3.5-turbo", messages=MESSAGES, provider=Acytoo, **PASSED)
    assert "".join(texts) == "Hello world"


async def test_its_async_client_gets_the_whole_reply(fake: FakeEndpoint) -> None:
    stream = Acytoo.create_async_generator(model="gpt-3.5-turbo", messages=MESSAGES, timeout=5, **PASSED)
    assert "".join([text async for text in stream]) == "Hello world"


def test_the_key_and_url_of_its_client_are_used(fake: FakeEndpoint) -> None:
    texts = Acytoo.create_completion(model="m", messages=MESSAGES, api_key="k", base_url=fake.url, **PASSED)
    assert "".join(texts) == "Hello world"
    assert b'"key":"k"' in fake.requests[0].body
